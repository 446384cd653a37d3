"""The analysis of a network before training: parameters, multiply-accumulates, receptive field, layers."""

from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.analysis.recorded import Operation

Extent = int | tuple[int, int]  # one number for squares, (height, width) otherwise
Step = int | float | tuple[int | float, int | float]  # below 1 after upsampling


@dataclass(frozen=True)
class ReceptiveField:
    """Pixels that one unit in the middle depends on, not clipped by the image's border; None if unknown."""

    features: Extent | None  # of the last map before global pooling
    output: Extent | None  # of the network's output
    reason: str = ""  # why a figure is None

    def to_json(self) -> dict[str, Any]:
        """Both figures."""
        return {"features": plain(self.features), "output": plain(self.output)}


@dataclass(frozen=True)
class LayerRow:
    """One layer as it is computed: a module without children, or a function such as ``cat``.

    Shapes are without the batch. A module that is called twice has two rows, its parameters in the first only.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    kernel: Extent | None
    stride: Extent | None
    padding: Extent | None
    dilation: Extent | None
    groups: int | None
    jump: Step | None  # pixels between neighbouring units; where no positions are left, that of the layer before
    receptive_field: Extent | None  # pixels, as in ReceptiveField
    inputs: tuple[str, ...] = ()  # names of the layers that feed it; ``input`` is the image
    macs: int = 0  # multiply-accumulates for one image
    block: str = ""  # the top-level module that it belongs to
    inner_dropout: float = 0.0  # largest probability inside a layer of torch's own (attention, recurrent layers)

    def to_json(self) -> dict[str, Any]:
        """The keys that ``inspect --json`` promises."""
        keys = (
            "name", "type", "output_shape", "parameters", "kernel", "stride", "padding", "dilation", "groups", "jump",
            "receptive_field",
        )  # fmt: skip
        return {key: plain(getattr(self, key)) for key in keys}


@dataclass(frozen=True)
class Analysis:
    """What :func:`orchestrator.analysis.analyse` returns for a network and images of ``input_shape``."""

    input_shape: tuple[int, int, int]  # channels, height, width
    output_shape: tuple[int, ...]  # without the batch
    parameters: int  # each counted once, however often it is used
    macs: int | None  # multiply-accumulates for one image
    receptive_field: ReceptiveField
    layers: tuple[LayerRow, ...]
    traced_by: Literal["torch.fx", "hooks"] = "torch.fx"
    notes: tuple[str, ...] = ()
    # What the network computes in evaluation, and in training on a batch (nothing if it cannot be trained).
    operations: tuple[Operation, ...] = field(default=(), repr=False, compare=False)
    training_operations: tuple[Operation, ...] = field(default=(), repr=False, compare=False)
    hidden: str = ""  # why layers of any kind may be where no operation shows them

    def to_json(self) -> dict[str, Any]:
        """``inspect --json`` without variant, family and contract."""
        return {
            "parameters": self.parameters,
            "macs": self.macs,
            "receptive_field": self.receptive_field.to_json(),
            "output_shape": list(self.output_shape),
            "layers": [row.to_json() for row in self.layers],
        }


def plain(value: Any) -> Any:
    """Tuples as lists."""
    return list(value) if isinstance(value, tuple) else value
