"""How much of the machine's matrix peak the training step uses. Run: python benchmarks/roofline.py.

Counted is what the network needs, not what is computed for it: two operations a multiply-accumulate forward, four
backward, and none for the gradient of the pictures. On a CPU processor time counts, of one thread.
"""

import sys
import time
from collections.abc import Callable

import torch
from common import Comparison, arguments, interleaved, report
from published import recipe

from orchestrator.analysis import analyse
from orchestrator.architectures import VARIANTS, build_network
from orchestrator.spec import Recipe
from orchestrator.training.device import place
from orchestrator.training.learner import Learner
from orchestrator.training.process import training_process
from orchestrator.training.step import build_step

MUST_REACH = 0.5  # of the peak
PROMISED = ("stride", "grouped_concat", "dilated_stride")  # depthwise layers are bounded by memory, not arithmetic
BATCH = 128  # images on a CPU
BATCH_GPU = 1024
STEPS = 4  # in one measurement
SIDE = 2048  # of the square matrices on a CPU
SIDE_GPU = 8192


def operations(variant: str) -> int:
    """Floating-point operations that one image costs in training."""
    analysis = analyse(build_network(variant), (3, 32, 32))
    first = next(row.macs for row in analysis.layers if row.macs)
    assert analysis.macs is not None
    return 6 * analysis.macs - 2 * first


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Processor time on a CPU; on a GPU time until it has finished."""
    if device.type == "cpu":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def peak_cost(device: torch.device, precision: torch.dtype, side: int) -> float:
    """Seconds an operation of a square matrix product."""
    left, right = (torch.randn(side, side, device=device, dtype=precision) for _ in range(2))
    left @ right
    return min(seconds(lambda: left @ right, device) for _ in range(3)) / (2 * side**3)


def build(variant: str, settings: Recipe, batch: int) -> tuple[Callable[[], object], torch.device, torch.dtype]:
    """One training step on pictures that lie ready, the device and the precision of its arithmetic."""
    torch.manual_seed(0)
    network = build_network(variant)
    placement = place(settings, network)
    learner = Learner.build(network, settings, placement, 1)
    step = build_step(learner, settings)
    network.train()
    pictures = torch.randn(batch, 3, 32, 32, device=placement.device).contiguous(memory_format=placement.memory_format)
    labels = torch.randint(0, 10, (batch,), device=placement.device)
    return lambda: step(pictures, labels), placement.device, placement.precision


def main() -> int:
    """The share is the ratio of seconds an operation at the peak to seconds an operation in training."""
    flags = arguments(__doc__ or "", variants=list(VARIANTS))
    torch.set_num_threads(1)
    comparisons, peaks = [], []
    for variant in flags.variants:
        batch, side = (BATCH_GPU, SIDE_GPU) if torch.cuda.is_available() else (BATCH, SIDE)
        settings = recipe(variant)
        settings = Recipe(optimizer=settings.optimizer, schedule=settings.schedule, batch_size=batch)
        with training_process(settings):
            step, device, precision = build(variant, settings, batch)
            each = operations(variant) * batch
            step()

            def training(step: Callable[[], object] = step, each: int = each, device: torch.device = device) -> float:
                return seconds(lambda: [step() for _ in range(STEPS)], device) / (STEPS * each) * 1e9

            def peak(device: torch.device = device, precision: torch.dtype = precision, side: int = side) -> float:
                return peak_cost(device, precision, side) * 1e9

            mine, best = interleaved(training, peak, flags.repeats)
        limit = MUST_REACH if variant in PROMISED else None
        comparisons.append(Comparison(variant, mine, best, "nanoseconds an operation (theirs: the peak)", limit))
        peaks += best
    kind = str(precision).removeprefix("torch.")
    note = "" if kind == "bfloat16" else ": this machine does not multiply bfloat16 itself"
    remarks = {"peak": f"{1 / min(peaks):.0f} GFLOP/s at best, {kind}, one {device.type}{note}"}
    return report("roofline", comparisons, as_json=flags.json, remarks=remarks)


if __name__ == "__main__":
    sys.exit(main())
