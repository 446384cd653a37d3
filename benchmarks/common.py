"""What every benchmark shares: both sides measured in turn in one run, the machine described, one verdict printed."""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

Measure = Callable[[], float]  # runs one side once and returns its cost: a time, so that less is better


def arguments(description: str, repeats: int = 5) -> argparse.Namespace:
    """The flags of every benchmark: ``json`` and ``repeats`` (at least 3)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    parser.add_argument("--repeats", type=int, default=repeats, help="measurements of each side, at least 3")
    parsed = parser.parse_args()
    if parsed.repeats < 3:
        parser.error("--repeats: at least 3")
    return parsed


def machine() -> dict[str, str | int]:
    """CPU model, cores that this process may use, torch's threads, operating system and versions."""
    cpu = platform.processor()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "cpu": cpu,
        "cores": cores,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def seconds_of(work: Callable[[], object], times: int = 1) -> float:
    """Wall time of one call of ``work``, in seconds, averaged over ``times`` calls."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times


def interleaved(ours: Measure, theirs: Measure, repeats: int) -> tuple[list[float], list[float]]:
    """Measure both sides in turn, after one round that is thrown away: a slow spell of the machine meets both."""
    rounds = [(ours(), theirs()) for _ in range(repeats + 1)][1:]
    return [first for first, _ in rounds], [second for _, second in rounds]


def run_benchmark(
    name: str, ours: Measure, theirs: Measure, *, unit: str, must_reach: float, repeats: int, as_json: bool
) -> int:
    """Print how many times less ours costs than theirs (ratio of medians).

    ``unit`` says what the two return. Returns the exit code: 0, or 1 where the ratio falls short of ``must_reach``.
    """
    first, second = interleaved(ours, theirs, repeats)
    ratio = statistics.median(second) / statistics.median(first)
    described = machine()
    if as_json:
        samples = {"unit": unit, "ours": first, "theirs": second}
        document = {
            "benchmark": name,
            "ratio": ratio,
            "must_reach": must_reach,
            "samples": samples,
            "machine": described,
        }
        json.dump(document, sys.stdout, indent=2)
        print()
    else:
        print(f"{name} on {described['cpu']}, {described['threads']} of {described['cores']} cores")
        for side, costs in (("ours", first), ("theirs", second)):
            print(f"  {side:6} {_summary(costs)} {unit}")
        print(
            f"  ratio  {ratio:.2f} (must reach {must_reach:g}): {'reached' if ratio >= must_reach else 'FALLS SHORT'}"
        )
    return 0 if ratio >= must_reach else 1


def _summary(costs: Sequence[float]) -> str:
    """Median and range, with n."""
    return f"median {statistics.median(costs):.4g}, {min(costs):.4g} to {max(costs):.4g}, n = {len(costs)}"
