"""A comparison in rounds: who gets another seed, when it ends, and the verdict on what was decided on the way."""

import json
import re
from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import RequestError
from orchestrator.spec import VerdictSettings
from orchestrator.verdict import Decision, SequentialDesign, Standing, Verdict, judge, standing
from orchestrator.verdict.sentence import SCOPE

Scores = dict[str, dict[int, float]]
MOST = 8


def drawn(gaps: tuple[float, ...], n: int = 20, sd: float = 0.005, seed: int = 0) -> Scores:
    """Normal seeds of variants a, b, ... whose means are that many standard deviations below 0.9."""
    noise = np.random.default_rng(seed).standard_normal((len(gaps), n))
    return {
        name: dict(enumerate((0.9 + sd * (row - gap)).round(4).tolist()))
        for name, gap, row in zip("abcdefgh", gaps, noise, strict=False)
    }


def stand(scores: Scores, rounds: int, most: int = 20, **changed: object) -> Standing:
    asked = {"margin": None, "baseline": None, "confidence": 0.95, "max_seeds": most, **changed}
    return standing(scores, range(rounds), **asked)  # type: ignore[arg-type]


def judged(scores: Scores, rounds: int, most: int = 20, **changed: object) -> Verdict:
    return judge(scores, sequential=SequentialDesign(tuple(range(rounds)), most), **changed)  # type: ignore[arg-type]


ACCURACY = st.tuples(st.integers(0, 3), st.integers(-3, 3)).map(lambda drawn: 0.9 - 0.03 * drawn[0] + 0.001 * drawn[1])
MAYBE = st.one_of(ACCURACY, ACCURACY, ACCURACY, ACCURACY, st.none())  # None: the trial failed
TABLES = st.integers(2, 4).flatmap(
    lambda k: st.lists(st.lists(MAYBE, min_size=MOST, max_size=MOST), min_size=k, max_size=k)
)
SETTINGS = st.fixed_dictionaries(
    {
        "margin": st.sampled_from([None, 0.01, 0.05]),
        "baseline": st.sampled_from([None, "b"]),
        "confidence": st.sampled_from([0.6, 0.95]),
    }
)


def scored(table: list[list[float | None]]) -> Scores:
    """By variant a, b, ... and seed; a trial that failed has no score."""
    rows = zip("abcd", table, strict=False)
    return {name: {seed: x for seed, x in enumerate(row) if x is not None} for name, row in rows}


@given(TABLES, SETTINGS, TABLES)
@settings(deadline=None, max_examples=120)
def test_later_rounds_and_the_order_of_arrival_change_no_earlier_decision(
    table: list[list[float | None]], asked: dict[str, object], later: list[list[float | None]]
) -> None:
    scores = scored(table)
    steps = [stand(scores, rounds, MOST, **asked) for rounds in range(MOST + 1)]
    dropped: dict[str, str] = {}
    for rounds, step in enumerate(steps):
        assert dropped.items() <= step.dropped.items()  # once dropped, for the same reason as then
        assert not set(step.active) & step.dropped.keys()
        assert steps[max(rounds - 1, 0)].ended in (None, step.ended)
        assert rounds >= 3 or not (step.ended or step.dropped)
        dropped = dict(step.dropped)
        known = {v: {s: x for s, x in seeds.items() if s < rounds} for v, seeds in scores.items()}
        for variant, row in zip(known, later, strict=False):
            known[variant] |= {s: x for s, x in enumerate(row) if s >= rounds and x is not None}
        arrived = {variant: dict(reversed(seeds.items())) for variant, seeds in known.items()}
        assert stand(arrived, rounds, MOST, **asked) == step
    assert steps[-1].ended


