"""The lines of one box in a network's drawing: layers in words, branches between lines, and repeated parts."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from orchestrator.analysis import Extent, LayerRow

GIVEN = -1  # in place of a line: what the box is given
MOST_LINES = 14  # of one box; in a longer one, what repeats stands once
MOST_ONCE = 24  # of one box with what repeats once; a longer one is shortened in the middle, to MOST_LINES
# Layers and functions, in lower case, that only follow another: written behind it, on its line.
FOLLOWERS = {
    "batchnorm2d": "norm", "batchnorm1d": "norm", "groupnorm": "norm", "layernorm": "norm", "batch_norm": "norm",
    "layernorm2d": "norm", "frozenbatchnorm2d": "norm", "relu": "ReLU", "relu_": "ReLU", "relu6": "ReLU6",
    "leakyrelu": "leaky ReLU", "gelu": "GELU", "silu": "SiLU", "hardswish": "hardswish", "sigmoid": "sigmoid",
    "hardsigmoid": "hardsigmoid", "softmax": "softmax", "logsoftmax": "log-softmax", "log_softmax": "log-softmax",
    "dropout": "dropout", "dropout2d": "dropout", "flatten": "flatten", "identity": "identity",
    "stochasticdepth": "stochastic depth",
}  # fmt: skip
JOINS = {
    "add": "add", "iadd": "add", "add_": "add", "sub": "subtract", "isub": "subtract", "cat": "concatenate",
    "concat": "concatenate", "concatenate": "concatenate", "mul": "multiply", "mul_": "multiply", "imul": "multiply",
    "matmul": "matrix product", "bmm": "matrix product", "stack": "stack",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line: its text, and the lines that feed it."""

    text: str
    sources: frozenset[int]  # GIVEN among them
    part: str  # the module inside the box that it belongs to
    inputs: tuple[int, int] = (1, 1)  # fewest and most layers that feed it: more than one number after a repetition
    again: frozenset[int] = frozenset()  # lines that feed it from another repetition than the one before
    hidden: int = 0  # lines in whose place it stands

    def __str__(self) -> str:
        low, high = self.inputs
        if high <= 2:
            return self.text
        first, dot, rest = self.text.partition(" · ")
        return f"{first} ({high if low == high else f'{low} to {high}'} inputs){dot}{rest}"


@dataclass(frozen=True)
class Repeat:
    """``count`` lines from line ``first`` on that are computed ``times`` times, one after the other."""

    first: int
    count: int
    times: int


def lines_of(rows: Sequence[LayerRow], label: str) -> list[Line]:
    """The layers of the box ``label`` in words; what only follows a line is written behind it."""
    lines: list[Line] = []
    place: dict[str, int] = {}
    used = Counter(name for row in rows for name in row.inputs)
    for row in rows:
        sources = frozenset(place.get(name, GIVEN) for name in row.inputs) or frozenset((GIVEN,))
        follower = FOLLOWERS.get(row.type.lower())
        alone = all(used[name] == 1 for name in row.inputs)  # a branch that leaves before it needs a line to leave from
        if follower and lines and sources == {len(lines) - 1} and alone:
            lines[-1] = replace(lines[-1], text=f"{lines[-1].text} · {follower}")
        else:
            count = len(row.inputs) if row.type.lower() in JOINS else 1
            lines.append(Line(follower or describe(row), sources, _part(row.name, label), (count, count)))
        place[row.name] = len(lines) - 1
    return lines


def _part(name: str, label: str) -> str:
    """The module inside ``label`` that a layer belongs to; of a list, the one with its number."""
    first, *others = name.removeprefix(f"{label}.").split(".")
    return ".".join([first, *itertools.takewhile(str.isdigit, others)])


def fitted(lines: Sequence[Line]) -> tuple[list[Line], list[Repeat]]:
    """Lines that fit into a box: all of them, or with what repeats once, or else shortened in the middle."""
    if len(lines) <= MOST_LINES:
        return list(lines), []
    short, repeats = _folded(lines)
    return (short, repeats) if repeats and len(short) <= MOST_ONCE else _shortened(short, repeats)


def _folded(lines: Sequence[Line]) -> tuple[list[Line], list[Repeat]]:
    """Each run of repetitions once. One begins and ends where a module inside the box does."""
    starts = [i for i in range(len(lines)) if not i or lines[i].part != lines[i - 1].part]
    ends = {*starts[1:], len(lines)}
    kept: list[Line] = []
    repeats: list[Repeat] = []
    moved: dict[int, int] = {GIVEN: GIVEN}
    early: set[int] = set()  # lines that are not of the last repetition
    at = 0
    while at < len(lines):
        count, times = _best(lines, at, [end - at for end in ends if end > at]) if at in starts else (1, 1)
        first, after = len(kept), at + count * times
        moved |= {place: first + (place - at) % count for place in range(at, after)}
        for offset in range(count):
            kept.append(_once([lines[place] for place in range(at + offset, after, count)], at, count, moved, early))
        early |= set(range(at, after - count))
        if times > 1:
            repeats.append(Repeat(first, count, times))
        at = after
    return kept, repeats


