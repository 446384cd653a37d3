"""Parts of the GPU benchmark: seconds an epoch, the share in which the GPU waits, and the published pipeline beside."""

import statistics
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from gpu_common import NO_TIME, Setting, epochs, random_images, recipe, refusals, spec, warnings_kept

from orchestrator.architectures import VARIANTS
from orchestrator.records import IMAGES_PER_SECOND
from orchestrator.spec import Optimizer, Recipe

LEARNED = 45_000  # images of an epoch, beside 5,000 held out
PROFILED = 15_360  # images of an epoch under the profiler, whose own work takes seconds
LONG_GAP = 20.0  # microseconds: within a graph they are shorter
MODES: dict[str, dict[str, Any]] = {
    "recorded": {},
    "recorded, contiguous": {"channels_last": False},
    "recorded, not deterministic": {"deterministic": False},
    "recorded, muon": {"optimizer": Optimizer(name="muon", lr=0.005, momentum=0.95, weight_decay=0.1)},
    "recorded, batch 512": {"batch_size": 512},
    "computed": {"cuda_graph": False, "epochs": 2},
    "recorded, float32": {"precision": "float32"},
}


def images(setting: Setting) -> Any:
    """Random images: speed does not depend on what they show."""
    return random_images(1_000 if setting.smoke else LEARNED * 10 // 9, test=1_000)


def timed(setting: Setting, variant: str, settings: Recipe) -> dict[str, Any]:
    """Epoch by epoch, from record to record; the first one, in which things are loaded and recorded, by itself."""
    dataset = images(setting)
    ends, rates = [time.perf_counter()], []
    with warnings_kept() as said:
        for record in epochs(spec(variant, settings), dataset):
            if not record.final:
                ends.append(time.perf_counter())
                rates.append(record.metrics[IMAGES_PER_SECOND])
    seconds = [end - start for start, end in pairwise(ends)]
    refused = {"failed": "; ".join(refusals(said))} if refusals(said) else {}
    return {
        "first_epoch": round(seconds[0], 3),
        "epoch": round(statistics.median(seconds[1:]), 4),
        "epochs": [round(s, 4) for s in seconds],
        "images_per_second": round(statistics.median(rates[1:])),
        "whole": round(time.perf_counter() - ends[0], 2),
        "said": said,
        **refused,
    }


def speed(setting: Setting) -> dict[str, Any]:
    """All variants as they are trained."""
    return modes(setting, "speed", ["recorded"])


def other_modes(setting: Setting) -> dict[str, Any]:
    """The same otherwise: computed step by step, with Muon, in other layouts and precisions."""
    return modes(setting, "other_modes", [mode for mode in MODES if mode != "recorded"])


def modes(setting: Setting, part: str, names: list[str]) -> dict[str, Any]:
    """Each mode with each variant."""
    found: dict[str, Any] = {}
    for mode in names:
        changes = MODES[mode]
        for variant in setting.variants:
            try:
                in_time = setting.left() > 0
                result = timed(setting, variant, recipe(setting.device, **changes)) if in_time else {"failed": NO_TIME}
            except Exception as problem:  # one mode must not end the others
                result = {"failed": repr(problem)[:300]}
            found.setdefault(mode, {})[variant] = result
            setting.note(part, found)
    return found


def waiting(setting: Setting) -> dict[str, Any]:
    """The share of one whole epoch, evaluation and checkpoint included, in which no kernel runs; where time goes."""
    found = {}
    for variant in setting.variants:
        found[variant] = profiled(setting, variant) if setting.left() > 0 else {"failed": NO_TIME}
        setting.note("waiting", found)
    return found


def profiled(setting: Setting, variant: str) -> dict[str, Any]:
    """One epoch under torch's profiler, after two without."""
    activities = [
        torch.profiler.ProfilerActivity.CUDA if setting.device == "cuda" else torch.profiler.ProfilerActivity.CPU
    ]
    count = 1_000 if setting.smoke else PROFILED
    running = epochs(spec(variant, recipe(setting.device)), random_images(count * 10 // 9, test=1_000))
    next(running), next(running)
    with torch.profiler.profile(activities=activities) as profiler:
        next(running)
    running.close()
    spans = [
        (event.time_range.start, event.time_range.end, event.name)
        for event in profiler.events() or []
        if setting.device == "cpu" or event.device_type.name == "CUDA"
    ]
    by_name: dict[str, list[float]] = {}
    for start, end, name in spans:
        by_name.setdefault(name, []).append(end - start)
    total, busy, idle = covered([(start, end) for start, end, _ in spans])
    top = sorted(by_name.items(), key=lambda item: -sum(item[1]))[:20]
    return {
        "epoch_milliseconds": round(total / 1e3, 2),
        "waiting_share": round(1 - busy / total, 4),
        "waiting_for_the_host_milliseconds": round(idle / 1e3, 2),
        "kernels": len(spans),
        "longest": [
            {
                "kernel": name[:110],
                "share": round(sum(t) / busy, 4),
                "calls": len(t),
                "microseconds": round(statistics.median(t), 1),
            }
            for name, t in top
        ],
    }


def covered(spans: list[tuple[float, float]]) -> tuple[float, float, float]:
    """From the first beginning to the last end, how much of that some span covers, and the sum of the long gaps."""
    first = reached = min(start for start, _ in spans)
    busy = idle = 0.0
    for start, end in sorted(spans):
        busy += max(0.0, end - max(start, reached))
        idle += start - reached if start - reached > LONG_GAP else 0.0
        reached = max(reached, end)
    return reached - first, busy, idle


def against_published(setting: Setting) -> dict[str, Any]:
    """Images a second of the published pipeline on the same card: 4 loader workers, Albumentations, float32."""
    from published import SETTINGS, Pipeline

    count = 512 if setting.smoke else 12_800
    images, found = random_images(count), dict[str, Any]()
    for variant in setting.variants:
        if setting.left() < 0:
            found[variant] = {"failed": NO_TIME}
            continue
        pipeline = Pipeline(
            variant, images.train.images, images.train.labels, SETTINGS[variant], workers=4, device=setting.device
        )
        pipeline.train()
        started = time.perf_counter()
        pipeline.train()
        found[variant] = round(count / (time.perf_counter() - started))
    return found


def compiled(setting: Setting) -> dict[str, Any]:
    """``trainer.compile``: Inductor's kernels, one variant, its compilation by itself."""
    return {
        variant: timed(setting, variant, replace(recipe(setting.device), compile=True))
        for variant in (list(VARIANTS)[2:3] if not setting.smoke else [])
    }
