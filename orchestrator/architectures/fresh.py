"""Whether what a process holds of a file is what executing the file gives: its code, and its plain globals."""

import ast
import inspect
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from orchestrator.architectures.interactive import LOADS, codes, compiled, functions, named
from orchestrator.architectures.loaded import edited
from orchestrator.architectures.private import PREFIX
from orchestrator.architectures.values import OpaqueValueError, as_text
from orchestrator.errors import VariantError

# What the value of an expression may depend on beside the file itself.
OUTSIDE = (ast.Name, ast.Call, ast.Attribute, ast.Lambda, ast.NamedExpr, ast.Await, ast.comprehension, ast.JoinedStr)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
EMPTY = ("dict", "list", "set", "OrderedDict", "defaultdict", "WeakKeyDictionary", "WeakValueDictionary")
PLAIN = (bool, int, float, complex, str, bytes, type(None))
_compared: dict[str, object] = {}  # by the module's name: the specification that was compared, another after a reload


def refuse_other_code(name: str, files: Iterable[Path]) -> None:
    """Raise VariantError if an imported module was compiled from another text than that of its file, one of ``files``.

    What is loaded otherwise than from its file as it is, such as a test that pytest rewrites, is not compared. Each
    import is compared once: what follows an edit later is refused by loaded.py.
    """
    wanted = {str(file.resolve()): file for file in files}
    for title, module in list(sys.modules.items()):
        place, by = getattr(module, "__file__", None), getattr(module, "__spec__", None)
        file = wanted.get(os.path.realpath(place)) if isinstance(place, str) else None
        is_plain = type(getattr(by, "loader", None)) is SourceFileLoader and not title.startswith(PREFIX)
        if file is None or not is_plain or title == "__main__" or _compared.get(title) is by:
            continue
        own = [v for v in list(vars(module).values()) if getattr(v, "__module__", None) == title]
        if _is_other([code for value in own for code in codes(value)], file):
            raise edited(name, str(file))
        _compared[title] = by


def refuse_other_script(name: str, found: Any, script: Path) -> None:
    """The same of a class or function that was defined in ``script``, which runs."""
    if _is_other(list(codes(found)), script):
        raise edited(name, str(script))


def refuse_changed_globals(name: str, found: Any, file: Path) -> None:
    """Raise VariantError if a plain global that ``found`` uses has another value than ``file`` gives it."""
    module = getattr(found, "__module__", "")
    constants = {variable: value for variable, value in _constants(file).items() if _is_plain(value)}
    for variable, value in globals_of(found).items():
        if variable in constants and not _equal(value, constants[variable]):
            raise VariantError(
                f"{name}: {variable} of {module} is {value!r} here, and {file} sets it to {constants[variable]!r}: "
                "whoever imports the file would build another network; pass it as an argument, or restart this process"
            )


def other_globals(found: Any, script: Path) -> tuple[list[str], list[str]]:
    """The globals that ``found``, of ``script``, uses, and whose values the text of the script does not say.

    Returns their texts, and the names of those that have none. What is imported or defined once, and a constant, is
    said by the script; what begins empty is a cache, and filled by what uses it.
    """
    constants, bound = _constants(script), _bound_once(script)
    texts, opaque = [], []
    for name, value in globals_of(found).items():
        if name in bound or (name in constants and _equal(value, constants[name])):
            continue
        try:
            texts.append(f"{name} {as_text(value, _refer)}")
        except OpaqueValueError as problem:
            opaque.append(f"{name} ({problem})")
    return texts, opaque


def _refer(value: Any) -> str:
    """The text of a module, class or function: its name, and what a function was compiled to."""
    name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"
    return f"{name} {compiled(value.__code__)}" if isinstance(value, FunctionType) else name


def globals_of(found: Any) -> dict[str, Any]:
    """The globals that ``found`` and what it uses of its own module load, and do not set themselves, by name."""
    module, values, waiting = getattr(found, "__module__", ""), dict[str, Any](), [found]
    counters: set[str] = set()
    for user in waiting:  # grows
        if inspect.isclass(user):
            waiting += [base for base in user.__bases__ if base.__module__ == module and base not in waiting]
        for function in functions(user):
            if function.__globals__.get("__name__") != module:  # a decorator's
                continue
            counters |= named(function.__code__, ("STORE_GLOBAL",))
            for variable in sorted(named(function.__code__, LOADS) & function.__globals__.keys()):
                value = values[variable] = function.__globals__[variable]
                is_source = isinstance(value, (type, FunctionType)) and value.__module__ == module
                if is_source and not any(value is other for other in waiting):
                    waiting.append(value)
    return {variable: value for variable, value in values.items() if variable not in counters}


def _is_other(held: Sequence[CodeType], file: Path) -> bool:
    """Whether one of the codes ``held`` has a namesake in ``file``, but not its own text."""
    try:
        whole = compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return bool(held)
    texts: dict[str, set[str]] = {}
    for code in _within(whole):
        texts.setdefault(code.co_qualname, set()).add(compiled(code))
    here = [code for code in held if Path(code.co_filename).resolve() == file.resolve()]
    return any(code.co_qualname in texts and compiled(code) not in texts[code.co_qualname] for code in here)


def _within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _within(inner)


def _bindings(tree: ast.Module) -> Counter[str]:
    """How often each name is given a value in a module; ``global`` in a function counts as one more."""
    counted: Counter[str] = Counter()
    waiting: list[ast.AST] = list(tree.body)
    for node in waiting:  # grows
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            counted.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, SCOPES):
            counted.update([] if isinstance(node, ast.Lambda) else [node.name])
            counted.update(name for x in ast.walk(node) if isinstance(x, ast.Global) for name in x.names)
            continue
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            counted[node.id] += 1
        elif isinstance(node, ast.ExceptHandler) and node.name:
            counted[node.name] += 1
        waiting += ast.iter_child_nodes(node)
    return counted


def _constants(file: Path) -> dict[str, Any]:
    """The values of the names that ``file`` sets once, at its top level, by an expression that depends on nothing."""
    tree = ast.parse(file.read_bytes())
    counted, found = _bindings(tree), dict[str, Any]()
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        if value is None or any(isinstance(part, OUTSIDE) for part in ast.walk(value)):
            continue
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        for name in [name for name in names if counted[name] == 1]:
            with suppress(Exception):  # the file was edited, and would not run
                found[name] = eval(compile(ast.Expression(value), str(file), "eval"), {"__builtins__": {}})
    return found


def _bound_once(file: Path) -> set[str]:
    """The names that ``file`` imports, defines or binds to an empty container at its top level, and to nothing else."""
    tree = ast.parse(file.read_bytes())
    counted, names = _bindings(tree), set[str]()
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, SCOPES[:3]):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and _is_empty(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return {name for name in names if counted[name] == 1}


def _is_empty(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        kind = getattr(value.func, "id", getattr(value.func, "attr", ""))
        return kind in EMPTY and (not value.args or kind == "defaultdict")
    return (isinstance(value, ast.Dict) and not value.keys) or (isinstance(value, ast.List) and not value.elts)


def _is_plain(value: Any) -> bool:
    return type(value) in PLAIN or (isinstance(value, tuple) and all(map(_is_plain, value)))


def _equal(one: Any, other: Any) -> bool:
    """Of equal type and text: nan is itself, and 1 is not True."""
    return type(one) is type(other) and repr(one) == repr(other)
