"""What is recorded of a network's forward pass: its operations, its layers, and what each of them sees."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from orchestrator.analysis.field import Field

INDEPENDENT = "it does not depend on the image"
INPUT = "input"  # the name under which layers name the image as their source


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one tensor that depends on the image; ``field`` is the reason where it is not known."""

    field: Field | str
    sources: tuple[str, ...] = (INPUT,)  # the layers that it comes from directly
    operation: int = -1  # the number of the operation that made it; -1 is the image


@dataclass(frozen=True, slots=True)
class Operation:
    """One torch operation on tensors that depend on the image."""

    number: int
    name: str  # torch's own, such as ``convolution`` or ``add``
    arguments: Mapping[str, Any]  # by torch's names; tensors stand as their shapes
    inputs: tuple[Known, ...]
    output: Known
    shape: tuple[int, ...]  # of the (first) result, with the batch
    macs: int  # for one image

    @property
    def unknown(self) -> str:
        """Why it is not known what its result sees; empty if it is."""
        return self.output.field if isinstance(self.output.field, str) and self.output.field != INDEPENDENT else ""

    @property
    def field_before(self) -> Field | None:
        """What the first tensor that it takes sees, where that is known."""
        return found if isinstance(found := self.inputs[0].field, Field) else None

    @property
    def field_after(self) -> Field | None:
        """What its result sees, where that is known."""
        return found if isinstance(found := self.output.field, Field) else None

    @property
    def pools_all(self) -> bool:
        """Whether it takes a map, or what is left of one after one axis was pooled, to a single position or none."""
        before, after = self.field_before, self.field_after
        if before is None or after is None or after.spatial_extent() > 1:
            return False
        return before.spatial_extent() > 1 or before.axes_left() > after.axes_left()


@dataclass
class TracedLayer:
    """One layer's turn: the module or function, and the operations that it carried out."""

    name: str
    type: str
    block: str
    module: nn.Module | None
    sources: tuple[str, ...]
    operations: tuple[Operation, ...]
    output: Known
    shape: tuple[int, ...]  # with the batch
