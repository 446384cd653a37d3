"""What was simulated, in words and as JSON values: search, scheduler, seeds, workers, and what to know about them."""

from collections.abc import Iterator
from typing import Any

from orchestrator.simulation.from_files import USED
from orchestrator.simulation.laws import Law
from orchestrator.simulation.summary import Summary
from orchestrator.spec import Experiment
from orchestrator.text import counted
from orchestrator.workflow.simulation_options import changed
from orchestrator.workflow.unused_settings import SCHEDULERS, plan_notes, scheduler_notes

CONTRACT = "no network is built: the contract is not checked, and no draw is replaced because it breaks it"


def plain_plan(experiment: Experiment) -> dict[str, Any]:
    """Search, scheduler and seeds of ``experiment`` as JSON values."""
    search, scheduler, confirm = experiment.search, experiment.scheduler, experiment.confirm
    used = {name: getattr(scheduler, name) for name in _ordered(experiment)}
    tpe = search is not None and search.name == "tpe"
    return {
        "search": search
        and {
            "name": search.name,
            "samples": None if search.name == "grid" and search.samples is None else search.limit,
            "per": search.per,
            "seed": search.seed,
            "concurrency": search.in_flight if tpe else None,
        },
        "scheduler": {"name": scheduler.name, **used},
        "seeds": list(experiment.seeds),
        "confirm_seeds": None if confirm is None else list(confirm.seeds),
        "max_seeds": _rounds(experiment),
        "epochs": experiment.trainer.epochs,
    }


def told_plan(experiment: Experiment) -> str:
    """``random search with 27 samples; scheduler asha (grace_period 1, reduction_factor 3); 1 seed``."""
    scheduler, search = experiment.scheduler, experiment.search
    settings = ", ".join(f"{name} {getattr(scheduler, name)}" for name in _ordered(experiment))
    parts = []
    if search is not None:
        every = search.name == "grid" and search.samples is None
        parts.append(f"{search.name} search with {'every combination' if every else counted(search.limit, 'sample')}")
    parts.append(f"scheduler {scheduler.name}{f' ({settings})' if settings else ''}")
    parts.append(counted(len(experiment.seeds), "seed"))
    if experiment.confirm is not None:
        parts.append(f"{counted(len(experiment.confirm.seeds), 'seed')} to confirm")
    if (rounds := _rounds(experiment)) is not None:
        parts.append(f"in rounds of at most {counted(rounds, 'seed')}")
    parts.append(counted(experiment.trainer.epochs, "epoch"))
    return "; ".join(parts)


def told_workers(experiment: Experiment, asked: int, planned: Summary) -> str:
    """``8 workers``, or why fewer of them ever trained at the same time."""
    used, words = round(planned.spread(lambda one: one.workers).high), counted(asked, "worker")
    if used == asked:
        return words
    most, search = experiment.resources.max_concurrent_trials, experiment.search
    if most is not None and used == most:
        reason = f"resources.max_concurrent_trials is {most}"
    elif search is not None and search.name == "tpe":
        reason = f"search.concurrency is {search.in_flight}"
    else:
        reason = "there were never more trials to train"
    return f"{words}, of which at most {used} trained at the same time ({reason})"


def told_law(law: Law) -> str:
    """``, law noise=0.01``, or nothing if no constant was changed."""
    words = " ".join(f"{name}={value:g}" for name, value in changed(law).items())
    return f", law {words}" if words else ""


def notes(experiment: Experiment, law: Law) -> Iterator[str]:
    """What the user should know of the experiment before believing the figures, one line each."""
    yield from scheduler_notes(experiment)
    yield from plan_notes(experiment)
    if experiment.search is not None and experiment.contract != type(experiment.contract)():
        yield CONTRACT
    if experiment.search is None and (idle := [name for name in changed(law) if name in ("depth", "crossing")]):
        yield f"--law {' and '.join(idle)}: no effect without a search"
    if (target := experiment.trainer.stop_at_accuracy) is not None:
        yield (
            f"trainer.stop_at_accuracy is {target:g}: trials end there, but regret, the truly best variant and wrong "
            "verdicts are about what they would reach at the last epoch: believe only trials, epochs and time, and "
            "simulate choices with --set trainer.stop_at_accuracy=null"
        )


def effective_law(law: Law, from_files: bool, recorded: bool) -> dict[str, float] | None:
    """The constants that the curves were drawn by; None: recorded ones were drawn by none."""
    if recorded:
        return None
    return {name: value for name, value in vars(law).items() if not from_files or name in USED}


def _ordered(experiment: Experiment) -> list[str]:
    """The settings that the scheduler uses, in the order in which they are documented."""
    used = SCHEDULERS[experiment.scheduler.name]
    return [name for name in vars(experiment.scheduler) if name in used]


def _rounds(experiment: Experiment) -> int | None:
    return experiment.verdict.max_seeds if experiment.verdict.until_decided else None
