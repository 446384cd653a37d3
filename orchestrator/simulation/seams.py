"""What a simulated launch has in common with a real one: who is stopped, by which logs, and how the end is judged."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.experiment.search_space import extremes
from orchestrator.scheduling.asha_log import Decision, append, read_log
from orchestrator.scheduling.asha_rule import Rungs
from orchestrator.scheduling.launch_folder import RUNGS, SUGGESTIONS
from orchestrator.spec import Experiment, Scheduler
from orchestrator.verdict import Verdict, judge

__all__ = [
    "RUNGS",
    "SUGGESTIONS",
    "Decision",
    "append",
    "extremes",
    "read_log",
    "stop_rule",
    "undisturbed",
    "verdict_on",
]


def stop_rule(settings: Scheduler, epochs: int, past: Iterable[Decision] = ()) -> Rungs | None:
    """The rule by which trials of ``epochs`` epochs are stopped, after the decisions ``past``; None for fifo."""
    return None if settings.name == "fifo" else Rungs(settings, epochs, past)


def undisturbed(experiment: Experiment) -> Experiment:
    """The same experiment with every trial trained to its end."""
    return replace(experiment, scheduler=Scheduler(name="fifo"))


def verdict_on(experiment: Experiment, scores: Mapping[str, Mapping[Any, float]]) -> Verdict:
    """The verdict on test accuracies (fractions) by variant and seed, reached as the experiment says."""
    settings = experiment.verdict
    baseline = settings.baseline if settings.baseline in scores else None
    return judge(scores, baseline=baseline, margin=settings.margin, confidence=settings.confidence)
