"""The layout of a network's drawing: ranks from the image to the output, branches side by side."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.analysis import Analysis, Extent, LayerRow

IMAGE = "image"
MOST_LINES = 14  # of one block; a longer one is shortened in the middle
# Layers and functions, in lower case, that only follow another: written behind it, on its line.
FOLLOWERS = {
    "batchnorm2d": "norm", "batchnorm1d": "norm", "groupnorm": "norm", "layernorm": "norm", "batch_norm": "norm",
    "relu": "ReLU", "relu_": "ReLU", "relu6": "ReLU6", "leakyrelu": "leaky ReLU", "gelu": "GELU", "silu": "SiLU",
    "hardswish": "hardswish", "sigmoid": "sigmoid", "softmax": "softmax", "logsoftmax": "log-softmax",
    "log_softmax": "log-softmax", "dropout": "dropout", "dropout2d": "dropout", "flatten": "flatten",
    "identity": "identity",
}  # fmt: skip
JOINS = {"add": "add", "iadd": "add", "add_": "add", "cat": "concatenate", "concat": "concatenate", "mul": "multiply"}


@dataclass(eq=False)
class Block:
    """One box: its name, a line for each group of layers, its output shape, and its input boxes."""

    name: str
    lines: list[str]
    shape: tuple[int, ...]
    inputs: list[str] = field(default_factory=list)
    join: bool = False
    rank: int = 0
    parameters: int = 0
    label: str = ""  # the module's name, the same each time that it is called


def blocks(analysis: Analysis) -> list[Block]:
    """The network's top-level blocks in the order in which they are computed, the image first."""
    home: dict[str, Block] = {}  # by the name of a layer
    found = [Block(IMAGE, [], analysis.input_shape)]
    rows: list[list[LayerRow]] = [[]]
    layers = Counter(row.block or row.name for row in analysis.layers)
    for row in analysis.layers:
        label, block = row.block or row.name, found[-1]
        sources = [home.get(name, found[0]) for name in row.inputs] or [found[0]]
        # A lone activation or normalisation joins the box before it.
        follows = layers[label] == 1 and row.type.lower() in FOLLOWERS and sources == [block]
        if len(found) == 1 or not (block.label == label or follows):
            block = Block(_unused(label, found), [], (), label=label, join=len(row.inputs) > 1 and not row.block)
            found.append(block)
            rows.append([])
        for source in sources:
            if source is not block and source.name not in block.inputs:
                block.inputs.append(source.name)
                block.rank = max(block.rank, source.rank + 1)
        home[row.name] = block
        rows[-1].append(row)
        block.shape = row.output_shape
        block.parameters += row.parameters
    for block, mine in zip(found, rows, strict=True):
        block.lines = _shorten(_lines(mine))
    return found


def _unused(label: str, found: Sequence[Block]) -> str:
    """A name for a box; a block that comes again later is another box."""
    times = 1 + sum(block.label == label for block in found)
    return label if times == 1 else f"{label} ({times})"


def _lines(rows: Sequence[LayerRow]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        follower = FOLLOWERS.get(row.type.lower())
        if follower and lines:
            lines[-1] += f" · {follower}"
        else:
            lines.append(follower or describe(row))
    return lines


def _shorten(lines: list[str]) -> list[str]:
    if len(lines) <= MOST_LINES:
        return lines
    first = MOST_LINES - 4
    return [*lines[:first], f"… {len(lines) - first - 3} more …", *lines[-3:]]


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
        return f"linear → {outputs}"
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
