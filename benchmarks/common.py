"""What every benchmark shares: both sides measured in turn in one run, the machine described, one verdict printed."""

import argparse
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orchestrator.training.device import processor_model

Measure = Callable[[], float]  # runs one side once and returns its cost: a time, so that less is better


def arguments(description: str, repeats: int = 5, variants: Sequence[str] = (), data: bool = False) -> Any:
    """The flags of every benchmark: ``json`` and ``repeats`` (at least 3); ``variants`` and ``data_dir`` for some."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    parser.add_argument("--repeats", type=int, default=repeats, help="measurements of each side, at least 3")
    if variants:
        parser.add_argument("--variants", nargs="+", choices=variants, default=list(variants), help="only these")
    if data:
        parser.add_argument("--data-dir", type=Path, help="where CIFAR-10 lies (default: random pictures of its shape)")
    parsed = parser.parse_args()
    if parsed.repeats < 3:
        parser.error("--repeats: at least 3")
    return parsed


def machine() -> dict[str, str | int]:
    """CPU model, cores that this process may use, torch's threads, operating system and versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "cpu": processor_model(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "load": f"{os.getloadavg()[0]:.1f} waiting or running in the last minute",
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def seconds_of(work: Callable[[], object], times: int = 1, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that one call of ``work`` takes, averaged over ``times`` calls."""
    started = clock()
    for _ in range(times):
        work()
    return (clock() - started) / times


def interleaved(ours: Measure, theirs: Measure, repeats: int) -> tuple[list[float], list[float]]:
    """Measure both sides in turn, after one round that is thrown away: a slow spell of the machine meets both."""
    rounds = [(ours(), theirs()) for _ in range(repeats + 1)][1:]
    return [first for first, _ in rounds], [second for _, second in rounds]


def run_benchmark(
    name: str, ours: Measure, theirs: Measure, *, unit: str, must_reach: float, repeats: int, as_json: bool
) -> int:
    """Measure both and print how many times less ours costs than theirs; see :func:`report`."""
    first, second = interleaved(ours, theirs, repeats)
    return report(name, [Comparison("", first, second, unit)], must_reach=must_reach, as_json=as_json)


@dataclass(frozen=True)
class Comparison:
    """The costs of both sides in one setting, round by round."""

    setting: str  # a variant, say; empty if there is only one
    ours: list[float]
    theirs: list[float]
    unit: str
    must_reach: float | None = None  # for this setting alone

    @property
    def ratio(self) -> float:
        """How many times less ours costs: ratio of medians."""
        return statistics.median(self.theirs) / statistics.median(self.ours)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest ratio of one round, whose two sides met nearly the same machine."""
        rounds = [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        return min(rounds), max(rounds)


def report(
    name: str,
    comparisons: Sequence[Comparison],
    *,
    must_reach: float | None = None,
    as_json: bool,
    remarks: Mapping[str, Any] | None = None,
    holds: bool = True,
) -> int:
    """Print medians, ratios and what must be reached.

    The verdict is on the geometric mean of the ratios; without ``must_reach`` on the one that is nearest to its own
    limit. ``remarks`` are further figures to print; ``holds`` says whether they are within their own limits.
    Returns the exit code: 0, or 1 where a ratio falls short.
    """
    ratio = math.exp(statistics.mean(math.log(c.ratio) for c in comparisons))
    if must_reach is None:
        limited = [(c.ratio / c.must_reach, c.ratio, c.must_reach) for c in comparisons if c.must_reach]
        _, ratio, must_reach = min(limited, default=(0.0, ratio, 0.0))
    passed = holds and ratio >= must_reach and all(c.ratio >= (c.must_reach or 0) for c in comparisons)
    described = machine()
    if as_json:
        samples = [
            {
                "setting": c.setting,
                "unit": c.unit,
                "ours": c.ours,
                "theirs": c.theirs,
                "ratio": c.ratio,
                "spread": c.spread,
                "must_reach": c.must_reach,
            }
            for c in comparisons
        ]
        document = {
            "benchmark": name,
            "ratio": ratio,
            "must_reach": must_reach,
            "passed": passed,
            "samples": samples,
            "remarks": dict(remarks or {}),
            "machine": described,
        }
        json.dump(document, sys.stdout, indent=2)
        print()
        return 0 if passed else 1
    print(f"{name} on {described['cpu']}, {described['cores']} cores, {described['load']}")
    for c in comparisons:
        low, high = c.spread
        least = "" if c.must_reach is None else f" (must reach {c.must_reach:g})"
        print(f"  {c.setting or name}: ratio {c.ratio:.2f}, {low:.2f} to {high:.2f} by round{least}")
        for side, costs in (("ours", c.ours), ("theirs", c.theirs)):
            print(f"    {side:6} {_summary(costs)} {c.unit}")
    for remark, value in (remarks or {}).items():
        print(f"  {remark}: {value}")
    print(f"  ratio  {ratio:.2f} (must reach {must_reach:g}): {'reached' if passed else 'FALLS SHORT'}")
    return 0 if passed else 1


class Side:
    """A process of its own, in which one side runs: its threads, memory settings and imports touch nobody else."""

    def __init__(self, threads: int = 1) -> None:
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=torch.set_num_threads, initargs=(threads,))

    def call(self, work: Callable[..., Any], *given: Any) -> Any:
        """The result of ``work``, a function of a module, in that process."""
        return self.pool.submit(work, *given).result()

    def close(self) -> None:
        """End the process."""
        self.pool.shutdown()


def pictures(count: int, data_dir: Path | None = None) -> tuple[Tensor, Tensor]:
    """``count`` pictures (count, 3, 32, 32) uint8 with labels (count,) below 10: CIFAR-10's first, or random ones."""
    if data_dir is not None:
        from orchestrator.data import load_dataset
        from orchestrator.spec import DatasetSpec

        train = load_dataset(DatasetSpec(name="cifar10"), data_dir).train
        return train.images[:count], train.labels[:count]
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=stream)
    return images, torch.randint(0, 10, (count,), generator=stream)


def _summary(costs: Sequence[float]) -> str:
    """Median and range, with n."""
    return f"median {statistics.median(costs):.4g}, {min(costs):.4g} to {max(costs):.4g}, n = {len(costs)}"
