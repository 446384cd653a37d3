"""What the simulations of verdict.py and deciding.py share: command, rows, laws of accuracies, what is wrong."""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from orchestrator.verdict import Pair, Verdict

SD = 0.005  # of the accuracy over seeds (fraction)
TOP = 0.9  # mean accuracy
Array = NDArray[np.float64]
Law = Callable[[np.random.Generator, int, int], Array]  # (k, n) deviations in standard deviations, of mean 0


@dataclass(frozen=True)
class Row:
    """One figure: a proportion of ``times`` repetitions, and what it must be at least or at most."""

    experiment: str
    setting: str
    figure: str
    found: float
    times: int
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Within its limit, or beyond it by no more than chance explains (one time in a thousand)."""
        count = round(self.found * self.times)
        for limit, side in ((self.at_most, "greater"), (self.at_least, "less")):
            if limit is not None and stats.binomtest(count, self.times, limit, side).pvalue < 0.001:
                return False
        return True


def normal(stream: np.random.Generator, k: int, n: int) -> Array:
    """Gaussian seeds."""
    return stream.standard_normal((k, n))


def skewed(stream: np.random.Generator, k: int, n: int) -> Array:
    """Some seeds are much worse: minus an exponential, skewness -2."""
    return 1 - stream.standard_exponential((k, n))


def heavy(stream: np.random.Generator, k: int, n: int) -> Array:
    """Student's t with three degrees of freedom."""
    return stream.standard_t(3, (k, n)) / math.sqrt(3)


def one_skewed(stream: np.random.Generator, k: int, n: int) -> Array:
    """The first variant has skewed seeds, the others Gaussian ones."""
    return np.concatenate([skewed(stream, 1, n), normal(stream, k - 1, n)])


def scores(accuracies: Array, images: int | None = None) -> dict[str, dict[int, float]]:
    """``accuracies`` (k, n) by variant and seed, as counts of ``images`` right ones where that is given."""
    rounded = accuracies if images is None else np.rint(accuracies * images) / images
    return {f"v{i}": dict(enumerate(row.tolist())) for i, row in enumerate(rounded.clip(0, 1))}


def wrong(verdict: Verdict, truth: Sequence[float]) -> bool:
    """Whether any pair is said to be better that is not."""
    return any(pair.told_apart and true_difference(pair, truth) <= 1e-9 for pair in verdict.pairs)


def true_difference(pair: Pair, truth: Sequence[float]) -> float:
    return truth[int(pair.a[1:])] - truth[int(pair.b[1:])]


def covered(verdict: Verdict, truth: Sequence[float], cut: bool = True) -> bool:
    """Whether every interval of a pair has the true difference in it; ``cut`` at zero where the decision needs it."""
    for pair in verdict.pairs:
        low = pair.low
        if low is None or pair.high is None:
            continue
        if not cut and low < 1e-9:  # symmetric about the difference before
            low = 2 * pair.difference - pair.high
        if not low <= true_difference(pair, truth) <= pair.high:
            return False
    return True


def report(
    purpose: str, experiments: Mapping[str, Callable[[int, np.random.Generator], Iterable[Row]]], repetitions: int
) -> int:
    """Run every experiment with its own fixed seed and print a table of what was found; the exit code."""
    parser = argparse.ArgumentParser(description=purpose.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=repetitions, help="of each setting; some take a part of it")
    parser.add_argument("--only", nargs="+", choices=list(experiments), default=list(experiments))
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    rows, started = [], time.perf_counter()
    for name in asked.only:
        stream = np.random.default_rng([2026, list(experiments).index(name)])
        for row in experiments[name](asked.repetitions, stream):
            rows.append(row)
            if not asked.json:
                print(_line(row), flush=True)
    held = all(row.holds for row in rows)
    if asked.json:
        json.dump({"holds": held, "rows": [asdict(row) for row in rows]}, sys.stdout, indent=1)
    else:
        print(f"{'every promise holds' if held else 'a promise is BROKEN'}; {time.perf_counter() - started:.0f} s")
    return 0 if held else 1


def _line(row: Row) -> str:
    limit = row.at_most if row.at_most is not None else row.at_least
    word = "at most" if row.at_most is not None else "at least"
    promised = "" if limit is None else f"{word} {100 * limit:.2g} %"
    held = "" if limit is None else "holds" if row.holds else "BROKEN"
    found = f"{row.experiment:17} {row.setting:46} {row.figure:42} {100 * row.found:6.2f} %  n = {row.times:7,}"
    return f"{found}  {promised:14} {held}"
