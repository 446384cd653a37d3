"""From a variant's name to what makes the network: a class, or a function that returns one."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from orchestrator.architectures.crash import crash
from orchestrator.architectures.files import file_digest
from orchestrator.architectures.importing import apart, importable
from orchestrator.architectures.imports import TooManyError
from orchestrator.architectures.interactive import is_same
from orchestrator.architectures.library import library_network, library_of
from orchestrator.architectures.loaded import remember
from orchestrator.architectures.misnamed import folder_problem, misnamed, script_problem
from orchestrator.architectures.private import import_file
from orchestrator.architectures.table import VARIANTS
from orchestrator.errors import VariantError
from orchestrator.spec.references import map_references
from orchestrator.text import did_you_mean, listed

if TYPE_CHECKING:
    from torch import nn

MOST_NAMES = 20  # in an error


def load_network(variant: str) -> "Callable[..., nn.Module]":
    """The network class that ``variant`` names, or the function that returns a network.

    Raises VariantError that lists what is allowed.
    """
    from torch import nn

    if library_of(variant) is not None:
        return library_network(variant)
    source, name = _parts(variant)
    module = _module(variant, source)
    network = getattr(module, name, None)
    if isinstance(network, nn.Module):
        raise VariantError(
            f"{variant}: {name} is a network already made, which every trial would share; name its class, or a "
            "function that makes one"
        )
    if not callable(network) or (inspect.isclass(network) and not issubclass(network, nn.Module)):
        what = "does not exist"
        if hasattr(module, name):
            what = "is not a torch.nn.Module class or a function that returns one"
        raise VariantError(f"{variant}: {name} {what} in {source}{_contents(module, name, _is_network)}")
    return network  # type: ignore[no-any-return]


def resolved(variant: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``arguments`` with each ``{class: name}`` replaced by the class or function. Raises VariantError."""
    return {key: map_references(value, lambda name: load_object(variant, name)) for key, value in arguments.items()}


def load_object(variant: str, name: str) -> Any:
    """The class or function that arguments of ``variant`` call ``name``. Raises VariantError."""
    source, _, short = full_name(variant, name).rpartition(":")
    module = _module(f"{variant}: class {name} in arguments", source)
    found = getattr(module, short, None)
    if not callable(found):
        what = "is not a class or function" if hasattr(module, short) else "does not exist"
        raise VariantError(
            f"{variant}: class {name} in arguments {what} in {source}{_contents(module, short, callable)}"
        )
    return found


def full_name(variant: str, name: str) -> str:
    """The ``name`` of a class in the arguments of ``variant`` with its source, which is the variant's if it has none.

    Raises VariantError if neither has a source.
    """
    if ":" in name:
        return name
    if library_of(variant) is not None:
        raise VariantError(
            f"{variant}: class {name} in arguments needs the place where it is: path/to/file.py:{name} or "
            f"package.module:{name}"
        )
    return f"{_parts(variant)[0]}:{name}"


def name_of(network: "Callable[..., nn.Module]") -> str:
    """The name by which this process can import a class or function: ``package.module:Class``.

    Raises VariantError if it has none.
    """
    name, module = getattr(network, "__qualname__", None), getattr(network, "__module__", "")
    if name is None:
        raise VariantError(f"{network!r} has no name by which it can be imported: write a function that returns it")
    there = getattr(sys.modules.get(module), name, None)
    if there is not network and getattr(there, "__module__", None) == module and callable(there):
        if module != "__main__" and is_same(network, there):
            return f"{module}:{name}"
        raise VariantError(f"{name} is an older version of {module}.{name}: import it again")
    if "." in name or there is not network:
        raise VariantError(f"{name} cannot be found by that name in {module}: define it at the top level")
    return f"{module}:{name}"


def is_of_this_process(variant: str) -> bool:
    """Whether only this process has the class: it was defined in a notebook or in the script that runs."""
    return variant.startswith("__main__:")


def _parts(variant: str) -> tuple[str, str]:
    """Source and name of what ``variant`` names; raises VariantError if it has no such form."""
    source, colon, name = (VARIANTS[variant].target if variant in VARIANTS else variant).rpartition(":")
    if not colon or not source or not name:
        raise VariantError(
            misnamed(variant, variant)
            or f"there is no variant {variant!r}{did_you_mean(variant, VARIANTS)}. Built in: {', '.join(VARIANTS)}. "
            "Name your own network as path/to/file.py:Class or package.module:Class; a function that returns one will "
            "do, too."
        )
    return source, name


def _module(variant: str, source: str) -> ModuleType:
    """The module that ``source`` names; errors begin with ``variant``."""
    if wrong := misnamed(variant, source):
        raise VariantError(wrong)
    with importable():
        try:
            if source.endswith(".py"):
                path, content = _read(variant, source)
                with apart():  # a module is identified by its content: only an edited file is executed again
                    return import_file(path, content)
            with apart():
                module = importlib.import_module(source)
            remember(source)
        except VariantError:
            raise
        except (Exception, SystemExit) as problem:  # whatever a user's module raises on import
            raise VariantError(f"{variant}: {_import_problem(source, problem)}") from problem
    if getattr(module, "__file__", None) is None and (folders := list(getattr(module, "__path__", []))):
        raise VariantError(f"{variant}: {folder_problem(Path(folders[0]))}")
    return module


def _read(variant: str, source: str) -> tuple[Path, str]:
    """The absolute path of a file, and the digest of it and its neighbours."""
    path = Path(source)
    try:
        path = path.expanduser().resolve()
        return path, file_digest(path)
    except (OSError, RuntimeError) as problem:
        raise VariantError(f"{variant}: there is no readable file {path}") from problem
    except TooManyError as problem:
        raise VariantError(f"{variant}: {problem}") from problem


def _import_problem(source: str, problem: BaseException) -> str:
    if isinstance(problem, SystemExit):
        return script_problem(problem)
    absent = isinstance(problem, ModuleNotFoundError) and f"{source}.".startswith(f"{problem.name}.")
    if absent and not source.endswith(".py"):
        return f"there is no module {source}, neither installed nor in the current folder"
    hint = f"; install {problem.name}" if isinstance(problem, ModuleNotFoundError) else ""
    return f"fails when it is imported: {crash(problem)}{hint}"


def _is_network(value: Any) -> bool:
    from torch import nn

    return inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, nn.Module))


def _contents(module: ModuleType, name: str, wanted: Callable[[Any], bool]) -> str:
    """``(did you mean X?); it has: ...``: what a module offers, that which it has imported last."""
    offered = {k: v for k, v in vars(module).items() if not k.startswith("_") and wanted(v)}
    own = [k for k, v in offered.items() if getattr(v, "__module__", None) == module.__name__]
    shown = sorted(own or offered)
    return f"{did_you_mean(name, offered)}; it has: {listed(shown, MOST_NAMES) if shown else 'none'}"
