"""Write an experiment file and a network to begin with: what ``init`` does."""

import json
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from orchestrator.errors import RequestError, StorageError
from orchestrator.experiment.yaml_loader import parse_unclear
from orchestrator.spec.relations import name_problem


def begin(name: str, folder: Path) -> tuple[Path, Path]:
    """Write ``NAME.yaml`` and ``NAME.py`` into ``folder`` and return their paths.

    Raises RequestError, and writes nothing, if no experiment can have the name or one of the files exists.
    """
    if reason := name_problem(name):
        raise RequestError(f"{name!r} is no experiment's name: {reason}")
    if name.isidentifier() and find_spec(name) is not None:
        raise RequestError(f"{name}.py would hide the Python module {name}: choose another name")
    experiment, network = folder / f"{name}.yaml", folder / f"{name}.py"
    if there := [path.name for path in (experiment, network) if path.exists()]:
        raise RequestError(f"{' and '.join(there)} already there, nothing was written: choose another name")
    templates = resources.files("orchestrator.templates")
    for path, template in ((experiment, "experiment.yaml"), (network, "network.py")):
        text = templates.joinpath(template).read_text(encoding="utf-8")
        text = text.replace("name: NAME ", f"name: {_value(name)} ").replace("NAME", name)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as problem:
            raise StorageError(f"{path} cannot be written: {problem.strerror}") from problem
    return experiment, network


def _value(name: str) -> str:
    """``name`` as an experiment file has it: in quotes where it would be read as something else, such as a number."""
    tree, unclear = parse_unclear(f"name: {name}")
    return name if tree == {"name": name} and not unclear else json.dumps(name, ensure_ascii=False)