def _once(every: Sequence[Line], at: int, count: int, moved: Mapping[int, int], early: Set[int]) -> Line:
    """The same line of all repetitions, of which the first begins at line ``at``."""
    sources, again = set(), set()
    for time, line in enumerate(every):
        begins = at + count * time
        for source in line.sources:
            if source in early or (time and source < begins - 1):
                again.add(moved[source])
            elif not time:
                sources.add(moved[source])
    numbers = [number for line in every for number in line.inputs]
    return replace(every[0], sources=frozenset(sources), again=frozenset(again), inputs=(min(numbers), max(numbers)))


def _best(lines: Sequence[Line], at: int, counts: Sequence[int]) -> tuple[int, int]:
    """How many lines from ``at`` on repeat, and how often: what saves most."""
    best = (1, 1)
    for count in sorted(counts):
        shape, times = _shape(lines, at, count), 1
        while at + count * (times + 1) <= len(lines) and _shape(lines, at + count * times, count) == shape:
            times += 1
        if times > 1 and count * (times - 1) > best[0] * (best[1] - 1):
            best = (count, times)
    return best


def _shape(lines: Sequence[Line], at: int, count: int) -> list[tuple[str, frozenset[int], bool]]:
    """What must be equal in repetitions: words, branches inside, and which lines read what the repetition is given."""
    return [
        (line.text, frozenset(source - at for source in line.sources if source >= at), at - 1 in line.sources)
        for line in lines[at : at + count]
    ]


def _shortened(lines: Sequence[Line], repeats: Sequence[Repeat]) -> tuple[list[Line], list[Repeat]]:
    first, last = MOST_LINES - 4, len(lines) - 3
    while any(r.first < first < r.first + r.count for r in repeats):
        first -= 1  # no repetition is cut in two
    while any(r.first < last < r.first + r.count for r in repeats):
        last += 1
    gap = last - first - 1

    def move(place: int) -> int:
        return place if place < first else first if place < last else place - gap

    hidden = lines[first:last]
    joins = sum(len(line.sources) > 1 for line in hidden)
    more = f"… {len(hidden)} more{f', {joins} of them joining branches' if joins else ''} …"
    lines = [*lines[:first], Line(more, frozenset((first - 1,)), "", hidden=len(hidden)), *lines[last:]]
    moved = [
        replace(line, sources=frozenset(map(move, line.sources)), again=frozenset(map(move, line.again)))
        if place > first
        else line
        for place, line in enumerate(lines)
    ]
    kept = [replace(r, first=move(r.first)) for r in repeats if not first <= r.first < last]
    return moved, kept


def describe(row: LayerRow) -> str:
    """One layer in a few words: ``conv 3×3 → 64, stride 2, dilation 2``."""
    kind, outputs = row.type.lower(), row.output_shape[0] if row.output_shape else 0
    if kind in JOINS:
        return JOINS[kind]
    if "conv" in kind and row.kernel is not None:
        parts = [f"conv {_by(row.kernel)} → {outputs}"]
        for word, value in (("stride", row.stride), ("dilation", row.dilation)):
            if value not in (None, 1, (1, 1)):
                parts.append(f"{word} {_by(value) if isinstance(value, tuple) else value}")
        if row.groups is not None and row.groups > 1:
            parts.append("depthwise" if row.groups == outputs else f"{row.groups} groups")
        return ", ".join(parts)
    if "linear" in kind:
        return f"linear → {row.output_shape[-1] if row.output_shape else 0}"
    if "pool" in kind or kind == "mean":
        return _pooling(kind, row)
    return row.type


def _pooling(kind: str, row: LayerRow) -> str:
    what = "max" if "max" in kind else "average"
    if "adaptive" not in kind and kind != "mean":
        return f"{what} pooling" + (f" {_by(row.kernel)}" if row.kernel is not None else "")
    left = row.output_shape[1:]
    return f"global {what} pooling" if set(left) <= {1} else f"{what} pooling → {'×'.join(map(str, left))}"


def _by(value: Extent) -> str:
    return "×".join(map(str, value if isinstance(value, tuple) else (value, value)))
