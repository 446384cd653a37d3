"""The settings in which verdict.py counts how often a verdict is wrong, and what docs/verdict.md promises of each."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy import special
from verdict_common import SD, TOP, Law, Row, covered, heavy, normal, one_skewed, scores, skewed, true_difference, wrong

from orchestrator.verdict import Decision, Pair, judge


def equal(repetitions: int, stream: np.random.Generator) -> Iterator[Row]:
    """Equal variants: any ``better`` is wrong."""
    laws: list[tuple[str, Law, int | None]] = [
        ("normal", normal, None),
        ("skewed", skewed, None),
        ("heavy-tailed", heavy, None),
        ("one of k skewed", one_skewed, None),
        *((f"normal, {images:,} images", normal, images) for images in (50, 100, 200, 1000, 10_000)),
    ]
    for name, law, images in laws:
        for k, n in ((k, n) for k in (2, 5, 10) for n in (3, 5, 10)):
            times = repetitions if k < 10 else repetitions // 2
            false = inside = means = known = 0
            for _ in range(times):
                center = TOP + (stream.random() / images if images else 0)
                verdict = judge(scores(center + SD * law(stream, k, n), images))
                truth = [center] * k
                false += wrong(verdict, truth)
                inside += covered(verdict, truth)
                bounds = [(s.low, s.high) for s in verdict.variants if s.low is not None and s.high is not None]
                known += len(bounds)
                means += sum(low <= center <= high for low, high in bounds)
            setting = f"{name}, k = {k}, n = {n}"
            promised = law is not one_skewed  # differences of two different skewed laws are skewed, too
            right, each = inside / times, means / max(known, 1)
            yield Row("equal variants", setting, "any false `better`", false / times, times, 0.05 if promised else None)
            yield Row(
                "equal variants", setting, "all pairs' intervals right", right, times, None, 0.95 if promised else None
            )
            yield Row("equal variants", setting, "a variant's interval is right", each, known // k)


def mixtures(repetitions: int, stream: np.random.Generator) -> Iterator[Row]:
    """Some variants equal and others far away: Holm's procedure gains most, and so could lose most."""
    patterns = {"2 equal, 1 far": (0, 0, 40), "2 equal, 3 far": (0, 0, 20, 40, 60), "3 equal, 2 far": (0, 0, 0, 40, 80)}
    patterns["3 close (1 sd), 2 far"] = (0, 1, 2, 40, 80)
    for name, gaps in patterns.items():
        for n in (3, 5, 10):
            truth = [TOP - gap * SD for gap in gaps]
            false = inside = uncut = 0
            for _ in range(repetitions):
                verdict = judge(scores(np.array(truth)[:, None] + SD * normal(stream, len(truth), n)))
                false += wrong(verdict, truth)
                inside += covered(verdict, truth)
                uncut += covered(verdict, truth, cut=False)
            setting = f"{name}, n = {n}"
            yield Row("mixtures", setting, "any false `better`", false / repetitions, repetitions, at_most=0.05)
            yield Row("mixtures", setting, "all intervals right, cut", inside / repetitions, repetitions, None, 0.90)
            yield Row("mixtures", setting, "all intervals right, uncut", uncut / repetitions, repetitions, None, 0.95)


def power(repetitions: int, stream: np.random.Generator) -> Iterator[Row]:
    """The planned number of seeds finds the difference with a power of 0.8."""
    for ratio, n in ((0.5, 34), (1.0, 10), (1.5, 6), (2.0, 5)):  # difference over sd of the differences
        found = 0
        for _ in range(repetitions):
            apart = np.array([[ratio * math.sqrt(2) * SD], [0.0]])
            found += judge(scores(TOP + apart + SD * normal(stream, 2, n))).pairs[0].told_apart
        yield Row("power", f"difference {ratio} sd, n = {n}", "`better`", found / repetitions, repetitions, None, 0.8)
    for n in (3, 5):  # a pilot with n seeds plans for a margin of 1 sd of the differences, which is the truth
        enough = planned = 0
        for _ in range(repetitions):
            verdict = judge(scores(TOP + SD * normal(stream, 2, n)), margin=math.sqrt(2) * SD)
            more = verdict.pairs[0].more_seeds
            if more is not None and verdict.pairs[0].difference < math.sqrt(2) * SD:
                planned += 1
                enough += n + more >= 10  # as many as a power of 0.8 takes
        setting = f"pilot of {n}, difference 1 sd"
        yield Row("power", setting, "the advice is enough", enough / planned, planned, None, 0.75)


