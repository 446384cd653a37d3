"""Which variant is better, by how much, and whether the evidence is enough: statistics, with numpy and scipy only."""

from orchestrator.verdict.judging import judge
from orchestrator.verdict.replication import Outcome, Replication, replicate
from orchestrator.verdict.result import Decision, Pair, SequentialDesign, VariantScore, Verdict
from orchestrator.verdict.sentence import interval_in_points
from orchestrator.verdict.sequential import Standing, standing

__all__ = [
    "Decision",
    "Outcome",
    "Pair",
    "Replication",
    "SequentialDesign",
    "Standing",
    "VariantScore",
    "Verdict",
    "interval_in_points",
    "judge",
    "replicate",
    "standing",
]
