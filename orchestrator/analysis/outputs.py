"""The logits among what a network returns: a tensor, ``(main, auxiliary, ...)``, or a mapping with ``logits``."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

LOGITS = "logits"


def main_output(output: Any) -> Any:
    """The tensor that classifies: ``output`` itself, its first part, or its part ``logits``.

    Whatever has none of these forms is returned as it is, for the caller to reject.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return output.get(LOGITS, output)
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    return output


def auxiliary_outputs(output: Any) -> list[Tensor]:
    """The other tensors of ``output``: those of auxiliary heads."""
    if isinstance(output, Mapping):
        parts = [part for key, part in output.items() if key != LOGITS]
    else:
        parts = list(output[1:]) if isinstance(output, (tuple, list)) else []
    return [part for part in parts if isinstance(part, Tensor)]
