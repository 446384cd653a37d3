"""Accuracy after a fixed budget: the trainer against the published pipeline. Run: python benchmarks/accuracy.py.

Speed may not be paid for with accuracy. Both sides train the same network with the same optimiser and the same pipeline
of transforms for the same epochs, and each draws its own random numbers; the last epoch's weights are tested. What must
be reached is the ratio of errors that noise alone explains: with few seeds only a large loss of accuracy can be seen,
and the interval that is printed says how large.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from common import Comparison, Side, arguments, report
from published import SETTINGS, recipe, train_whole
from scipy.stats import ttest_ind
from torch import Tensor

from orchestrator.architectures import VARIANTS
from orchestrator.data import Dataset, Split, load_dataset
from orchestrator.records import TEST_ACCURACY
from orchestrator.spec import DatasetSpec, TrialSpec
from orchestrator.trial.run import run_trial

LEVEL = 0.95  # of the interval of the difference
TRAIN, TEST, EPOCHS = 5_000, 5_000, 5  # pictures of CIFAR-10, and how often they are seen


@cache
def data(data_dir: Path | None) -> Dataset:
    """CIFAR-10's first pictures; the handwritten digits where no folder is given."""
    if data_dir is None:
        return load_dataset(DatasetSpec(name="digits"), Path())
    whole = load_dataset(DatasetSpec(name="cifar10"), data_dir)
    train, test = Split(*part(whole.train, TRAIN)), Split(*part(whole.test, TEST))
    return replace(whole, name="a part of cifar10", train=train, test=test)


def part(split: Split, size: int | None = None) -> tuple[Tensor, Tensor]:
    """The first pictures and their labels."""
    return split.images[:size], split.labels[:size]


def ours(variant: str, seed: int, epochs: int, data_dir: Path | None) -> float:
    """Test error, a fraction, of a whole trial; nothing is held out, for nothing is chosen."""
    spec = TrialSpec(variant=variant, seed=seed, trainer=replace(recipe(variant, epochs), protocol="published"))
    with tempfile.TemporaryDirectory(prefix="accuracy-") as folder:
        *_, last, _ = run_trial(spec, data(data_dir), Path(folder) / "trial")
    return 1 - last.metrics[TEST_ACCURACY]


def theirs(variant: str, seed: int, epochs: int, data_dir: Path | None) -> float:
    """The same of the published pipeline."""
    dataset, accuracies = data(data_dir), [0.0]
    train_whole(
        variant,
        seed,
        SETTINGS[variant],
        epochs,
        part(dataset.train),
        part(dataset.test),
        workers=0,
        tell=lambda figures: accuracies.append(figures["test_accuracy"]),
    )
    return 1 - accuracies[-1]


def within_noise(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The least ratio of errors (theirs to ours) that is no evidence of a loss, and Welch's interval of the gain."""
    low, high = ttest_ind(theirs, ours, equal_var=False).confidence_interval(LEVEL)
    error = statistics.median(theirs)
    return error / (error + (high - low) / 2), (float(low), float(high))


def main() -> int:
    """The same seeds on both sides, in turn."""
    flags = arguments(__doc__ or "", repeats=3, variants=list(VARIANTS), data=True)
    sides, comparisons, remarks = (Side(), Side()), [], {}
    for variant in flags.variants:
        seeds = [(variant, seed, EPOCHS, flags.data_dir) for seed in range(flags.repeats)]
        errors = [(sides[0].call(ours, *given), sides[1].call(theirs, *given)) for given in seeds]
        first, second = [pair[0] for pair in errors], [pair[1] for pair in errors]
        least, (low, high) = within_noise(first, second)
        comparisons.append(Comparison(variant, first, second, "test error", least))
        remarks[f"{variant}, gain in accuracy"] = f"{LEVEL:.0%} interval {100 * low:+.2f} to {100 * high:+.2f} points"
    for side in sides:
        side.close()
    return report("accuracy", comparisons, as_json=flags.json, remarks=remarks)


if __name__ == "__main__":
    sys.exit(main())