@given(TABLES, SETTINGS)
@settings(deadline=None, max_examples=120)
def test_the_verdict_says_what_was_decided_on_the_way(
    table: list[list[float | None]], asked: dict[str, object]
) -> None:
    scores = scored(table)
    said, verdict = stand(scores, MOST, MOST, **asked), judged(scores, MOST, MOST, **asked)
    for variant, why in said.dropped.items():
        pairs = [pair for pair in verdict.pairs if variant in (pair.a, pair.b)]
        if why.startswith("worse than"):
            other = why.removeprefix("worse than ").removeprefix("the baseline ").split()[0]
            [pair] = [pair for pair in pairs if {pair.a, pair.b} == {variant, other}]
            assert (pair.told_apart, pair.b) == (True, variant)
            assert f"after {pair.n} seeds ({100 * pair.difference:.2f} points" in why
            assert variant not in verdict.leaders
    for pair in verdict.pairs:
        assert pair.difference >= 0
        assert pair.told_apart == (pair.low is not None and pair.low > 0)
        assert (pair.low is None) == (pair.reason is not None)
        assert pair.low is None or -1 <= pair.low <= pair.difference <= (pair.high or 0) <= 1
        assert pair.p is pair.p_adjusted is pair.p_sign_flip is pair.detectable is pair.more_seeds is None
        assert pair.n >= 3 or pair.decision is Decision.UNDECIDED
    assert set(verdict.leaders) <= {score.variant for score in verdict.variants if score.n}
    if any(pair.n for pair in verdict.pairs):
        assert f"of at most {MOST}); the intervals hold at every look." in verdict.sentence
    assert "None" not in verdict.sentence
    assert json.loads(json.dumps(verdict.to_dict()))["rounds"] == verdict.rounds


def test_only_what_may_still_be_best_gets_more_seeds() -> None:
    scores = drawn((0, 1, 6, 12))
    steps = [stand(scores, rounds) for rounds in range(21)]
    seeds = {v: sum(v in step.active for step in steps) for v in scores}
    assert steps[2] == Standing(("a", "b", "c", "d"), None, {})
    assert seeds["d"] <= seeds["c"] <= 10 < seeds["b"] == seeds["a"]
    verdict = judged(scores, 20)
    assert {score.variant: score.n for score in verdict.variants} == seeds
    assert steps[-1].dropped["d"].startswith(f"worse than a after {seeds['d']} seeds (")
    assert " points, 95 % interval " in steps[-1].dropped["d"]


def test_two_variants_end_when_one_is_better() -> None:
    scores = drawn((0, 4))
    ended = next(stand(scores, rounds) for rounds in range(21) if stand(scores, rounds).ended)
    assert ended.ended is not None
    assert ended.ended.startswith("decided after ")
    assert "a is the best" in ended.ended
    assert ended.active == ()
    assert judged(scores, 20).leaders == ("a",)
    assert judged(scores, 20).rounds == judged(scores, 12).rounds  # what came after the end takes no part


def test_two_variants_end_when_they_are_equivalent() -> None:
    scores = drawn((0, 0))
    found = stand(scores, 20, margin=0.012)
    assert found.ended is not None
    assert found.ended.endswith("a and b are equivalent, with differences below the margin of 1.20 points")
    verdict = judged(scores, 20, margin=0.012)
    assert verdict.pairs[0].decision is Decision.EQUIVALENT
    assert (verdict.rounds or 20) < 20
    assert " is equivalent to " in verdict.sentence


def test_max_seeds_ends_it_and_says_what_is_open() -> None:
    found = stand(drawn((0, 0)), 20)
    assert found == Standing((), "max_seeds (20) is spent; not told apart: a and b", {})
    sentence = judged(drawn((0, 0)), 20).sentence.removesuffix(SCOPE).strip()
    assert "are not told apart (" in sentence
    assert "more seeds" not in sentence  # a number that is planned afterwards is no part of the design
    assert sentence.endswith(
        "Looked at after every round of one seed a variant (20 rounds, of at most 20); "
        "the intervals hold at every look."
    )


def test_with_a_baseline_only_the_pairs_with_it_count() -> None:
    scores = drawn((0, 0, 5, 10))
    found = stand(scores, 20, baseline="c")
    assert found.ended is not None
    assert found.ended.endswith("every variant is decided against the baseline c")
    assert found.dropped.keys() == {"a", "b", "d"}
    assert found.dropped["a"].startswith("better than the baseline c after ")
    assert found.dropped["d"].startswith("worse than the baseline c after ")
    verdict = judged(scores, 20, baseline="c")
    assert all("c" in (pair.a, pair.b) for pair in verdict.pairs)
    assert verdict.leaders in (("a", "b"), ("b", "a"))
    assert verdict.sentence.startswith("Better than the baseline c: ")


def test_a_variant_that_is_worse_than_another_one_than_the_best_is_named() -> None:
    scores = drawn((0, 0.5, 6), seed=2)
    verdict = judged(scores, 20)
    loser = next(pair for pair in verdict.pairs if pair.told_apart and pair.b == "c")
    assert verdict.variants[-1].variant == "c"
    assert f"than {loser.a} by" in verdict.sentence or "better than c by" in verdict.sentence


