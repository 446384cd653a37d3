"""The doctor: facts are gathered on each machine, judged in one place, and reported with advice."""

from orchestrator.cluster.doctor.facts import gather
from orchestrator.cluster.doctor.finding import Finding, Level, worst
from orchestrator.cluster.doctor.judge import judge
from orchestrator.cluster.doctor.knocking import ask_without_token, knock
from orchestrator.cluster.doctor.nodes import examine_nodes
from orchestrator.cluster.doctor.reach import check_storage
from orchestrator.cluster.doctor.remote import ask_head

__all__ = [
    "Finding",
    "Level",
    "ask_head",
    "ask_without_token",
    "check_storage",
    "examine_nodes",
    "gather",
    "judge",
    "knock",
    "worst",
]
