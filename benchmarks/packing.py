"""Two one-thread trials side by side against one two-thread trial at a time. Run: python benchmarks/packing.py."""

import sys
from functools import partial

from common import Comparison, Side, arguments, interleaved, report, seconds_of
from hot_loop import ours as train
from published import SETTINGS

from orchestrator.architectures import VARIANTS

MUST_REACH = 1.2  # times as many images a second in all
IMAGES = 384  # a trial, in one measurement
UNIT = "milliseconds an image, on the clock"


def side_by_side(pair: tuple[Side, Side], variant: str, images: int) -> float:
    """Milliseconds an image when two processes, of one thread each, train at once."""
    jobs = [side.pool.submit(train, variant, images, None) for side in pair]
    return seconds_of(lambda: [job.result() for job in jobs]) / (2 * images) * 1e3


def one_at_a_time(side: Side, variant: str, images: int) -> float:
    """Milliseconds an image when one process trains with two threads."""
    return seconds_of(lambda: side.call(train, variant, images, None)) / images * 1e3


def main() -> int:
    """The same training loop on both sides: only the threads differ."""
    flags = arguments(__doc__ or "", variants=list(VARIANTS))
    pair, alone = (Side(threads=1), Side(threads=1)), Side(threads=2)
    comparisons = []
    for variant in flags.variants:
        images = max(IMAGES // SETTINGS[variant][0], 1) * SETTINGS[variant][0]
        costs = interleaved(
            partial(side_by_side, pair, variant, images), partial(one_at_a_time, alone, variant, images), flags.repeats
        )
        comparisons.append(Comparison(variant, *costs, UNIT))
    for side in (*pair, alone):
        side.close()
    return report("packing", comparisons, must_reach=MUST_REACH, as_json=flags.json)


if __name__ == "__main__":
    sys.exit(main())
