"""What an experiment that is trained in rounds must be like; the rounds themselves are planned elsewhere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.text import counted

if TYPE_CHECKING:
    from orchestrator.spec.experiment import Experiment

LARGEST_SEED = 2**31 - 1


def seeds_of_rounds(listed: Sequence[int], rounds: int) -> tuple[int, ...]:
    """The seed of each of so many rounds: those ``listed``, and then counted on from the largest.

    All that are listed are among them, however few ``rounds`` there are; none are if none is listed.
    """
    if not listed:
        return ()
    first = max(listed) + 1
    return (*listed, *range(first, first + rounds - len(listed)))


def rounds_problems(experiment: "Experiment") -> list[str]:
    """Why ``experiment`` cannot be trained until its variants are decided, one line each; none if it is not to be."""
    if not experiment.verdict.until_decided:
        return []
    where, most = "verdict.until_decided", experiment.verdict.max_seeds
    problems = []
    if len(experiment.variants) < 2:
        problems.append(f"{where}: there is only one variant; nothing can be decided")
    if experiment.trainer.protocol == "published":
        problems.append(f"{where}: the published protocol is for replication; use the standard one to compare variants")
    if experiment.search is not None and experiment.confirm is None:
        problems.append(
            f"{where}: what was selected on is not judged on: with a search, list the seeds of the first rounds as "
            "confirm.seeds"
        )
    if experiment.search is None and experiment.scheduler.name != "fifo":
        problems.append(
            f"{where}: every trial of a round must train to its end; use scheduler fifo, or a search with confirm, "
            f"whose trials {experiment.scheduler.name} does not stop"
        )
    listed, seeds = ("seeds", experiment.seeds)
    if experiment.confirm is not None:
        listed, seeds = "confirm.seeds", experiment.confirm.seeds
    if len(seeds) > most:
        problems.append(f"verdict.max_seeds: {most} is fewer than the {counted(len(seeds), 'seed')} of {listed}")
    if seeds and len(seeds) <= most:
        last = max(seeds) + most - len(seeds)
        reached = sorted(seed for seed in experiment.seeds if seed not in seeds and max(seeds) < seed <= last)
        if last > LARGEST_SEED:
            problems.append(f"{listed}: rounds count on from {max(seeds)} and would exceed {LARGEST_SEED}")
        if reached:
            problems.append(
                f"{listed}: rounds count on from {max(seeds)} to at most {last} and would reach the search's "
                f"{', '.join(map(str, reached))}"
            )
    return problems
