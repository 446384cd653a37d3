"""The Python files that a network of the user's own is made of: one digest of them all."""

import ast
import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.architectures.neighbours import IMPORTERS, called, neighbours, package_root

UNSEEN = "what comes in there is not followed, and a change in it is not noticed"
GENERATORS = ("default_rng", "RandomState", "Random", "SystemRandom", "Generator")  # of numpy, Python and torch


def file_digest(file: Path) -> str:
    """sha256 (hexadecimal) of ``file`` and of what it imports from beside it, wherever the folder lies.

    Of a file that is part of a package, the whole package. Raises OSError if the file cannot be read, and TooManyError
    if it imports a package beyond all bounds.
    """
    return _digest(file.read_bytes(), package_root(file), files_of(file))


def files_of(file: Path) -> list[Path]:
    """The files that ``file`` is made of, itself left out: what it imports from beside it, or its whole package."""
    root = package_root(file)
    beside = neighbours(file.parent, [file])
    package = [] if root == file.parent else neighbours(root, [], [file.relative_to(root).parts[0]])
    return [path for path in dict.fromkeys([*beside, *package]) if path != file]


def unfollowed(file: Path) -> list[str]:
    """What in ``file`` and its neighbours is not as it looks: ``file:line: what, and what that means``."""
    found = []
    for path in [file, *files_of(file)]:
        try:
            tree = ast.parse(path.read_bytes())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            found.append(f"{path}: cannot be read as Python: {UNSEEN}")
            continue
        renamed = _renamed(tree)
        for node in ast.walk(tree):
            found += [f"{path}:{node.lineno}: {what}" for what in _surprises(node, renamed, path.parent)]  # type: ignore[attr-defined] # statements and expressions
    return found


def _renamed(tree: ast.AST) -> dict[str, str]:
    """By the name that a file gives it what it has imported under another one: ``import_module as load``."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {alias.asname: alias.name for node in imports for alias in node.names if alias.asname}


def _surprises(node: ast.AST, renamed: Mapping[str, str], folder: Path) -> Iterator[str]:
    if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.level == 0):
        named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for top in (name.partition(".")[0] for name in named):
            if top in sys.stdlib_module_names and (folder / f"{top}.py").is_file():
                yield f"{top} is Python's own module, not {top}.py beside this file; give that another name"
    if isinstance(node, ast.ImportFrom) and node.module == "sys" and "path" in {alias.name for alias in node.names}:
        yield f"sys.path: {UNSEEN}"
    if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path":
        yield f"sys.path: {UNSEEN}"
    if isinstance(node, ast.Call):
        name = renamed.get(called(node), called(node))
        if _hides(node, name):
            yield f"{name}: {UNSEEN}"
        elif name in GENERATORS:
            yield f"{name}: a random generator of its own is neither seeded by the trial's seed nor kept in checkpoints"


def _hides(node: ast.Call, name: str) -> bool:
    """Whether calling the function ``name`` may bring in what nobody sees."""
    if name in IMPORTERS:
        return not (name == "__import__" and node.args and isinstance(node.args[0], ast.Constant))
    if name in ("exec", "eval"):  # network.eval() is something else
        return isinstance(node.func, ast.Name) or ast.unparse(node.func).startswith("builtins.")
    return name in ("run_path", "spec_from_file_location", "exec_module")


def package_digest(root: Path, top: str) -> str:
    """The same of the module or package that ``import top`` finds in ``root``."""
    return _digest(b"", root, neighbours(root, [], [top]))


def _digest(content: bytes, root: Path, files: list[Path]) -> str:
    digest = hashlib.sha256(content)
    for path in sorted(files):
        digest.update(b"\0" + path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