def equivalence(repetitions: int, stream: np.random.Generator) -> Iterator[Row]:
    """Variants that differ by exactly the margin: any `equivalent` between those is wrong."""
    margin = 4 * SD
    for name, truth in (("2 variants", (TOP, TOP - margin)), ("3 variants", (TOP, TOP - margin, TOP - margin))):
        for n in (3, 5, 10):
            false = right = 0
            for _ in range(repetitions):
                noisy = np.array(truth)[:, None] + SD * normal(stream, len(truth), n)
                pairs = judge(scores(noisy), margin=margin).pairs
                within = [p for p in pairs if p.decision in (Decision.EQUIVALENT, Decision.SLIGHTLY_BETTER)]
                edge = [abs(abs(true_difference(p, truth)) - margin) < 1e-9 for p in within]
                false += any(edge)
                right += not all(edge)
            setting = f"{name}, margin 4 sd, n = {n}"
            yield Row("equivalence", setting, "any false `equivalent`", false / repetitions, repetitions, at_most=0.05)
            if len(truth) > 2:
                yield Row("equivalence", setting, "`equivalent` where it is true", right / repetitions, repetitions)


def unpaired(repetitions: int, stream: np.random.Generator) -> Iterator[Row]:
    """Different seeds and different numbers of them, with equal and with unequal spreads."""
    for k, counts in ((2, (3, 5)), (2, (3, 10)), (2, (5, 10)), (2, (5, 5)), (5, (3, 10, 3, 10, 5))):
        for ratio in (1.0, 3.0, 1 / 3):  # the first one's standard deviation over the others'
            false = inside = 0
            truth = [TOP] * k
            for _ in range(repetitions):
                spreads = [SD * ratio, *[SD] * (k - 1)]
                runs = [TOP + sd * stream.standard_normal(n) for sd, n in zip(spreads, counts, strict=True)]
                verdict = judge({f"v{i}": dict(enumerate(run.tolist(), 100 * i)) for i, run in enumerate(runs)})
                false += wrong(verdict, truth)
                inside += covered(verdict, truth)
            setting = f"n = {', '.join(map(str, counts))}; sd {ratio:.2g} to 1"
            yield Row("other seeds", setting, "any false `better`", false / repetitions, repetitions, 0.05)
            yield Row(
                "other seeds", setting, "all pairs' intervals right", inside / repetitions, repetitions, None, 0.95
            )