def test_a_pair_counts_the_seeds_that_both_have() -> None:
    scores = drawn((0, 4))
    del scores["a"][2], scores["b"][4]
    found = judged(scores, 7)
    [pair] = found.pairs
    common = [scores["a"][s] - scores["b"][s] for s in range(found.rounds or 0) if s not in (2, 4)]
    assert (pair.n, pair.difference) == (len(common), pytest.approx(np.mean(common)))


def test_a_variant_that_fails_three_times_in_a_row_gets_no_more_seeds() -> None:
    scores = drawn((0, 0, 0))
    scores["b"] = {}
    scores["c"] = {0: 0.9}
    steps = [stand(scores, rounds) for rounds in range(6)]
    assert steps[3].dropped == {"b": "no score in any round"}
    assert steps[4].dropped == {"b": "no score in any round", "c": "no score in the last 3 rounds"}
    assert steps[4].ended == "no two variants are left that have scores in the last 3 rounds"
    without = stand(scores, 3, baseline="b")
    assert without.ended == "the baseline b has no score in 3 rounds in a row, so that nothing can be compared with it"
    assert stand({"a": scores["a"]}, 3).ended == "there is only one variant, so that nothing is compared"
    assert judged({"a": {}, "b": {}}, 3).sentence == "No seed is complete, so there is nothing to compare."
    assert "it has no seed in common with another" in judged({"a": {0: 0.9}, "b": {1: 0.9}}, 2).sentence


def dying(stream: np.random.Generator) -> Scores:
    """Two to five variants far apart, near or equal, some of whose trials fail from a round on or now and then."""
    gaps = stream.choice([0, 0, 1, 4, 9], stream.integers(2, 6)).astype(float)
    scores = drawn(tuple(gaps), MOST, seed=int(stream.integers(1 << 31)))
    for variant, seeds in scores.items():
        last = stream.choice([0, 2, 4, 5, 6, MOST, MOST, MOST])
        scores[variant] = {s: x for s, x in seeds.items() if s < last and stream.random() > 0.05}
    return scores


def named(words: str, variants: Iterable[str]) -> set[str]:
    """Those of ``variants`` that ``words`` name."""
    return {v for v in variants if re.search(rf"\b{v}\b(?! points)", words)}


def test_why_it_ended_is_true_of_variants_that_failed_too() -> None:
    """Each part of the sentence says of exactly the variants that it names what became of them; all parts occur."""
    stream, seen = np.random.default_rng(0), set[str]()
    for number in range(400):
        scores, margin = dying(stream), [None, 0.04][number % 2]
        baseline = "b" if number % 3 == 0 else None
        found = stand(scores, MOST, MOST, margin=margin, baseline=baseline, confidence=0.8)
        verdict = judged(scores, MOST, MOST, margin=margin, baseline=baseline, confidence=0.8)
        assert found.ended is not None
        said, others = found.ended, set(scores) - {baseline}
        failed = {v for v, why in found.dropped.items() if why.startswith("no score")}
        settled = {v for v, why in found.dropped.items() if not why.startswith("no score")}
        never = {v for v in scores if not scores[v]}
        if said.startswith("no two variants are left"):
            seen.add("no two")
            assert len(others - failed) + (baseline is not None) < 2
            continue
        if said.startswith("the baseline "):
            seen.add("baseline alone")
            assert baseline in failed
            assert not settled
            continue
        for part in said.partition(": ")[2].split("; ") if said.startswith("decided") else said.split("; ")[2:]:
            who = named(part, scores) - ({baseline} if "against the baseline" in part else set())
            if " no score in any round" in part:
                seen.add("never")
                assert who == never & failed
            elif part.startswith("the baseline has no score"):
                seen.add("baseline")
                assert baseline in failed
                assert who == others - settled
            elif " no score in the last 3 rounds" in part:
                seen.add("lost")
                assert who == failed - never
            elif part.startswith("every variant is decided against"):
                seen.add("all against")
                assert settled == others
            elif " decided against the baseline" in part:
                seen.add("some against")
                assert who == settled < others
            elif part.startswith("every other variant is worse") or part.startswith("every variant is worse"):
                seen.add("others")
                assert settled | set(verdict.leaders) == set(scores)
                assert not failed
            elif " worse than another one" in part:
                seen.add("some worse")
                assert who == settled
                assert failed
            elif part.endswith(" is the best"):
                seen.add("best")
                assert set(scores) - settled == who
            elif part.endswith(" is the only variant left"):
                seen.add("only")
                assert set(scores) - settled - failed == who
            elif part == "no variant is left":
                seen.add("none")
                assert settled | failed == set(scores)
            else:
                seen.add("equivalent")
                assert " are equivalent, with differences below the margin" in part
                left = set(scores) - settled - failed
                assert who == left
                decisions = {verdict.pair(*two).decision for two in combinations(sorted(left), 2)}  # type: ignore[union-attr]
                assert decisions == {Decision.EQUIVALENT}
    assert seen == {
        "all against", "baseline", "baseline alone", "best", "equivalent", "lost", "never", "no two", "none", "only",
        "others", "some against", "some worse",
    }  # fmt: skip


