"""Clusters: jobs over Ray's Jobs API, and the doctor."""
