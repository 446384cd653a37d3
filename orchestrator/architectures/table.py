"""The table of built-in variants: adding one is a file in this folder and a line here."""

VARIANTS: dict[str, tuple[str, str]] = {
    # name: (family, module:class)
    "stride": ("stride-based", "orchestrator.architectures.stride:Stride"),
    "grouped_concat": ("grouped-concat", "orchestrator.architectures.grouped_concat:GroupedConcat"),
    "dilated_separable": (
        "dilation-as-downsample",
        "orchestrator.architectures.dilated_separable:DilatedSeparable",
    ),
    "dilated_stride": ("dilation-as-downsample", "orchestrator.architectures.dilated_stride:DilatedStride"),
    "depthwise_stride": ("stride-based", "orchestrator.architectures.depthwise_stride:DepthwiseStride"),
}


def family(variant: str) -> str:
    """The family of a built-in variant; ``custom`` for a user's own network."""
    return VARIANTS[variant][0] if variant in VARIANTS else "custom"
