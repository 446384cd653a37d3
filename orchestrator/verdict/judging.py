"""The verdict: every pair of variants tested, the family of tests adjusted together, and one of four decisions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from orchestrator.verdict import arguments, images, rounding
from orchestrator.verdict.comparing import TOO_FEW_SEEDS, Evidence, Seeds, around, gather, score
from orchestrator.verdict.images import Right
from orchestrator.verdict.judging_rounds import judge_rounds
from orchestrator.verdict.multiplicity import holm, steps
from orchestrator.verdict.pareto import pareto_front
from orchestrator.verdict.planning import LEAST_SEEDS, detectable, more_seeds
from orchestrator.verdict.result import Decision, Pair, SequentialDesign, VariantScore, Verdict
from orchestrator.verdict.rounds import ABOVE_ZERO, Plan
from orchestrator.verdict.sentence import with_sentence
from orchestrator.verdict.student import StandardError, critical


def judge(
    scores: Mapping[str, Seeds],
    *,
    predictions: Mapping[tuple[str, Any], Right] | None = None,
    baseline: str | None = None,
    margin: float | None = None,
    confidence: float = 0.95,
    costs: Mapping[str, Mapping[str, float]] | None = None,
    sequential: SequentialDesign | None = None,
) -> Verdict:
    """Which variants are better than which, with everything that this rests on; docs/verdict.md has the formulas.

    ``scores``: by variant and seed, the test accuracy (fraction). ``predictions``: by (variant, seed), (N,) bool, which
    test images were classified correctly; used for a pair of variants if all of their seeds have them. ``baseline``:
    compare with this variant only. ``margin``: a difference (fraction) below which variants count as equivalent.
    ``costs``: by name and variant, for the Pareto fronts. ``sequential``: the rounds of a launch that was looked at
    after each of them; other seeds take no part. Raises RequestError for arguments that make no sense.
    """
    scores = arguments.scores_by_seed(scores)
    right = {trial: r for trial, r in arguments.arrays(predictions).items() if trial[1] in scores.get(trial[0], {})}
    arguments.check_question(scores, margin, baseline, confidence)
    count = arguments.check_predictions(right)
    alpha = 1 - confidence
    grid = 1 / count if count else rounding.step(one for seeds in scores.values() for one in seeds.values())
    if sequential is not None:
        arguments.check_rounds(sequential.seeds, sequential.max_seeds)
        plan = Plan(sequential.max_seeds, alpha, margin, baseline)
        found = judge_rounds(scores, sequential.seeds, plan, right)
        front = {name: pareto_front(found.variants, cost) for name, cost in (costs or {}).items()}
        return with_sentence(replace(found, confidence=confidence, images=count, front=front))

    def students(_: int, error: StandardError) -> float:
        return critical(error.df(), alpha)

    judged = (replace(score(name, seeds, grid, students), seeds=tuple(seeds)) for name, seeds in scores.items())
    variants = sorted(judged, key=_rank)
    measured = [score.variant for score in variants if score.n]
    compared = [pair for pair in combinations(measured, 2) if baseline is None or baseline in pair]
    evidence = [gather(a, b, scores[a], scores[b], grid) for a, b in compared]
    pairs = _decide(evidence, images.mean_over_seeds(scores, right), margin, alpha)
    found = Verdict(
        variants=tuple(variants),
        pairs=tuple(pairs),
        leaders=_leaders(measured, pairs),
        confidence=confidence,
        margin=margin,
        baseline=baseline,
        images=count,
        front={name: pareto_front(variants, cost) for name, cost in (costs or {}).items()},
    )
    return with_sentence(found)


def _rank(score: VariantScore) -> float:
    return math.inf if score.mean is None else -score.mean


def _decide(
    evidence: Sequence[Evidence], proportions: Mapping[str, Any], margin: float | None, alpha: float
) -> list[Pair]:
    """Every pair with its decision: of both kinds of tests at most ``alpha`` of the families have a wrong one."""
    tested = [e.p if e.n >= LEAST_SEEDS or e.p is None else 1.0 for e in evidence]  # too few decide nothing
    different, divisors = holm(tested), steps(tested)
    equivalent: list[float | None] = [None] * len(evidence)
    if margin is not None:
        equivalent = holm([e.p_not_within(margin) if e.n >= LEAST_SEEDS else None for e in evidence])
    pairs = []
    for e, p, q, divisor in zip(evidence, different, equivalent, divisors, strict=True):
        better = p is not None and p <= alpha and e.difference > 0
        within = q is not None and q <= alpha
        decision = {
            (True, True): Decision.SLIGHTLY_BETTER,
            (True, False): Decision.BETTER,
            (False, True): Decision.EQUIVALENT,
        }.get((better, within), Decision.UNDECIDED)
        levels = alpha / len(evidence), alpha / (divisor if better else len(evidence))  # Bonferroni's, Holm's
        pairs.append(_pair(e, decision, p, proportions, max(e.difference, margin or 0.0), levels))
    return pairs


def _pair(
    e: Evidence,
    decision: Decision,
    p: float | None,
    proportions: Mapping[str, Any],
    target: float,
    levels: tuple[float, float],
) -> Pair:
    """The pair with its intervals; ``levels``: of simultaneous intervals, and of the step at which it was decided."""
    told_apart, (alpha, decisive) = decision in (Decision.BETTER, Decision.SLIGHTLY_BETTER), levels
    known = e.a in proportions and e.b in proportions
    other_images = images.half_width(proportions[e.a], proportions[e.b], decisive) if known else None
    seeds = e.half_width(decisive)
    both = None if seeds is None or other_images is None else math.hypot(seeds, other_images)
    low, high = around(e.difference, e.half_width(alpha))
    low_new_images, high_new_images = around(e.difference, other_images)
    low_both, high_both = around(e.difference, both)
    if low is not None:  # the decision and the interval say the same
        low = max(low, ABOVE_ZERO) if told_apart else min(low, 0.0)
    if low_both is not None and not told_apart:
        low_both = min(low_both, 0.0)
    more = more_seeds(e.error, alpha, target) if e.error and decision is Decision.UNDECIDED else None
    return Pair(
        a=e.a,
        b=e.b,
        n=e.n,
        difference=e.difference,
        paired=e.paired,
        decision=decision,
        low=low,
        high=high,
        p=e.p,
        p_adjusted=p,
        p_sign_flip=e.p_sign_flip,
        p_a_beats_b=e.p_a_beats_b,
        detectable=None if e.error is None or (shown := detectable(e.error, alpha)) > 1 else shown,
        more_seeds=more,
        low_new_images=low_new_images,
        high_new_images=high_new_images,
        low_both=low_both,
        high_both=high_both,
        reason=e.reason or (TOO_FEW_SEEDS if e.n < LEAST_SEEDS else None),
    )


def _leaders(measured: Sequence[str], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """The best, and every variant that is not told apart from it, which a pair that is not compared is not either."""
    worse: dict[str, set[str]] = {variant: set() for variant in measured}
    for pair in pairs:
        if pair.told_apart:
            worse[pair.a].add(pair.b)
    behind: set[str] = set()
    found = list(measured[:1])
    while found:  # what is worse than something that is worse than the best is worse than the best
        found = [variant for better in found for variant in worse[better] - behind]
        behind.update(found)
    return tuple(variant for variant in measured if variant not in behind)
