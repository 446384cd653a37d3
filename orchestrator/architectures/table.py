"""The table of built-in variants: adding one is a file in this folder and an entry here."""

from dataclasses import dataclass

from orchestrator.architectures.library import library_of


@dataclass(frozen=True)
class BuiltIn:
    """A built-in network, with its figures for 10 classes and images of 32 x 32; tests compare them to the analysis.

    They are written here so that listing the variants does not import torch.
    """

    family: str
    target: str  # module:class
    parameters: int
    macs: int
    features: int  # receptive field in pixels of the last map before global pooling
    output: int  # and of the output


VARIANTS = {
    "stride": BuiltIn(
        "stride-based",
        "orchestrator.architectures.stride:Stride",
        parameters=192_298, macs=46_745_920, features=41, output=67,
    ),
    "grouped_concat": BuiltIn(
        "grouped-concat",
        "orchestrator.architectures.grouped_concat:GroupedConcat",
        parameters=145_114, macs=18_828_096, features=39, output=55,
    ),
    "dilated_separable": BuiltIn(
        "dilation-as-downsample",
        "orchestrator.architectures.dilated_separable:DilatedSeparable",
        parameters=98_779, macs=10_307_200, features=51, output=71,
    ),
    "dilated_stride": BuiltIn(
        "dilation-as-downsample",
        "orchestrator.architectures.dilated_stride:DilatedStride",
        parameters=186_570, macs=23_143_552, features=61, output=69,
    ),
    "depthwise_stride": BuiltIn(
        "stride-based",
        "orchestrator.architectures.depthwise_stride:DepthwiseStride",
        parameters=182_074, macs=27_491_328, features=71, output=95,
    ),
}  # fmt: skip


def family(variant: str) -> str:
    """The family of a built-in variant, the library of a network that is installed, ``custom`` for a user's own."""
    if variant in VARIANTS:
        return VARIANTS[variant].family
    return library_of(variant) or "custom"