def test_what_failed_is_said_in_whole_sentences() -> None:
    scores = drawn((0, 0, 9, 9))
    scores["d"] = {0: 0.9}
    ended = stand(scores, 20, baseline="c").ended
    assert ended is not None
    assert ended.endswith("a and b are decided against the baseline c; d has no score in the last 3 rounds")
    scores["d"] = {}
    assert (stand(scores, 20, margin=0.012).ended or "").endswith(
        "a and b are equivalent, with differences below the margin of 1.20 points; c is worse than another one; "
        "d has no score in any round"
    )
    assert stand(drawn((0, 0)) | {"c": {}}, 20).ended == (
        "max_seeds (20) is spent; not told apart: a and b; c has no score in any round"
    )


def test_what_follows_from_two_pairs_is_said_of_the_third() -> None:
    stream = np.random.default_rng(1)
    spreads = {"a": (0.94, 0.02), "b": (0.9, 0.001), "c": (0.87, 0.001)}  # c is soon behind b; a takes longer
    scores = {v: dict(enumerate((m + sd * stream.standard_normal(20)).tolist())) for v, (m, sd) in spreads.items()}
    assert stand(scores, 20).dropped["c"].startswith("worse than b ")
    verdict = judged(scores, 20)
    first, second, third = verdict.pairs
    assert [(pair.a, pair.b, str(pair.decision)) for pair in (first, second, third)] == [
        ("a", "b", "better"),
        ("a", "c", "better"),
        ("b", "c", "better"),
    ]
    assert first.n > second.n == third.n
    assert second.low is not None
    assert 0 < second.low < 1e-300
    assert verdict.sentence.startswith("a is better than every other variant: ")


def test_images_are_those_of_the_seeds_that_both_have() -> None:
    stream = np.random.default_rng(0)
    right = {(v, s): stream.random(400) < (0.9 if v == "a" else 0.5) for v in "ab" for s in range(9)}
    scores = {v: {s: float(right[v, s].mean()) for s in range(9)} for v in "ab"}
    [pair] = judged(scores, 9, predictions=right).pairs
    assert pair.told_apart
    assert pair.holds_for_new_images
    assert pair.low_both is not None
    assert pair.low_new_images is not None
    assert pair.low_both <= pair.low_new_images


def test_a_fixed_number_of_seeds_is_judged_as_before() -> None:
    verdict = judge(drawn((0, 1)))
    assert (verdict.rounds, verdict.max_seeds, verdict.pairs[0].p is None) == (None, None, False)
    assert not {"rounds", "max_seeds"} & verdict.to_dict().keys()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"max_seeds": 2}, ["max_seeds: 2", "at least 3"]),
        ({"confidence": 1.0}, ["confidence: 1.0"]),
        ({"margin": 2.0}, ["margin: 2.0"]),
        ({"baseline": "x"}, ["baseline: x", "the variants are: a, b"]),
    ],
)
def test_wrong_arguments_are_refused_in_words(changed: dict[str, object], words: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        stand(drawn((0, 0)), 3, **changed)
    assert all(word in str(caught.value) for word in words)


def test_a_seed_has_one_round() -> None:
    with pytest.raises(RequestError, match="listed twice: 1"):
        judge(drawn((0, 0)), sequential=SequentialDesign((0, 1, 1), 20))


def test_the_settings_have_limits() -> None:
    assert VerdictSettings().until_decided is False
    with pytest.raises(ValueError, match="max_seeds: must be at least 3"):
        VerdictSettings(max_seeds=2)
    with pytest.raises(ValueError, match="max_gpu_seconds: must be greater than 0"):
        VerdictSettings(max_gpu_seconds=0.0)
