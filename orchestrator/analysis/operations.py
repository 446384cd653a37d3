"""The torch operations whose effect on receptive fields is known, each with its rule; no other's is guessed."""

import torch
from torch._ops import OpOverload

from orchestrator.analysis import receptive_field
from orchestrator.analysis.receptive_field import Rule

# Those of three dimensions take (N, C, H, W) too, for a volume of C layers.
AVERAGE = (
    "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool2d", "avg_pool3d", "_adaptive_avg_pool3d",
    "adaptive_avg_pool3d", "mean",
)  # fmt: skip
MAXIMUM = (
    "max_pool2d_with_indices", "max_pool2d", "adaptive_max_pool2d", "fractional_max_pool2d",
    "max_pool3d_with_indices", "max_pool3d", "adaptive_max_pool3d", "fractional_max_pool3d",
)  # fmt: skip
REDUCTIONS = (
    "mean", "sum", "nansum", "amax", "amin", "aminmax", "max", "min", "prod", "var", "std", "var_mean", "std_mean",
    "argmax", "argmin", "any", "all", "norm", "linalg_vector_norm", "logsumexp", "median",
)  # fmt: skip
NORMALISATIONS = (
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "_batch_norm_no_update", "cudnn_batch_norm", "native_layer_norm", "native_group_norm", "instance_norm",
    "_fused_rms_norm", "rms_norm", "local_response_norm",
)  # fmt: skip
DROPOUTS = (
    "dropout", "dropout_", "feature_dropout", "feature_dropout_", "alpha_dropout", "alpha_dropout_",
    "feature_alpha_dropout", "feature_alpha_dropout_", "native_dropout",
)  # fmt: skip
POOLINGS = frozenset((*AVERAGE, *MAXIMUM, *REDUCTIONS))
COPIES = ("_to_copy", "detach", "alias", "lift_fresh", "contiguous")
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")
UPSAMPLING = ("upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d", "upsample_bicubic2d")
RESHAPES = ("view", "reshape", "_unsafe_view", "_reshape_alias")
PERMUTATIONS = ("permute", "transpose", "t", "channel_shuffle", "native_channel_shuffle")
PICKING = (
    "squeeze", "unsqueeze", "slice", "select", "split", "split_with_sizes", "unbind", "unfold", "diagonal", "flip",
    "roll", "repeat", "index", "index_select", "gather", "pixel_shuffle", "pixel_unshuffle",
)  # fmt: skip
PADDING = ("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "_pad_circular")
NEW = (
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones",
    "new_empty", "new_full", "fill_", "zero_", "uniform_", "normal_", "bernoulli_",
)  # fmt: skip
ELEMENTWISE = (  # those that torch does not mark as such
    "_prelu_kernel", "log_sigmoid_forward", "hardswish", "hardswish_", "mish_", "rrelu_with_noise", "rrelu_with_noise_",
)  # fmt: skip

RULES: dict[str, Rule] = {
    **dict.fromkeys(REDUCTIONS, receptive_field.reduction),
    **dict.fromkeys((*NORMALISATIONS, *DROPOUTS, *COPIES), receptive_field.unchanged),
    **dict.fromkeys(UPSAMPLING, receptive_field.interpolation),
    **dict.fromkeys(
        ("avg_pool2d", "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices"), receptive_field.pooling
    ),
    **dict.fromkeys(
        ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
        receptive_field.adaptive_pooling,
    ),
    **dict.fromkeys(PRODUCTS, receptive_field.matrix_product),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod", "sort"), receptive_field.along),
    **dict.fromkeys(RESHAPES, receptive_field.reshape),
    **dict.fromkeys((*PERMUTATIONS, *PICKING), receptive_field.rearrangement),
    **dict.fromkeys(PADDING, receptive_field.padding),
    **dict.fromkeys(NEW, receptive_field.new),
    "convolution": receptive_field.convolution,
    "im2col": receptive_field.unfolding,
    "glu": receptive_field.gated_halves,
    "cat": receptive_field.concatenation,
    "stack": receptive_field.stack,
    "expand": receptive_field.expansion,
    "copy_": receptive_field.copy,
    **dict.fromkeys((*ELEMENTWISE, "where", "lerp", "rsub"), receptive_field.pointwise),
}  # fmt: skip


def rule_of(operation: OpOverload) -> Rule | None:
    """The rule of ``operation``; torch itself marks the operations that act on each element alone."""
    known = RULES.get(name_of(operation))
    return receptive_field.pointwise if known is None and torch.Tag.pointwise in operation.tags else known


def name_of(operation: OpOverload) -> str:
    """Torch's name of the operation; the variant of the convolution that traced scripts call is the same to us."""
    name = str(operation.overloadpacket.__name__)
    return "convolution" if name == "_convolution" else name
