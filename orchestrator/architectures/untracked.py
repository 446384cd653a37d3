"""What of a user's own network its digest cannot follow, or does not count, found in the source files."""

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.architectures.files import files_of
from orchestrator.architectures.imports import IMPORTERS, OWN, called, is_module, package_root
from orchestrator.architectures.interactive import opaque_values, script_of
from orchestrator.architectures.locate import full_name, is_of_this_process, load_object
from orchestrator.architectures.table import VARIANTS
from orchestrator.spec import variant_label
from orchestrator.spec.references import references

UNSEEN = "its content is not tracked, and a change in it is not noticed"
LOADING = ("run_path", "spec_from_file_location", "exec_module", "load_module", "SourceFileLoader")
READERS = ("open", "read_text", "read_bytes", "getenv", "loadtxt", "fromfile", "read_csv")  # of files, and settings
LOADERS = ("torch.load", "numpy.load", "np.load")
SEEDS = ("manual_seed", "seed", "manual_seed_all")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
SETTERS = (  # functions of torch that set something for the whole process
    *("set_default_dtype", "set_default_device", "set_default_tensor_type", "set_float32_matmul_precision"),
    *("set_num_threads", "set_flush_denormal", "set_grad_enabled", "set_detect_anomaly", "set_anomaly_enabled"),
    *("use_deterministic_algorithms", "set_deterministic_debug_mode", "set_autocast_enabled"),
)
MODULES_OF_SETTINGS = ("torch.backends.", "backends.cud", "cudnn.", "torch.utils.deterministic.")
GENERATORS = ("default_rng", "RandomState", "Random", "SystemRandom", "Generator")  # of numpy, Python and torch


def source_notes(variant: str, arguments: Mapping[str, Any] | None = None, label: str | None = None) -> list[str]:
    """Notes about a user's own file and those of classes in ``arguments``: mainly what is not tracked."""
    sources = [name.rpartition(":")[0] for name in (variant, *references(arguments or {})) if name not in VARIANTS]
    files = dict.fromkeys(Path(source).expanduser().resolve() for source in sources if source.endswith(".py"))
    lines = dict.fromkeys(line for file in files for line in unfollowed(file))
    lines.update(dict.fromkeys(_of_this_process(variant, arguments or {})))
    return [f"{label or variant_label(variant)}: {line}" for line in lines]


def _of_this_process(variant: str, arguments: Mapping[str, Any]) -> Iterator[str]:
    """The same of classes and functions that were defined in a notebook or in the script that runs."""
    unseen: dict[str, None] = {}
    for found in _found_here(variant, arguments):
        if (script := script_of(found)) is not None:
            yield from unfollowed(script)
        else:
            unseen.update(dict.fromkeys(opaque_values(found)))
    if unseen:
        yield f"{', '.join(unseen)}: {UNSEEN}"


def _found_here(variant: str, arguments: Mapping[str, Any]) -> list[Any]:
    names = [] if variant in VARIANTS else [variant, *(full_name(variant, name) for name in references(arguments))]
    return [load_object(variant, name) for name in filter(is_of_this_process, names)]


def unfollowed(file: Path) -> list[str]:
    """Notes about ``file`` and the modules beside it: ``file:line: what, and what that means``."""
    found = []
    for path in [file, *files_of(file)]:
        try:
            tree = ast.parse(path.read_bytes())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            found.append(f"{path}: cannot be read as Python: {UNSEEN}")
            continue
        renamed = _renamed(tree)
        within = {id(inner) for node in ast.walk(tree) if isinstance(node, FUNCTIONS) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            said = _surprises(node, renamed, path, id(node) in within)
            found += [f"{path}:{node.lineno}: {what}" for what in said]  # type: ignore[attr-defined] # statements and expressions
        if undone := {name: line for line, name in _settings(tree.body, renamed)}:
            found.append(
                f"{path}:{min(undone.values())}: {', '.join(undone)}: without effect here; every trial is computed "
                "with torch's default settings and those of trainer, such as precision, threads and deterministic"
            )
    return found


def _settings(statements: Iterable[ast.stmt], renamed: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Line and name of every global setting of torch's that is set when the file is imported."""
    for statement in statements:
        if isinstance(statement, ast.If) and "__name__" not in ast.unparse(statement.test):
            yield from _settings([*statement.body, *statement.orelse], renamed)
        elif isinstance(statement, ast.Try):
            yield from _settings([*statement.body, *statement.orelse, *statement.finalbody], renamed)
        elif isinstance(statement, ast.Assign):
            for name in (_dotted(target, renamed) for target in statement.targets):
                if name.startswith(MODULES_OF_SETTINGS):
                    yield statement.lineno, name
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            name = _dotted(statement.value.func, renamed)
            if called(statement.value) in SETTERS or name.startswith("torch.backends."):
                yield statement.lineno, name


def _renamed(tree: ast.AST) -> dict[str, str]:
    """By the name that a file gives it what it has imported under another one: ``import sys as s``."""
    imports = (node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)))
    return {alias.asname: alias.name for node in imports for alias in node.names if alias.asname}


def _surprises(node: ast.AST, renamed: Mapping[str, str], file: Path, in_function: bool) -> Iterator[str]:
    if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.level == 0):
        named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for top in dict.fromkeys(name.partition(".")[0] for name in named):
            yield from _comes_from_elsewhere(top, file)
    if isinstance(node, ast.ImportFrom) and node.module == "sys" and "path" in {alias.name for alias in node.names}:
        yield f"sys.path: {UNSEEN}"
    if isinstance(node, ast.Attribute) and (dotted := _dotted(node, renamed)) in ("sys.path", "os.environ"):
        yield f"{dotted}: {UNSEEN}"
    if isinstance(node, ast.Call):
        name, dotted = renamed.get(called(node), called(node)), _dotted(node.func, renamed)
        if _hides(node, name) or name in READERS or dotted in LOADERS:
            yield f"{name}: {UNSEEN}"
        elif name in GENERATORS:
            yield f"{name}: a separate random generator is neither seeded by the trial's seed nor saved in checkpoints"
        elif name in SEEDS and in_function:
            yield f"{name}: trials with different seeds may start from the same weights"


def _comes_from_elsewhere(top: str, file: Path) -> Iterator[str]:
    """A note about ``import top``, if it is neither beside the file nor installed."""
    if top in sys.stdlib_module_names:
        if (file.parent / f"{top}.py").is_file():
            yield f"{top} is Python's own module, not {top}.py beside this file; rename that file"
        return
    if top in ("", OWN) or is_module(file.parent, top) or is_module(package_root(file), top):
        return
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return
    places = [*([spec.origin] if spec and spec.origin else []), *((spec and spec.submodule_search_locations) or [])]
    if places and not any({"site-packages", "dist-packages"} & set(Path(place).parts) for place in places):
        yield f"{top} comes from {places[0]}: {UNSEEN}"


def _dotted(node: ast.AST, renamed: Mapping[str, str]) -> str:
    """``sys.path`` as it is written there, with the modules' own names."""
    first, dot, rest = ast.unparse(node).partition(".")
    return f"{renamed.get(first, first)}{dot}{rest}"


def _hides(node: ast.Call, name: str) -> bool:
    """Whether calling the function ``name`` may load something that is not tracked."""
    if name in IMPORTERS:
        return not (name == "__import__" and node.args and isinstance(node.args[0], ast.Constant))
    if name in ("exec", "eval"):  # network.eval() is something else
        return isinstance(node.func, ast.Name) or ast.unparse(node.func).startswith("builtins.")
    return name in LOADING
