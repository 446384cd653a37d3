"""Which settings a search may range over, by their dotted paths alone."""

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.spec import TrialSpec
from orchestrator.spec.kinds import hint_at, nearest_path

RECIPE, ARGUMENTS = "trainer.", "arguments."  # what searched paths begin with


def path_problem(path: str, others: Iterable[str]) -> str | None:
    """Why ``path`` cannot be searched beside ``others``, or None."""
    known = hint_at(TrialSpec, path.split(".")) is not None
    near = "" if known else nearest_path(path, TrialSpec)
    if not path.startswith((RECIPE, ARGUMENTS)):
        return f"search.space: {path} cannot be searched{near}; paths start with trainer. or arguments."
    if path == "trainer.protocol":
        return f"search.space: {path} must be the same for all trials, otherwise they cannot be compared"
    if not known:
        return f"search.space: {path}: there is no such setting{near}"
    if inside := [other for other in others if other.startswith(f"{path}.")]:
        return f"search.space: {path} and {', '.join(inside)}, part of it, cannot both be searched"
    return None


def searched_paths(tree: Any) -> list[str]:
    """What is wrong with the searched paths of an experiment file that is wrong elsewhere too, one line each."""
    search = tree.get("search") if isinstance(tree, Mapping) else None
    space = search.get("space") if isinstance(search, Mapping) else None
    paths = sorted(path for path in space if isinstance(path, str)) if isinstance(space, Mapping) else []
    found = (path_problem(path, paths) for path in paths)
    return [problem for problem in found if problem is not None]
