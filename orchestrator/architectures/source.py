"""The Python files that a network of the user's own is made of: one digest of them all."""

import ast
import hashlib
from pathlib import Path

from orchestrator.architectures.neighbours import IMPORTERS, called, neighbours, package_root


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
    """Where what ``file`` and its neighbours bring in cannot be told without running them: ``file:line: what``.

    A change in that is not noticed: it does not enter the digest.
    """
    found = []
    for path in [file, *files_of(file)]:
        try:
            tree = ast.parse(path.read_bytes())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            found.append(f"{path}: cannot be read as Python")
            continue
        for node in ast.walk(tree):
            if what := _hides(node):
                found.append(f"{path}:{node.lineno}: {what}")  # type: ignore[attr-defined] # it is an expression
    return found


def _hides(node: ast.AST) -> str:
    """What this part of a file may bring in that nobody sees; empty if nothing."""
    if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path":
        return "sys.path"
    if not isinstance(node, ast.Call):
        return ""
    name = called(node)
    if name in IMPORTERS:
        return "" if name == "__import__" and node.args and isinstance(node.args[0], ast.Constant) else name
    executes = name in ("exec", "eval") and isinstance(node.func, ast.Name)  # network.eval() is something else
    return name if executes or name in ("run_path", "spec_from_file_location", "exec_module") else ""


def package_digest(root: Path, top: str) -> str:
    """The same of the module or package that ``import top`` finds in ``root``."""
    return _digest(b"", root, neighbours(root, [], [top]))


def _digest(content: bytes, root: Path, files: list[Path]) -> str:
    digest = hashlib.sha256(content)
    for path in sorted(files):
        digest.update(b"\0" + path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
