"""What the tests of damaged and hostile input share: ways to damage, and what a refusal must be."""

import contextlib
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from orchestrator.errors import (
    ExperimentError,
    OrchestratorError,
)

DEEP = "[" * 200_000

_SCALARS = (
    st.sampled_from([None, True, -1, 0, 2**31, 2**63, 10**400, float("nan"), float("inf"), 1e308, "", "a\0b", "\ud800"])
    | st.sampled_from(["../x", "/etc/x", "a/b", "..", "~nobody", "x.py:Net", "literal[x", "é\n", "9" * 5000, "=", "<<"])
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
)
_KEYS = st.sampled_from(["name", "uniform", "choice", "constrained-x", "literal[x", "lr", "arguments", "a\nb"])
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | _KEYS, inner, max_size=3),
    max_leaves=6,
)


def names(folder: Path) -> list[str]:
    """What lies in ``folder``."""
    return sorted(path.name for path in folder.iterdir())


def places(tree: Any, where: tuple = ()) -> list[tuple]:
    """The path of everything inside ``tree``."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [p for key, value in pairs for p in ((*where, key), *places(value, (*where, key)))]


@st.composite
def changed(draw: st.DrawFn, trees: list[dict]) -> Any:
    """One of ``trees`` with things removed, replaced or added at random places."""
    tree = copy.deepcopy(draw(st.sampled_from(trees)))
    for _ in range(draw(st.integers(1, 3))):
        if not (found := places(tree)):
            break
        *parents, last = draw(st.sampled_from(found))
        inside = tree
        for key in parents:
            inside = inside[key]
        match draw(st.sampled_from(["remove", "replace", "add"])):
            case "remove":
                del inside[last]
            case "replace":
                inside[last] = draw(VALUES)
            case _ if isinstance(inside, dict):
                inside[draw(st.text(max_size=6) | _KEYS)] = draw(VALUES)
    return tree


@st.composite
def damaged(draw: st.DrawFn, length: int) -> Callable[[bytes], bytes]:
    """A way to cut ``length`` bytes short or to flip one bit of them."""
    place = draw(st.integers(0, length - 1))
    bit = draw(st.none() | st.integers(0, 7))

    def damage(content: bytes) -> bytes:
        if bit is None:
            return content[:place]
        return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]

    return damage


def refused(action: Callable[[], Any], path: Path | str, kind: type[OrchestratorError]) -> Any:
    """What ``action`` gives; or None where it was refused by ``kind``, in one line that names ``path``."""
    try:
        return action()
    except kind as problem:
        refusal = problem
    lines = str(refusal).splitlines()
    problems = refusal.problems if isinstance(refusal, ExperimentError) else ()
    assert str(path) in lines[0]
    assert lines[1:] == [f"  - {line}" for line in problems]
    return None


@contextlib.contextmanager
def holding(path: Path, content: bytes) -> Any:
    """``path`` holding ``content`` for a while; what it held before comes back, and nothing else may be left there."""
    whole, before = path.read_bytes(), sorted(path.parent.iterdir())
    path.write_bytes(content)
    try:
        yield
        assert sorted(path.parent.iterdir()) == before
        assert path.read_bytes() == content
    finally:
        path.write_bytes(whole)
