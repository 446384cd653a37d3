"""What a user asks of a simulation beside the experiment: constants of the law, and files of curves."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.files import from_user
from orchestrator.simulation.from_files import USED
from orchestrator.simulation.laws import Law
from orchestrator.spec import Experiment
from orchestrator.text import did_you_mean, listed


def parse_law(assignments: Sequence[str]) -> Law:
    """The law with ``name=number`` applied. Raises RequestError that names the allowed ones."""
    allowed = [one.name for one in fields(Law)]
    given: dict[str, float] = {}
    for assignment in assignments:
        name, equals, number = assignment.partition("=")
        if name in allowed and not equals:
            raise RequestError(f"--law {assignment}: write {name}=NUMBER")
        if name not in allowed:
            near = did_you_mean(name, allowed)
            raise RequestError(f"--law {assignment}: write NAME=NUMBER{near}; names: {', '.join(allowed)}")
        if name in given:
            raise RequestError(f"--law {assignment}: {name} is given twice")
        try:
            given[name] = float(number)
        except ValueError:
            raise RequestError(f"--law {assignment}: {number!r} is not a number") from None
    try:
        return Law(**given)
    except ValueError as problem:
        raise RequestError(f"--law: {problem}") from problem


def changed(law: Law) -> dict[str, float]:
    """The constants that are not the default ones."""
    return {one.name: getattr(law, one.name) for one in fields(Law) if getattr(law, one.name) != one.default}


def refuse_without_effect(assignments: Sequence[str], from_files: bool, recorded: bool) -> None:
    """Raise RequestError, naming them, if constants of the law are set that the chosen curves do not have."""
    names = [assignment.partition("=")[0] for assignment in assignments]
    if recorded and names:
        raise RequestError(f"--law {listed(names)}: no effect on recorded curves; leave out --law or --from")
    unused = [name for name in names if name not in USED]
    if from_files and unused:
        raise RequestError(
            f"--law {listed(unused)}: no effect on curves of files, which have a shape of their own; these have: "
            f"{', '.join(USED)}"
        )


def parse_files(assignments: Sequence[str], experiment: Experiment) -> Mapping[str, Path]:
    """Curve files by variant, of ``variant=file.csv``; a file alone is that of the only variant."""
    labels = [variant.label for variant in experiment.variants]
    files: dict[str, Path] = {}
    for assignment in assignments:
        name, equals, path = assignment.rpartition("=")
        if not path or (equals and not name) or (not equals and len(labels) > 1):
            raise RequestError(f"--curves {assignment}: write VARIANT=FILE.csv; variants: {', '.join(labels)}")
        variant = name or labels[0]
        if variant in files:
            raise RequestError(f"--curves {assignment}: {variant} has a file already, {files[variant]}")
        files[variant] = from_user(path)
    return files
