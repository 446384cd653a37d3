"""What a launch in rounds costs and how often its verdict is wrong: simulated variants, judged as real ones are.

`python benchmarks/deciding.py [--repetitions 2000] [--only equal] [--json]`. Nothing is trained. The noise of every
variant is independent, so that the standard deviation of a difference is sqrt(2) of a variant's. The exit code is 1
where a promise of docs/verdict.md is broken by more than chance.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from unittest.mock import patch

import numpy as np
from verdict_common import (
    SD,
    TOP,
    Array,
    Law,
    Row,
    covered,
    heavy,
    normal,
    report,
    scores,
    skewed,
    true_difference,
    wrong,
)

from orchestrator.verdict import Decision, SequentialDesign, Verdict, judge
from orchestrator.verdict.spending import critical_value

GAPS = (0, 1, 2, 4, 6)  # of five variants, in standard deviations of one, below the best


def in_rounds(accuracies: Array, most: int, images: int | None = None, margin: float | None = None) -> Verdict:
    """The verdict on ``accuracies`` (k, most), looked at after every seed."""
    design = SequentialDesign(tuple(range(most)), most)
    return judge(scores(accuracies, images), margin=margin, sequential=design)


def equal(repetitions: int, stream: np.random.Generator, law: Law, images: int | None = None) -> Iterator[Row]:
    """Equal variants, looked at after every seed up to 60: any ``better`` is wrong."""
    for k in (2, 5, 10):
        times = repetitions if k < 10 else repetitions // 2
        false = inside = 0
        for _ in range(times):
            center = TOP + (stream.random() / images if images else 0)
            verdict = in_rounds(center + SD * law(stream, k, 60), 60, images)
            false += wrong(verdict, [center] * k)
            inside += covered(verdict, [center] * k)
        setting = f"equal, {law.__name__}{f', {images:,} images' if images else ''}, k = {k}, up to 60"
        yield Row("equal variants", setting, "any false `better`", false / times, times, 0.05)
        yield Row("equal variants", setting, "all pairs' intervals right", inside / times, times, None, 0.95)


def mixtures(repetitions: int, stream: np.random.Generator) -> Iterator[Row]:
    """Some variants equal or nearly so and others far away: here the last two variants get a higher level."""
    for gaps in ((0, 0, 4), (0, 0, 4, 4, 4), (0, 0, 0, 6, 8), (0, 0.3, 0.6), (0, 0.2, 4, 4.2, 4.4)):
        truth = [TOP - gap * SD for gap in gaps]
        false = 0
        for _ in range(repetitions):
            false += wrong(in_rounds(np.array(truth)[:, None] + SD * normal(stream, len(gaps), 20), 20), truth)
        setting = f"{', '.join(map(str, gaps))} sd below, up to 20"
        yield Row("mixtures", setting, "any false `better`", false / repetitions, repetitions, 0.05)


def equivalence(repetitions: int, stream: np.random.Generator) -> Iterator[Row]:
    """Variants exactly at the margin's edge: any ``equivalent`` is wrong. And equal ones, where it is right."""
    for apart, most in ((1.0, 20), (4.0, 20), (2.0, 60)):
        margin = apart * SD
        for gaps in ((0.0, apart), (0.0, apart, apart), (0.0, 0.0)):
            truth = [TOP - gap * SD for gap in gaps]
            found = spent = 0
            for _ in range(repetitions):
                noisy = np.array(truth)[:, None] + SD * normal(stream, len(gaps), most)
                verdict = in_rounds(noisy, most, margin=margin)
                within = [p for p in verdict.pairs if p.decision in (Decision.EQUIVALENT, Decision.SLIGHTLY_BETTER)]
                found += any(abs(true_difference(p, truth)) > 0.5 * margin or gaps == (0.0, 0.0) for p in within)
                spent += sum(score.n for score in verdict.variants)
            edge = apart in gaps
            name = f"{', '.join(f'{gap:g}' for gap in gaps)} sd below, margin {apart:g} sd, up to {most}"
            figure = "any false `equivalent`" if edge else "`equivalent`, which is true"
            yield Row("equivalence", name, figure, found / repetitions, repetitions, 0.05 if edge else None)
            total = repetitions * most * len(gaps)
            yield Row("equivalence", name, "runs, of those of a fixed number", spent / total, total)


