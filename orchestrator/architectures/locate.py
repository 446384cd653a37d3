"""From a variant's name to its class: built in, ``path/to/file.py:Class`` or ``package.module:Class``."""

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from orchestrator.architectures.files import file_digest
from orchestrator.architectures.imports import TooManyError
from orchestrator.architectures.private import import_file
from orchestrator.architectures.table import VARIANTS
from orchestrator.errors import VariantError
from orchestrator.text import did_you_mean

if TYPE_CHECKING:
    from torch import nn


def load_class(variant: str) -> "type[nn.Module]":
    """The network class that ``variant`` names. Raises VariantError that lists what is allowed."""
    from torch import nn

    target = VARIANTS[variant].target if variant in VARIANTS else variant
    source, colon, name = target.rpartition(":")
    if not colon or not source or not name:
        raise VariantError(_unknown(variant))
    module = _from_file(variant, Path(source)) if source.endswith(".py") else _from_package(variant, source)
    network = getattr(module, name, None)
    if not (inspect.isclass(network) and issubclass(network, nn.Module)):
        here = [k for k, v in vars(module).items() if inspect.isclass(v) and issubclass(v, nn.Module)]
        what = "is not a torch.nn.Module class" if network is not None else "does not exist"
        raise VariantError(f"{variant}: {name} {what} in {source}; it has: {', '.join(sorted(here)) or 'none'}")
    return network


def name_of(network: "type[nn.Module]") -> str:
    """The name by which this process can import a class: ``package.module:Class``. Raises VariantError if none."""
    name, module = network.__qualname__, sys.modules.get(network.__module__)
    if "." in name or getattr(module, name, None) is not network:
        raise VariantError(f"{name} cannot be found by that name in {network.__module__}: define it at the top level")
    return f"{network.__module__}:{name}"


def is_of_this_process(variant: str) -> bool:
    """Whether only this process has the class: it was defined in a notebook or in the script that runs."""
    return variant.startswith("__main__:")


def _unknown(variant: str) -> str:
    return (
        f"there is no variant {variant!r}{did_you_mean(variant, VARIANTS)}. Built in: {', '.join(VARIANTS)}. "
        "Name your own network as path/to/file.py:Class or package.module:Class."
    )


def _from_package(variant: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as problem:  # whatever a user's module raises on import
        reason = f"{type(problem).__name__}: {problem}"
        raise VariantError(f"{variant}: the module {name} cannot be imported: {reason}") from problem


def _from_file(variant: str, path: Path) -> ModuleType:
    try:
        path = path.expanduser().resolve()
        content = file_digest(path)
    except (OSError, RuntimeError) as problem:
        raise VariantError(f"{variant}: there is no readable file {path}") from problem
    except TooManyError as problem:
        raise VariantError(f"{variant}: {problem}") from problem
    try:  # a module is identified by its content: an edited file is executed again, an unchanged one is not
        return import_file(path, content)
    except (Exception, SystemExit) as problem:  # whatever a user's file raises
        raise VariantError(
            f"{variant}: {path} fails when it is imported: {type(problem).__name__}: {problem}"
        ) from problem
