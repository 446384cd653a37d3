"""Files that an experiment names, found from its own folder and from the working directory."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.spec.references import REFERENCE, map_references
from orchestrator.spec.trial import BUILT_IN
from orchestrator.text import listed

CURVE = "published.curve"


def find_files(tree: Mapping[str, Any], folders: Sequence[Path], log: Callable[[str], None]) -> dict[str, Any]:
    """The experiment ``tree`` with each relative path in it relative to the working directory.

    These are paths of networks, of classes and functions in arguments, of the dataset and of a published curve. Each is
    looked for in ``folders`` in order; what is in none of them stays as it is written. ``log`` is told if several of
    them have other files of that name. Whatever has not the form of an experiment is left to the reader.
    """

    def variant(value: Any, key: str) -> Any:
        if isinstance(value, str):
            return name(value, key)
        if not isinstance(value, Mapping):
            return value
        return {k: name(v, key) if k == "name" else references(v, key) for k, v in value.items()}

    def name(value: Any, key: str) -> Any:
        return in_name(value, lambda source: _found(source, folders, key, log))

    def references(value: Any, key: str) -> Any:
        return map_references(value, lambda given: {REFERENCE: name(given, key)})

    def path(value: Any, key: str) -> Any:
        return _found(value, folders, key, log)

    def dataset(value: Any, key: str) -> Any:
        if value in BUILT_IN:
            return value
        found = path(value, key)
        return f"./{found}" if found in BUILT_IN else found  # a folder that is called so

    found = dict(tree)
    if isinstance(variants := tree.get("variants"), list):
        found["variants"] = [variant(value, f"variants.{position}") for position, value in enumerate(variants)]
    if "search" in tree:
        found["search"] = map_variants(references(tree["search"], "search"), lambda value: name(value, "search"))
    for part, key, change in (
        ("dataset", "name", dataset),
        ("published", "curve", path),
        ("verdict", "baseline", name),
    ):
        inside = tree.get(part)
        if isinstance(inside, Mapping) and isinstance(inside.get(key), str):
            found[part] = {**inside, key: change(inside[key], f"{part}.{key}")}
    return found


def in_name(name: Any, change: Callable[[str], str]) -> Any:
    """``path/to/file.py:Class`` with the path changed; any other name as it is."""
    source, colon, last = name.rpartition(":") if isinstance(name, str) else ("", "", "")
    return f"{change(source)}:{last}" if colon and source.endswith(".py") else name


def map_variants(search: Any, change: Callable[[Any], Any]) -> Any:
    """``search`` with the variants that its distributions are for changed."""
    space = search.get("space") if isinstance(search, Mapping) else None
    if not isinstance(space, Mapping):
        return search
    changed = {
        path: {**one, "variants": [change(variant) for variant in one["variants"]]}
        if isinstance(one, Mapping) and isinstance(one.get("variants"), list)
        else one
        for path, one in space.items()
    }
    return {**search, "space": changed}


def absolute(name: str) -> str:
    """A user's own ``file.py:Class`` with the file's absolute path: workers may run in other folders."""
    return str(in_name(name, lambda source: str(Path(source).expanduser().resolve())))


def absolute_references(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same of the classes and functions in a network's ``arguments``."""
    return {key: map_references(value, lambda name: {REFERENCE: absolute(name)}) for key, value in arguments.items()}


def _found(source: str, folders: Sequence[Path], key: str, log: Callable[[str], None]) -> str:
    """``source`` relative to the working directory, if one of ``folders`` has it."""
    there: list[Path] = []
    with suppress(OSError, ValueError, RuntimeError):  # too long, NUL, ~nobody: whoever reads the file says so
        given = Path(source).expanduser()
        if given.is_absolute() or not source:
            return source
        there = [folder / given for folder in folders if (folder / given).exists()]
    if not there:
        return source
    others = [str(path.resolve()) for path in there[1:] if not path.samefile(there[0])]
    if others:
        log(f"{key}: {source} is {there[0].resolve()}, and not {listed(list(dict.fromkeys(others)))}")
    if given.exists() and given.samefile(there[0]):
        return source
    return os.path.relpath(there[0].resolve(), Path.cwd().resolve())
