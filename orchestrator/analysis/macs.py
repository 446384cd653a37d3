"""Multiply-accumulates of torch's operations, by the formulas of torch's own FlopCounterMode."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch._ops import OpOverload


class MacCounter:
    """Counts convolutions and matrix products; biases, normalisation, activations and pooling count as nothing."""

    def __init__(self) -> None:
        from torch.utils.flop_counter import FlopCounterMode  # here: a fifth of a second, which others need not wait

        self._flops: Mapping[Any, Any] = FlopCounterMode(display=False).flop_registry

    def count(self, function: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
        """Of one operation on a whole batch; torch counts two operations for each multiply-accumulate."""
        formula = self._flops.get(function.overloadpacket)
        return int(formula(*args, **kwargs, out_val=result)) // 2 if formula else 0
