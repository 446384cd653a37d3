"""The torch operations whose effect on receptive fields is known; the effect of any other is not guessed."""

import torch
from torch._ops import OpOverload

from orchestrator.contract import arranging, mixing
from orchestrator.contract.call import Rule

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
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")
UPSAMPLING = (
    "upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d", "upsample_bicubic2d",
)  # fmt: skip

RULES: dict[str, Rule] = {
    **dict.fromkeys(REDUCTIONS, mixing.reduction),
    **dict.fromkeys((*NORMALISATIONS, *DROPOUTS), arranging.untouched),
    **dict.fromkeys(UPSAMPLING, mixing.upsampled),
    **dict.fromkeys(
        ("avg_pool2d", "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices"), mixing.pooling
    ),
    **dict.fromkeys(
        ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
        mixing.adaptive_pooling,
    ),
    **dict.fromkeys(("mm", "bmm"), mixing.product),
    **dict.fromkeys(("addmm", "baddbmm"), mixing.product_and_sum),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod", "sort"), mixing.along),
    "convolution": mixing.convolution,
    "pixel_shuffle": mixing.shuffled,
    "pixel_unshuffle": mixing.unshuffled,
    "im2col": mixing.columns,
    "glu": mixing.halves_joined,
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), arranging.channels_shuffled),
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "_reshape_alias"), arranging.reshaped),
    **dict.fromkeys(("permute", "transpose", "t"), arranging.permuted),
    **dict.fromkeys(("split", "split_with_sizes", "unbind"), arranging.divided),
    **dict.fromkeys(("_to_copy", "detach", "alias", "lift_fresh", "contiguous"), arranging.untouched),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "_pad_circular"), arranging.padded),
    **dict.fromkeys(
        ("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones",
         "new_empty", "new_full", "fill_", "zero_", "uniform_", "normal_", "bernoulli_"),
        arranging.independent,
    ),
    "squeeze": arranging.squeezed,
    "unsqueeze": arranging.unsqueezed,
    "slice": arranging.sliced,
    "select": arranging.selected,
    "cat": arranging.joined,
    "stack": arranging.stacked,
    "expand": arranging.expanded,
    **dict.fromkeys(("index", "index_select"), arranging.indexed),
    "repeat": arranging.repeated,
    "flip": arranging.flipped,
    "roll": arranging.rolled,
    "copy_": arranging.copied,
    **dict.fromkeys(("_prelu_kernel", "log_sigmoid_forward", "hardswish_", "where", "lerp", "rsub"), mixing.pointwise),
}  # fmt: skip


def rule_of(operation: OpOverload) -> Rule | None:
    """The rule of ``operation``; torch itself marks the operations that act on each element alone."""
    known = RULES.get(name_of(operation))
    return mixing.pointwise if known is None and torch.Tag.pointwise in operation.tags else known


def name_of(operation: OpOverload) -> str:
    """Torch's name of the operation; the variant of the convolution that traced scripts call is the same to us."""
    name = str(operation.overloadpacket.__name__)
    return "convolution" if name == "_convolution" else name
