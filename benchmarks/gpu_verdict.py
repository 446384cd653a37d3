"""The verdict on trials of gpu.py, from the file that it left: python benchmarks/gpu_verdict.py FILE [FIGURE]."""

import json
import sys
from pathlib import Path

import numpy as np
from rich.console import Console

from orchestrator.analysis import analyse
from orchestrator.architectures import build_network
from orchestrator.records import TEST_ACCURACY, TrialRow
from orchestrator.reporting.comparison.tables import comparison_table, cost_table
from orchestrator.reporting.comparison.variants import compare
from orchestrator.workflow.comparison import Comparison

SHAPE = (3, 32, 32)
TARGET = 0.85  # fraction


def rows(path: Path) -> tuple[list[TrialRow], dict[str, np.ndarray], int]:
    """The trials that were measured, by trial which test images are right, (N,) bool, and how many were not measured.

    Those have failed, or measured the test split every epoch instead of once, as the published protocol does.
    """
    trials, right, every = [], {}, json.loads(path.read_text())
    measured = [found for found in every if TEST_ACCURACY in found and "right" in found]
    for found in measured:
        analysis = analyse(build_network(found["variant"]), SHAPE)
        reached = [epoch for epoch, accuracy in enumerate(found["epochs"], 1) if accuracy >= TARGET]
        name = f"{found['variant']}/seed-{found['seed']}"
        trials.append(
            TrialRow(
                name,
                name,
                found["variant"],
                found["seed"],
                "complete",
                epochs=len(found["epochs"]),
                parameters=analysis.parameters,
                macs=analysis.macs,
                receptive_field=analysis.receptive_field.output,  # type: ignore[arg-type]
                val_accuracy=found["best"],
                test_accuracy=found[TEST_ACCURACY],
                seconds=found["seconds"],
                epochs_to_target=min(reached, default=None),
            )
        )
        bits = np.frombuffer(bytes.fromhex(found["right"]), np.uint8)
        right[name] = np.unpackbits(bits).astype(bool)
    return trials, right, len(every) - len(measured)


def main() -> int:
    """Print the comparison; draw it where a second argument says so."""
    trials, right, left_out = rows(Path(sys.argv[1]))
    console = Console(width=100)
    if left_out:
        console.print(f"left out: {left_out} of {left_out + len(trials)} trials, without a test accuracy measured once")
    if not trials:
        return 1
    comparison = compare(trials, TARGET, right)
    console.print(comparison_table(comparison))
    console.print(cost_table(comparison))
    console.print(comparison.sentence)
    if len(sys.argv) > 2:
        Comparison.of(comparison, trials=tuple(trials)).plot().savefig(sys.argv[2], dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main())
