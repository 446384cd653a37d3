"""What cannot be searched, told before anything is drawn, and why no draw could be trained."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.distributions import LISTED, admitted, extremes, values
from orchestrator.experiment.overrides import put
from orchestrator.experiment.search_paths import RECIPE, path_problem
from orchestrator.experiment.suggestions.group import Invalid, Missed, has
from orchestrator.spec import Experiment, Search, TrialSpec, Variant
from orchestrator.spec.fields import to_json
from orchestrator.text import counted, did_you_mean, listed

if TYPE_CHECKING:
    from orchestrator.contract import ContractCheck

SPACE = "search.space"


def refusals(experiment: Experiment, search: Search) -> list[str]:
    """What is wrong with the searched paths, their values and the points, one line each."""
    problems = []
    paths = sorted(search.space)
    for path in paths:
        problem = path_problem(path, paths)
        problems += _values_that_do_not_fit(experiment, search, path) if problem is None else [problem]
        if search.name == "grid" and values(search.space[path]) is None:
            problems.append(f"search.space: {path}: {_no_grid(search, path)}")
    return problems + [p for i, point in enumerate(search.points) for p in _point(search, point, f"search.points.{i}")]


def _values_that_do_not_fit(experiment: Experiment, search: Search, path: str) -> list[str]:
    """The first value that some variant cannot have, for each kind of problem; a recipe is the same for all."""
    concerned = [variant for variant in experiment.variants if has(search, path, variant)]
    found: dict[str, list[str]] = {}
    for variant in concerned[:1] if path.startswith(RECIPE) else concerned:
        for value in extremes(search.space[path]):
            try:
                _try(experiment, variant, path, value)
            except (ValueError, TypeError, IndexError) as problem:
                words, (above, _, last) = str(problem).removeprefix("spec."), path.rpartition(".")
                for prefix in (path, above, last):
                    words = words.removeprefix(f"{prefix}: ")
                found.setdefault(words, []).append(variant.label)
                break
    everybody = path.startswith(RECIPE) or [v.label for v in concerned]
    return [
        f"search.space: {path}: {problem}{'' if everybody in (True, labels) else f' ({listed(labels)})'}"
        for problem, labels in found.items()
    ]


def _try(experiment: Experiment, variant: Variant, path: str, value: Any) -> None:
    """Raise ValueError, TypeError or IndexError if ``variant`` cannot have the setting; its network is not read."""
    tree = to_json(TrialSpec(variant=variant.name, arguments=variant.arguments, trainer=experiment.trainer))
    put(tree, path, value)
    TrialSpec.from_json(tree)


def _no_grid(search: Search, path: str) -> str:
    kind = search.space[path].kind
    if kind in ("uniform", "loguniform", "normal"):
        return f"{kind} has no list of values for a grid; write choice, or quniform: [low, high, q]"
    return f"more than {LISTED:,} values are too many for a grid; use random, or fewer values"


def _point(search: Search, point: Mapping[str, Any], where: str) -> list[str]:
    problems = []
    for path, value in point.items():
        if path not in search.space:
            near = did_you_mean(path, search.space)
            problems.append(f"{where}: {path} is not searched{near}; search.space has {listed(sorted(search.space))}")
            continue
        try:
            admitted(search.space[path], value)
        except ValueError as problem:
            problems.append(f"{where}: {path}: {problem}: a point must lie within the search space")
    return problems


def hopeless(rejected: Sequence[Missed], what: str = SPACE) -> list[str]:
    """The limits that the draws in ``rejected`` broke, by variant, with the closest value of each; in words."""
    nearest: dict[tuple[str, str], ContractCheck | Invalid] = {}
    count: dict[tuple[str, str], int] = {}
    for missed in rejected:
        for label, check in missed:
            place = label, check.name
            count[place] = count.get(place, 0) + 1
            if place not in nearest or _miss(check) < _miss(nearest[place]):
                nearest[place] = check
    lines = [
        f"{label}: {check.format()} in the closest of {count[label, name]} draws that break this limit"
        for (label, name), check in nearest.items()
    ]
    invalid = all(isinstance(check, Invalid) for missed in rejected for _, check in missed)
    if len(rejected) == 1 and what != SPACE:
        breaks = "is not valid" if invalid else "breaks the contract"
        return [f"{what} {breaks}", *(f"{label}: {check.format()}" for label, check in rejected[0])]
    broke = "broke the contract; widen the search space or the contract"
    if invalid:
        broke = "gave nothing valid; change the search space"
    return [f"{what}: {counted(len(rejected), 'draw')} in a row {broke}", *lines]


def _miss(check: "ContractCheck | Invalid") -> float:
    """How far the value is from its limit; infinite if it is not a number."""
    value = min(check.value) if isinstance(check.value, tuple) else check.value
    if value is None or isinstance(value, bool):
        return float("inf")
    return abs(float(value) - check.limit)
