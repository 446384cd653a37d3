"""Torch's settings of the whole process: what a user's file or constructor changes of them ends with it.

A file is executed once a process, and often sets them at its top: without this, trials that come after it would be
computed otherwise than those before, and the first trial of the file itself otherwise than its second.
"""

import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch

_KEEP = object()  # in place of a default: what torch begins with depends on the machine
_lock = threading.RLock()  # settings of the process: of two threads, the second would keep what the first has changed


@dataclass(frozen=True)
class Setting:
    """One setting; ``default`` is what torch itself begins with."""

    get: Callable[[], Any]
    set: Callable[[Any], object]
    default: Any = _KEEP


@contextmanager
def settings_kept() -> Iterator[None]:
    """After this block every one of ``SETTINGS`` is as it was before it."""
    with _lock:
        before = _current()
        try:
            yield
        finally:
            put(before)


@contextmanager
def settings_restored() -> Iterator[None]:
    """The same for a long block: other threads do not wait for it."""
    before = _current()
    try:
        yield
    finally:
        put(before)


def put(values: Mapping[str, Any]) -> None:
    """Give the settings named in ``values`` these values, in the order of ``SETTINGS``."""
    with _lock:
        for name, setting in SETTINGS.items():
            if name in values and (name not in (now := _current([name])) or now[name] != values[name]):
                setting.set(values[name])


def defaults() -> dict[str, Any]:
    """What torch begins with, by name, of every setting for which that is the same on all machines."""
    return {name: setting.default for name, setting in SETTINGS.items() if setting.default is not _KEEP}


def _current(names: list[str] | None = None) -> dict[str, Any]:
    found = {}
    for name in names or SETTINGS:
        with suppress(RuntimeError):  # a mix of the older and newer names of one setting: both are kept by the newer
            found[name] = SETTINGS[name].get()
    return found


def _attribute(target: Any, name: str, default: Any = _KEEP) -> Setting:
    return Setting(lambda: getattr(target, name), lambda value: setattr(target, name, value), default)


def _float32(backend: str, operation: str, default: str = "none") -> Setting:
    """How float32 is multiplied. Not by attributes of torch.backends: that of mkldnn sets all backends."""
    return Setting(
        lambda: torch._C._get_fp32_precision_getter(backend, operation),
        lambda value: torch._C._set_fp32_precision_setter(backend, operation, value),
        default,
    )


def _default_device() -> torch.device | None:
    """Not as get_default_device, which fails for a device that is not there."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _set_tensor_device(kind: str) -> None:
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # deprecated, and the only way back
        torch.set_default_tensor_type("torch.FloatTensor" if kind == "cpu" else f"torch.{kind}.FloatTensor")


def _autocast_depth() -> int:
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()


def _set_autocast_depth(depth: int) -> None:
    """Within an autocast that was never left, torch would use converted weights again after they have changed."""
    while _autocast_depth() < depth:
        torch.autocast_increment_nesting()
    while _autocast_depth() > depth:
        torch.autocast_decrement_nesting()
    if not depth:
        torch.clear_autocast_cache()


def _autocast(kind: str) -> Setting:
    return Setting(
        lambda: torch.is_autocast_enabled(kind), lambda value: torch.set_autocast_enabled(kind, value), False
    )


_cudnn, _cuda, _mkldnn = torch.backends.cudnn, torch.backends.cuda, torch.backends.mkldnn
# The order matters: the older name of a precision before the newer, the whole before its parts.
SETTINGS: dict[str, Setting] = {
    "tensor device": Setting(torch._C._get_default_device, _set_tensor_device, "cpu"),
    "dtype": Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    "device": Setting(_default_device, torch.set_default_device, None),
    "grad": Setting(torch.is_grad_enabled, torch.set_grad_enabled, True),
    "anomaly": Setting(
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.set_anomaly_enabled(*value),
        (False, True),
    ),
    "threads": Setting(torch.get_num_threads, torch.set_num_threads),
    "denormal": Setting(lambda: sys.float_info.min * 0.5 == 0, torch.set_flush_denormal, False),
    # As use_deterministic_algorithms, which imports torch's compiler.
    "deterministic": Setting(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 0),
    "fill": _attribute(torch.utils.deterministic, "fill_uninitialized_memory", True),
    "autocast on CPU": _autocast("cpu"),
    "autocast on CUDA": _autocast("cuda"),
    "autocast cache": Setting(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled, True),
    "autocast depth": Setting(_autocast_depth, _set_autocast_depth, 0),
    "matmul precision": Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    "cudnn.allow_tf32": _attribute(_cudnn, "allow_tf32", True),
    "float32": _float32("generic", "all"),
    "float32 on CUDA": _float32("cuda", "all"),
    "float32 convolution on CUDA": _float32("cuda", "conv", "tf32"),
    "float32 recurrence on CUDA": _float32("cuda", "rnn", "tf32"),
    "float32 matmul on CUDA": _float32("cuda", "matmul"),
    "float32 on CPU": _float32("mkldnn", "all"),
    "float32 convolution on CPU": _float32("mkldnn", "conv"),
    "float32 recurrence on CPU": _float32("mkldnn", "rnn"),
    "float32 matmul on CPU": _float32("mkldnn", "matmul"),
    "cudnn.enabled": _attribute(_cudnn, "enabled", True),
    "cudnn.benchmark": _attribute(_cudnn, "benchmark", False),
    "cudnn.benchmark_limit": _attribute(_cudnn, "benchmark_limit", 10),
    "cudnn.deterministic": _attribute(_cudnn, "deterministic", False),
    "mkldnn.enabled": _attribute(_mkldnn, "enabled", True),
    "mkldnn.deterministic": _attribute(_mkldnn, "deterministic", False),
    "nnpack": Setting(torch._C._get_nnpack_enabled, torch.backends.nnpack.set_flags, True),
    "mha fast path": Setting(torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled, True),
    "opt_einsum.enabled": _attribute(torch.backends.opt_einsum, "enabled"),
    "opt_einsum.strategy": _attribute(torch.backends.opt_einsum, "strategy"),
    "float16 sums": _attribute(_cuda.matmul, "allow_fp16_reduced_precision_reduction", True),
    "bfloat16 sums": _attribute(_cuda.matmul, "allow_bf16_reduced_precision_reduction", True),
    "float16 accumulation": _attribute(_cuda.matmul, "allow_fp16_accumulation", False),
    "flash attention": Setting(_cuda.flash_sdp_enabled, _cuda.enable_flash_sdp, True),
    "efficient attention": Setting(_cuda.mem_efficient_sdp_enabled, _cuda.enable_mem_efficient_sdp, True),
    "plain attention": Setting(_cuda.math_sdp_enabled, _cuda.enable_math_sdp, True),
    "cudnn attention": Setting(_cuda.cudnn_sdp_enabled, _cuda.enable_cudnn_sdp, True),
    "linalg library": Setting(_cuda.preferred_linalg_library, _cuda.preferred_linalg_library),
    "BLAS library": Setting(_cuda.preferred_blas_library, _cuda.preferred_blas_library),
}
