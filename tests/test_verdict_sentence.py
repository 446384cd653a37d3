"""The verdict in words: every kind of result has a sentence that says no more than its numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.verdict import interval_in_points, judge
from orchestrator.verdict.sentence import SCOPE

Scores = dict[str, dict[int, float]]
SPREAD = (0.00011, -0.00213, 0.00187, -0.00102, 0.00117)


def around(n: int, **means: float) -> Scores:
    """``n`` seeds, at most five, of each variant; every variant spreads in its own order."""
    return {
        name: {seed: mean + SPREAD[(seed * (1 + place)) % 5] for seed in range(n)}
        for place, (name, mean) in enumerate(means.items())
    }


def said(scores: Scores, **settings: object) -> str:
    """The sentence without its last part, the scope, which every verdict on anything ends with."""
    sentence = judge(scores, **settings).sentence  # type: ignore[arg-type]
    assert sentence.endswith(SCOPE)
    return sentence.removesuffix(SCOPE).strip()


def test_two_variants_that_are_not_told_apart() -> None:
    assert said(around(5, grouped_concat=0.902, dilated_stride=0.9)) == (
        "grouped_concat and dilated_stride are not told apart (0.20 points, 95 % interval -0.09 to 0.49, n = 5); "
        "if 0.20 points is the true difference, about 24 more seeds of each would probably show it."
    )


def test_two_variants_of_which_one_is_better() -> None:
    assert said(around(5, a=0.91, b=0.9)) == ("a is better than b by 1.00 points (95 % interval 0.71 to 1.29, n = 5).")


def test_the_best_is_better_than_every_other_variant() -> None:
    sentence = said(around(5, a=0.93, b=0.91, c=0.9))
    assert sentence.startswith("a is better than every other variant: than b by 2.00 points (95 % interval ")
    assert " and than c by 3.00 points (95 % interval " in sentence


def test_the_best_is_better_than_some() -> None:
    sentence = said(around(5, a=0.9301, b=0.93, c=0.9))
    assert sentence.startswith("a is better than c by 3.01 points (")
    assert "a and b are not told apart (0.01 points, " in sentence


def test_a_margin_makes_equivalents_and_small_differences() -> None:
    assert said(around(5, a=0.9002, b=0.9), margin=0.01) == (
        "a is equivalent to b (0.02 points): the difference is shown to be below the margin of 1.00 points."
    )
    sentence = said(around(5, a=0.905, b=0.9), margin=0.01)
    assert sentence.startswith("Better, but by less than the margin of 1.00 points: a than b by 0.50 points (")


def test_a_margin_is_what_more_seeds_are_advised_for() -> None:
    sentence = said(around(5, a=0.9005, b=0.9), margin=0.0025)
    assert "; if 0.25 points is the true difference, about " in sentence
    drawn = np.random.default_rng(0).standard_normal(30)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1) * 0.001 * np.sqrt(30)  # a standard error of 0.10 points
    scores = {"a": dict(enumerate((0.9019 + drawn).tolist())), "b": dict.fromkeys(range(30), 0.9)}
    assert "n = 30); these seeds would probably have shown 0.34 points." in said(scores, margin=0.0034)


def test_a_baseline_is_what_all_are_compared_with() -> None:
    sentence = said(around(5, a=0.93, b=0.9, c=0.88, d=0.9001), baseline="b")
    assert sentence.startswith("Better than the baseline b: a by 3.00 points (")
    assert "b is better than c by 2.00 points (" in sentence
    assert "d and b are not told apart (0.01 points, " in sentence
    assert said({"a": {}, "b": {0: 0.9}, "c": {0: 0.9}}, baseline="a") == (
        "The baseline a has no complete seed, so nothing is compared with it."
    )


def test_too_few_seeds_cannot_decide() -> None:
    two = said(around(2, a=0.92, b=0.9))
    assert ". Two seeds cannot decide: at least three are needed; if 1.80 points is the true difference, about " in two
    assert two.endswith(" of each would probably show it.")
    assert said(around(1, a=0.92, b=0.9)) == (
        "a and b are not told apart (2.00 points, n = 1). One seed cannot decide: at least three are needed."
    )


def test_where_the_nearest_pair_is_hopeless_another_one_is_advised() -> None:
    sentence = said({"a": {0: 0.9, 1: 0.9103}, "b": {0: 0.91, 1: 0.9001}, "c": {0: 0.7, 1: 0.71}})
    assert sentence.startswith("a is not told apart from b (0.01 points, n = 2) and c (")
    assert "interval" not in sentence  # of two seeds it says nothing
    assert "even 1,000 more seeds of each would probably not show 0.01 points; " in sentence
    assert "; if 20.02 points between a and c is the true difference, about " in sentence
    assert sentence.endswith(" more seeds of each would probably show it.")


def test_other_seeds_are_counted_for_both() -> None:
    scores = {"a": around(5, a=0.93)["a"], "b": around(3, b=0.9)["b"]}
    assert "n = 5 and 3" in said(scores)


def test_no_spread_is_luck_and_not_certainty() -> None:
    sentence = said({"a": dict.fromkeys(range(3), 0.9), "b": dict.fromkeys(range(3), 0.8)})
    assert "a and b are not told apart (10.00 points, n = 3). Without any spread between seeds nothing" in sentence


def test_one_variant_and_variants_without_a_seed() -> None:
    alone = said({**around(5, a=0.9), "b": {}, "c": {}})
    assert alone.startswith(
        "a has 90.00 ± 0.16 % test accuracy over n = 5 (95 % interval of the mean 89.80 to 90.20 %)"
    )
    assert alone.endswith("; no other variant has a complete seed (b and c).")
    assert judge({"a": {}}).sentence == "No seed is complete, so there is nothing to compare."


def test_of_many_variants_four_are_named() -> None:
    sentence = said(around(5, **{f"v{i}": 0.9 + i / 1e6 for i in range(9)}))
    assert sentence.count(" points, 95 % interval") == 4
    assert " and 4 more" in sentence


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-0.004, 0.008, "-0.40 to 0.80"), (-1e-9, 0.01, "0.00 to 1.00"), (1e-300, 0.01, "above 0.00 to 1.00")],
)
def test_intervals_are_in_points(low: float, high: float, words: str) -> None:
    assert interval_in_points(low, high) == words
    assert interval_in_points(None, None) == "unknown"


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=7),
    st.sampled_from([None, 0.002, 0.1]),
    st.booleans(),
    st.integers(0, 100),
)
@settings(deadline=None, max_examples=60)
def test_every_verdict_has_a_sentence(counts: list[int], margin: float | None, held: bool, seed: int) -> None:
    stream = np.random.default_rng(seed)
    scores = {f"v{i}": {s: float(stream.normal(0.9, 0.01)) for s in range(n)} for i, n in enumerate(counts)}
    sentence = judge(scores, margin=margin, baseline="v0" if held else None).sentence
    assert sentence.endswith(".")
    assert "  " not in sentence
    assert ".." not in sentence
    assert "None" not in sentence
    assert "-0.00" not in sentence


def test_the_number_of_seeds_is_for_the_difference_that_is_named() -> None:
    """With a margin seeds are planned for at least that much."""
    scores = {
        "a": dict(enumerate((0.9000, 0.9010, 0.8990, 0.9005, 0.8995))),
        "unstable": dict(enumerate((0.99, 0.60, 0.99, 0.99, 0.929))),
        "c": dict(enumerate((0.8970, 0.9029, 0.8952, 0.9018, 0.8987))),
    }
    more = judge(scores, margin=0.003).pair("a", "c")
    assert more is not None
    assert more.more_seeds
    assert f"if 0.30 points between a and c is the true difference, about {more.more_seeds} more seeds" in said(
        scores, margin=0.003
    )
    assert "if 0.09 points between a and c is the true difference, about" in said(scores)


def test_a_pair_without_spread_does_not_speak_for_the_others() -> None:
    scores = {
        "a": dict.fromkeys(range(5), 1.0),
        "b": dict.fromkeys(range(5), 1.0),
        "c": dict(enumerate((0.9972, 1.0, 0.9944, 1.0, 0.9972))),
    }
    sentence = said(scores)
    assert "if 0.22 points is the true difference, about" in sentence
    assert sentence.endswith(
        "Without any spread between seeds of a and b nothing is known about chance: more seeds may show some."
    )
