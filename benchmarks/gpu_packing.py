"""Part of the GPU benchmark: how many trials an hour one card gives, side by side and one at a time."""

from typing import Any

from gpu_common import NO_TIME, Setting, recipe, served, spec

from orchestrator.sharing import mps
from orchestrator.sharing.measure import side_by_side

COUNTS = (1, 2, 4, 8)
SECONDS = 2.0  # of each measurement


def packing(setting: Setting) -> dict[str, Any]:
    """Images a second in all, without and with MPS, and memory."""
    counts = (1, 2) if setting.smoke else COUNTS
    found: dict[str, Any] = {"mps_unavailable": mps.unavailable()}
    variants = setting.variants[:1] if setting.smoke else ["grouped_concat"]
    for variant in variants:
        with served(setting) as environment:
            found[variant] = {"mps": counted(setting, variant, counts, environment)} if environment else {}
        found[variant]["plain"] = counted(setting, variant, counts, None)
    return found


def counted(setting: Setting, variant: str, counts: tuple[int, ...], environment: Any) -> dict[str, Any]:
    """Each count once."""
    found: dict[str, Any] = {}
    trial = spec(variant, recipe(setting.device, batch_size=128 if setting.smoke else 256))
    for count in counts:
        if setting.left() < 0:
            found[str(count)] = {"failed": NO_TIME}
            continue
        try:
            found[str(count)] = vars_of(side_by_side(trial, (3, 32, 32), 10, count, SECONDS, environment))
        except Exception as problem:  # one count must not end the others
            found[str(count)] = {"failed": repr(problem)[:300]}
        setting.note(f"packing-{variant}-{'mps' if environment else 'plain'}", found)
    return found


def vars_of(throughput: Any) -> dict[str, Any]:
    """The fields of a measurement."""
    return {
        "images_per_second": round(throughput.images_per_second),
        "bytes_each": throughput.bytes_each,
        "failed": throughput.failed,
        "reason": throughput.reason,
    }
