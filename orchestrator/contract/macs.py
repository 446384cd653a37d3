"""Multiply-accumulates of torch's operations: convolutions and matrix products; nothing else counts, as usual."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def multiply_accumulates(name: str, arguments: Mapping[str, Any], shape: Sequence[int]) -> int:
    """Of one operation on a whole batch: ``arguments`` hold the shapes of its tensors, ``shape`` its result's.

    A bias, normalisation, activation, pooling, interpolation and element-wise arithmetic count as nothing.
    """
    if name == "convolution":
        weight = arguments["weight"]  # (out, in / groups, ...), or (in, out / groups, ...) if transposed
        positions = math.prod((arguments["input"] if arguments["transposed"] else shape)[2:])
        return int(shape[0] * positions * math.prod(weight))
    if name in ("mm", "bmm"):
        return int(math.prod(arguments["self"]) * arguments["mat2"][-1])
    if name == "addmm":
        return int(math.prod(arguments["mat1"]) * arguments["mat2"][-1])
    if name == "baddbmm":
        return int(math.prod(arguments["batch1"]) * arguments["batch2"][-1])
    if name in ("mv", "dot", "vdot"):
        return int(math.prod(arguments["self"]))
    if name.startswith("_scaled_dot_product"):  # fused: Q K^T, then its product with V
        query, key, value = arguments["query"], arguments["key"], arguments["value"]
        return int(math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))
    return 0
