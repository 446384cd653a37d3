"""Checks of machines, clusters, storage, tracking store and data, for `orchestrator doctor` and before a launch."""

from orchestrator.checks.check import HERE, Finding, Level, Request, worst
from orchestrator.checks.run import check_nodes, diagnose, run_checks

__all__ = ["HERE", "Finding", "Level", "Request", "check_nodes", "diagnose", "run_checks", "worst"]
