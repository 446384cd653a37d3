"""Simulated hosts on one machine: what the tests of clusters run on. See README.md beside this file."""

from lab.lab import Lab, LabError, missing, sweep

__all__ = ["Lab", "LabError", "missing", "sweep"]
