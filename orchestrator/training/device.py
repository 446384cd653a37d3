"""Where and how precisely a trial computes: device, precision and memory layout, resolved from ``auto``."""

import functools
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from orchestrator.errors import ResourceError
from orchestrator.records import COMPUTED_IN, THEN, TORCH_VERSION
from orchestrator.spec import Recipe

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Placement:
    """The decisions of one trial."""

    device: torch.device
    precision: torch.dtype  # of the arithmetic under autocast; weights are float32 throughout
    channels_last: bool

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and convolution weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def place(recipe: Recipe, network: nn.Module, works_channels_last: Callable[[], bool] = lambda: True) -> Placement:
    """Resolve every ``auto`` of the recipe for this machine. Raises ResourceError if a request cannot be met.

    ``works_channels_last``: whether the network does, asked only where the recipe leaves it open.
    """
    device = resolve_device(recipe.device)
    precision = _precision(recipe.precision, device)
    channels_last = recipe.channels_last
    if channels_last is None:
        # On CPUs it was quicker for every kind of convolution tried; but there is nothing to lay out without one.
        has_convolution = any(isinstance(m, nn.Conv2d) for m in network.modules())
        channels_last = device.type in ("cuda", "cpu") and has_convolution and works_channels_last()
    return Placement(device, precision, channels_last)


def is_under_autocast(recipe: Recipe) -> bool:
    """Whether trials compute in less than float32, where machines like this one train them."""
    if recipe.precision != "auto":
        return recipe.precision != "float32"
    device = resolve_device("auto") if recipe.device == "auto" else torch.device(recipe.device)
    return _precision("auto", device) != torch.float32


def compute_mode(device: str, precision: str) -> str:
    """How a trial is computed, as far as it decides more than the last bits: ``bfloat16 on cuda``."""
    return f"{precision} on {device}"


def compute_modes(facts: Mapping[str, Any]) -> list[str]:
    """In which modes a trial was computed, one after the other, by its facts; earlier versions wrote only the last."""
    machine = facts.get("machine")
    if not isinstance(machine, Mapping):
        return []
    if isinstance(known := machine.get(COMPUTED_IN), str):
        return known.split(THEN)
    device, precision = machine.get("device"), facts.get("precision")
    return [compute_mode(device, precision)] if isinstance(device, str) and isinstance(precision, str) else []


def torch_versions(facts: Mapping[str, Any]) -> list[str]:
    """By which versions of torch a trial was trained, one after the other, by its facts; none if that is not known."""
    machine = facts.get("machine")
    known = machine.get(TORCH_VERSION) if isinstance(machine, Mapping) else None
    return known.split(THEN) if isinstance(known, str) else []


def compute_mode_here(recipe: Recipe, on_gpu: bool = True) -> str | None:
    """How this machine computes trials of ``recipe``; None if it cannot. Not ``on_gpu``: they are given none."""
    try:
        device = torch.device("cpu") if recipe.device == "auto" and not on_gpu else resolve_device(recipe.device)
        return compute_mode(device.type, name_of(_precision(recipe.precision, device)))
    except ResourceError:
        return None


def name_of(precision: torch.dtype) -> str:
    """As a recipe calls it: ``bfloat16``."""
    return str(precision).removeprefix("torch.")


def resolve_device(wanted: str) -> torch.device:
    """The device that the recipe's ``device`` means on this machine. Raises ResourceError if it is not there."""
    has_mps = torch.backends.mps.is_available()
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    if (wanted == "cuda" and not torch.cuda.is_available()) or (wanted == "mps" and not has_mps):
        raise ResourceError(f"trainer.device is {wanted}, but this machine has none; use auto or cpu")
    return torch.device(wanted)


def describe_machine(device: torch.device) -> dict[str, str]:
    """What decides whether two runs can agree to the bit: the device kind and the software."""
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_model(),
        TORCH_VERSION: torch.__version__,
        "threads": str(torch.get_num_threads()),
        "host": platform.node(),
    }


def describe_trial(placement: Placement, before: Mapping[str, Any]) -> dict[str, str]:
    """The machine, with how the whole trial is computed, whose facts until now were those ``before``, if any."""
    machine = describe_machine(placement.device)
    modes = [*compute_modes(before), compute_mode(placement.device.type, name_of(placement.precision))]
    versions = [*torch_versions(before), machine[TORCH_VERSION]]
    return {
        **machine,
        COMPUTED_IN: THEN.join(dict.fromkeys(modes)),
        TORCH_VERSION: THEN.join(dict.fromkeys(versions)),
    }


@functools.cache
def processor_model() -> str:
    """The processor's model, as its maker calls it; where the system does not say, its architecture."""
    with suppress(OSError):  # Linux only
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _precision(wanted: str, device: torch.device) -> torch.dtype:
    if wanted == "float16" and device.type == "cpu":
        raise ResourceError("trainer.precision float16 needs a GPU; on a CPU use auto, float32 or bfloat16")
    if wanted != "auto":
        return PRECISIONS[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _cpu_has_bfloat16() else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself; emulating it is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
