"""A pair's decision as one of its variants sees it: a word, a symbol, and points with their sign."""

from dataclasses import dataclass

from orchestrator.verdict.result import Decision, Pair, Verdict

SYMBOLS = {Decision.BETTER: "▲", Decision.SLIGHTLY_BETTER: "△", Decision.EQUIVALENT: "≈", Decision.UNDECIDED: "?"}
SHORT = {  # of a figure
    Decision.BETTER: "better",
    Decision.SLIGHTLY_BETTER: "slightly better",
    Decision.EQUIVALENT: "equivalent",
    Decision.UNDECIDED: "undecided",
}
WORSE = {"▲": "▼", "△": "▽"}


@dataclass(frozen=True)
class Seen:
    """What ``pair`` says of ``variant`` against the other one; differences and bounds are fractions."""

    pair: Pair
    variant: str
    other: str
    difference: float
    low: float | None
    high: float | None
    beats: float | None  # probability that one run of ``variant`` beats one of ``other``
    symbol: str
    word: str  # short
    words: str  # the decision as the verdict names it

    @property
    def points(self) -> str:
        """The difference with its sign, in percentage points."""
        return signed(self.difference)


def seen(pair: Pair, variant: str) -> Seen:
    """The pair as ``variant``, one of the two, sees it: what is better for one is worse for the other."""
    symbol, word, words = SYMBOLS[pair.decision], SHORT[pair.decision], str(pair.decision)
    if variant == pair.a:
        return Seen(pair, pair.a, pair.b, pair.difference, pair.low, pair.high, pair.p_a_beats_b, symbol, word, words)
    low, high, beats = pair.low, pair.high, pair.p_a_beats_b
    return Seen(
        pair,
        pair.b,
        pair.a,
        -pair.difference,
        None if high is None else -high,
        None if low is None else -low,
        None if beats is None else 1 - beats,
        WORSE.get(symbol, symbol),
        word.replace("better", "worse"),
        words.replace("better", "worse"),
    )


def against(verdict: Verdict, reference: str) -> dict[str, Seen]:
    """By variant, how each other one stands against ``reference``, as far as the verdict compares the two."""
    pairs = [pair for pair in verdict.pairs if reference in (pair.a, pair.b)]
    return {other: seen(pair, other) for pair in pairs for other in (pair.b if pair.a == reference else pair.a,)}


def signed(fraction: float) -> str:
    """``0.0045`` as ``+0.45``, in percentage points; what rounds to nothing has no sign."""
    text = f"{100 * fraction:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")
