"""What the parts of an experiment must be to one another; each part alone is checked where it is defined."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from orchestrator.spec.published import misuse
from orchestrator.spec.rounds import rounds_problems
from orchestrator.spec.search import unknown_variants
from orchestrator.spec.trial import variant_label
from orchestrator.text import did_you_mean

if TYPE_CHECKING:
    from orchestrator.spec.experiment import Experiment

LONGEST_NAME = 100  # characters


def name_problem(name: str) -> str | None:
    """Why no experiment can have this name, or None; its folder in the storage folder has this name."""
    if not name or any(not (c.isalnum() or c in "-_.") for c in name) or name[0] in "-.":
        return f"letters, digits, '-', '_' and '.' only, not {name!r}"
    return f"at most {LONGEST_NAME} characters" if len(name.encode()) > LONGEST_NAME else None


def relation_problems(experiment: "Experiment") -> list[str]:
    """Everything that is wrong with ``experiment`` although each of its parts is right, one line each."""
    return [problem for check in _CHECKS for problem in check(experiment)]


def relation_problems_of(parts: Mapping[str, Any]) -> list[str]:
    """The same of an experiment of which only ``parts`` could be read: what does not depend on the others."""
    experiment = cast("Experiment", _Parts(parts))
    problems: list[str] = []
    for check in _CHECKS:
        try:
            problems += list(check(experiment))
        except _UnreadError:
            continue
    return problems


class _UnreadError(Exception):
    """A check asks for a part that could not be read."""


class _Parts:
    """An experiment with some of its parts."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.__dict__.update(parts)

    def __getattr__(self, name: str) -> Any:
        raise _UnreadError(name)


def _name(experiment: "Experiment") -> Iterator[str]:
    if problem := name_problem(experiment.name):
        yield f"name: {problem}"


def _variants(experiment: "Experiment") -> Iterator[str]:
    variants = experiment.variants
    differ = any(v != other for v in variants for other in variants if v.label == other.label)
    hint = " (a network is named after its class; name one of them with `as: ...`)" if differ else ""
    yield from _listed("variants", [variant.label for variant in variants], hint)


def _seeds(experiment: "Experiment") -> Iterator[str]:
    yield from _listed("seeds", [str(seed) for seed in experiment.seeds])


def _listed(what: str, values: list[str], hint: str = "") -> Iterator[str]:
    if not values:
        yield f"{what}: needs at least one"
    if twice := sorted({value for value in values if values.count(value) > 1}):
        yield f"{what}: listed twice: {', '.join(twice)}{hint}"


def _baseline(experiment: "Experiment") -> Iterator[str]:
    labels = [variant.label for variant in experiment.variants]
    if (baseline := experiment.verdict.baseline) is not None and variant_label(baseline) not in labels:
        near = did_you_mean(baseline, labels)
        yield f"verdict.baseline: {baseline!r} is none of the variants{near}: {', '.join(labels)}"


def _scheduler(experiment: "Experiment") -> Iterator[str]:
    if (rule := experiment.scheduler.name) != "fifo" and experiment.trainer.protocol == "published":
        yield f"scheduler: {rule} needs validation accuracy, which the published protocol does not have"


def _search(experiment: "Experiment") -> Iterator[str]:
    if experiment.search is not None and experiment.trainer.protocol == "published":
        yield "search: with the published protocol, settings would be selected on test images"


def _confirm(experiment: "Experiment") -> Iterator[str]:
    if experiment.confirm is not None and experiment.search is None:
        yield "confirm: there is nothing to confirm without a search"


def _confirm_seeds(experiment: "Experiment") -> Iterator[str]:
    if experiment.confirm is not None and (both := sorted(set(experiment.confirm.seeds) & set(experiment.seeds))):
        seeds = ", ".join(map(str, both))
        yield f"confirm.seeds: {seeds} also of the search: what was selected on is not judged on"


def _searched_variants(experiment: "Experiment") -> Iterator[str]:
    if experiment.search is not None:
        yield from unknown_variants(experiment.search, [variant.label for variant in experiment.variants])


def _rounds(experiment: "Experiment") -> Iterator[str]:
    yield from rounds_problems(experiment)


def _published(experiment: "Experiment") -> Iterator[str]:
    if experiment.published is not None:
        yield from misuse(experiment.published, experiment)


# In the order in which they are listed. Each asks for no more parts than it needs: where one of them could not be read,
# the check is left out.
_CHECKS: tuple[Callable[["Experiment"], Iterator[str]], ...] = (
    _name,
    _variants,
    _seeds,
    _baseline,
    _scheduler,
    _search,
    _confirm,
    _confirm_seeds,
    _searched_variants,
    _rounds,
    _published,
)