def cost(repetitions: int, stream: np.random.Generator) -> Iterator[Row]:
    """Five variants, at most 20 seeds: the runs it takes, and whether all 100 say the same; by how alpha is spent."""
    truth = np.array([TOP - gap * SD for gap in GAPS])
    drawn = [truth[:, None] + SD * normal(stream, len(GAPS), 20) for _ in range(repetitions)]
    with patch("orchestrator.verdict.ranks.sign_flip", return_value=None):  # it takes long and decides nothing
        fixed = [judge(scores(accuracies)) for accuracies in drawn]
    designs: dict[str, Callable[[int, int, float], float]] = {"ours": critical_value}
    designs |= {f"alpha spent by power {p:g}": partial(critical_value, power=p) for p in (0.5, 1.0, 1.5, 3.0)}
    designs |= {f"t confidence sequence, g = {g:g}": partial(confidence_sequence, g=g) for g in (1.0, 4.0, 16.0)}
    for name, design in designs.items():
        with patch("orchestrator.verdict.rounds.critical_value", design):
            found = [in_rounds(accuracies, 20) for accuracies in drawn]
        spent = sum(score.n for verdict in found for score in verdict.variants)
        ours = name == "ours"
        total = 100 * repetitions
        yield Row("cost", name, "runs, of the 100 of a fixed number", spent / total, total, 0.7 if ours else None)
        lost = sum(wrong(verdict, truth.tolist()) for verdict in found) / repetitions
        yield Row("cost", name, "any false `better`", lost, repetitions, 0.05 if ours else None)
        for figure, agree in (("the same best variant", _same_best), ("the same leaders", _same_leaders)):
            same = sum(agree(one, other) for one, other in zip(found, fixed, strict=True)) / repetitions
            yield Row("cost", name, figure, same, repetitions)
        opposed = sum(_opposed(one, other) for one, other in zip(found, fixed, strict=True)) / repetitions
        yield Row("cost", name, "any pair decided the other way round", opposed, repetitions)
        one_left = sum(len(verdict.leaders) == 1 for verdict in found) / repetitions
        yield Row("cost", name, "decided: one leader", one_left, repetitions)
    one_left = sum(len(verdict.leaders) == 1 for verdict in fixed) / repetitions
    yield Row("cost", "all 100 runs", "decided: one leader", one_left, repetitions)


def confidence_sequence(n: int, most: int, alpha: float, g: float) -> float:
    """The critical t of the confidence sequence with effects N(0, g), which holds for any number of looks."""
    r = ((1 + n * g) / alpha**2) ** (1 / n)
    return math.inf if n < 3 or r >= 1 + n * g else math.sqrt((n - 1) * (r - 1) * (1 + n * g) / (1 + n * g - r))


def _same_best(one: Verdict, other: Verdict) -> bool:
    return one.variants[0].variant == other.variants[0].variant


def _same_leaders(one: Verdict, other: Verdict) -> bool:
    return set(one.leaders) == set(other.leaders)


def _opposed(one: Verdict, other: Verdict) -> bool:
    told = {(pair.a, pair.b) for pair in one.pairs if pair.told_apart}
    return any(pair.told_apart and (pair.b, pair.a) in told for pair in other.pairs)


EXPERIMENTS: Mapping[str, Callable[[int, np.random.Generator], Iterable[Row]]] = {
    "cost": cost,
    "mixtures": mixtures,
    "equivalence": equivalence,
    "equal": partial(equal, law=normal),
    "skewed": partial(equal, law=skewed),
    "heavy": partial(equal, law=heavy),
    "rounded": partial(equal, law=normal, images=1000),
}


if __name__ == "__main__":
    sys.exit(report(__doc__ or "", EXPERIMENTS, repetitions=2000))
