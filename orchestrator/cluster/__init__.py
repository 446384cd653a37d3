"""Jobs on a cluster, over Ray's Jobs API."""