def both_noises(repetitions: int, stream: np.random.Generator) -> Iterator[Row]:
    """Networks that are equally good on all images that there are; images' difficulty and seeds' effects are latent."""
    images, network_sd, residual_sd = 1000, 0.3, 0.5
    by_image = math.sqrt(1 + network_sd**2 + residual_sd**2)
    for k in (2, 5):
        for n, by_seed in ((n, by_seed) for n in (3, 5, 10) for by_seed in (0.0, 0.05, 0.15)):
            times = max(repetitions // 4, 100)
            seeds_only = both = fixed = 0
            for _ in range(times):
                hard = stream.standard_normal(images)
                spreads = by_seed * (1 + np.arange(k) % 3)[:, None]
                center = 0.94 * np.sqrt(by_image**2 + spreads**2)  # a mean accuracy of 83 % for all
                effects = center + spreads * stream.standard_normal((k, n))
                network = network_sd * stream.standard_normal((k, 1, images))
                residual = residual_sd * stream.standard_normal((k, n, images))
                latent = effects[..., None] + hard + network + residual
                right = latent > 0
                predictions = {(f"v{i}", seed): right[i, seed] for i in range(k) for seed in range(n)}
                verdict = judge(scores(right.mean(axis=2)), predictions=predictions)
                # What the trained networks would reach on all images: every term but the seed's effect is by image.
                true = special.ndtr(effects / by_image).mean(axis=1)
                seeds_only += any(pair.told_apart for pair in verdict.pairs)
                both += any(pair.told_apart and pair.holds_for_new_images for pair in verdict.pairs)
                fixed += all(_new_images_right(pair, true.tolist()) for pair in verdict.pairs)
            setting = f"k = {k}, n = {n}, seed effect {by_seed:g} to {by_seed * min(k, 3):g}"
            yield Row(
                "seeds and images", setting, "any false `better`, new seeds and images", both / times, times, 0.05
            )
            yield Row("seeds and images", setting, "any `better`, new seeds only", seeds_only / times, times)
            yield Row("seeds and images", setting, "new-image intervals right", fixed / times, times, None, 0.95)


def _new_images_right(pair: Pair, true: Sequence[float]) -> bool:
    if pair.low_new_images is None or pair.high_new_images is None:
        return True
    return pair.low_new_images <= true_difference(pair, true) <= pair.high_new_images


def rounded(repetitions: int, stream: np.random.Generator) -> Iterator[Row]:
    """Equal variants whose accuracies are few steps apart: Holm's first step with Student's test as it is, and ours."""
    for k, n, steps in ((2, 8, 0.8), (3, 4, 1.2), (5, 5, 1.2), (5, 5, 5.0)):  # steps: in one standard deviation
        plain = ours = 0
        for _ in range(repetitions):
            accuracies = np.rint(180 + stream.random() + steps * normal(stream, k, n)) / 200
            ours += any(pair.told_apart for pair in judge(scores(accuracies)).pairs)
            apart = np.array([a - b for a, b in combinations(accuracies, 2)])
            sd = apart.std(axis=1, ddof=1)
            t = np.abs(apart.mean(axis=1)[sd > 1e-9]) / sd[sd > 1e-9] * math.sqrt(n)
            plain += bool(np.any(2 * special.stdtr(n - 1, -t) <= 0.05 / len(apart)))
        setting = f"k = {k}, n = {n}, sd {steps} steps of 1/200"
        yield Row("rounding", setting, "any false `better`", ours / repetitions, repetitions, 0.05)
        yield Row("rounding", setting, "the same by Student's test as it is", plain / repetitions, repetitions)


def welch(repetitions: int, stream: np.random.Generator) -> Iterator[Row]:
    """Where Welch's own degrees of freedom are too many: his test at the level of one of ten variants' 45 pairs."""
    level, times = 0.05 / 45, 100 * repetitions
    for first, second, ratio in ((3, 10, 3.0), (3, 10, 1.0), (5, 10, 3.0), (4, 6, 3.0), (4, 5, 1.0), (9, 10, 3.0)):
        runs = [ratio * stream.standard_normal((times, first)), stream.standard_normal((times, second))]
        shares = np.array([run.var(axis=1, ddof=1) / run.shape[1] for run in runs])
        t = np.abs(runs[0].mean(axis=1) - runs[1].mean(axis=1)) / np.sqrt(shares.sum(axis=0))
        theirs = shares.sum(axis=0) ** 2 / (shares**2 / np.array([[first - 1], [second - 1]])).sum(axis=0)
        for name, df in (("Welch's", theirs), ("the smaller number's", min(first, second) - 1)):
            found = float(np.mean(2 * special.stdtr(df, -t) <= level))
            setting = f"n = {first}, {second}; sd {ratio:g} to 1"
            limit = None if name == "Welch's" else level
            yield Row("level 0.11 %", setting, f"false `better`, {name} df", found, times, limit)


EXPERIMENTS: Mapping[str, Callable[[int, np.random.Generator], Iterable[Row]]] = {
    "equal": equal,
    "mixtures": mixtures,
    "power": power,
    "equivalence": equivalence,
    "unpaired": unpaired,
    "both": both_noises,
    "rounding": rounded,
    "welch": welch,
}
