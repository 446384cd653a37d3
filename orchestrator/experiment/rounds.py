"""Rounds until the variants are decided: one more seed of each that is not, when all trials of a round have ended.

Which variants get another seed is a function of the results by seed, never of the order in which trials end.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.records import Status, TrialResult
from orchestrator.spec import VerdictSettings
from orchestrator.spec.rounds import seeds_of_rounds
from orchestrator.text import listed

Ended = Mapping[tuple[str, int], TrialResult]  # by variant and seed
UNKNOWN = "what trials get of a GPU is not known yet"


@dataclass(frozen=True)
class Round:
    """One seed, and the variants that are trained with it."""

    seed: int
    variants: tuple[str, ...]


@dataclass
class Rounds:
    """The rounds that are known, those from the outset among them; and what has been decided, in words."""

    rounds: list[Round]
    said: list[str] = field(default_factory=list)


def plan_rounds(
    variants: Sequence[str],
    seeds: Sequence[int],
    ended: Ended,
    settings: VerdictSettings,
    begun: Mapping[int, Sequence[str]],
    gpu_seconds: float | None,
    gone: Collection[str] = (),
) -> Rounds:
    """Every round that is known once the trials in ``ended`` are; with more, none and no variant of one is missing.

    The first rounds are ``seeds``, with all ``variants``. What has ``begun``, variants by seed, stands, whatever a
    trial that had failed brings later. ``gpu_seconds``: what all trials have taken, asked for only between rounds;
    None: not known yet, so that a limit lets no further round begin. Those of ``variants`` that are ``gone`` take part
    in no round, and count among the pairs that are compared.
    """
    from orchestrator.verdict.whole_rounds import stand  # with scipy, which who only reads plans does not need

    course = Rounds([Round(seed, tuple(v for v in variants if v not in gone)) for seed in seeds])
    dropped = set(gone)
    while True:
        rounds = course.rounds
        seed = seeds_of_rounds(seeds, len(rounds) + 1)[-1]
        kept: Sequence[str] = begun.get(seed, ())
        active: Sequence[str] = ()
        end = ""
        if all((variant, one.seed) in ended for one in rounds for variant in one.variants):
            scores = {variant: _scores(variant, ended) for variant in variants}
            now = stand(scores, [one.seed for one in rounds], settings)
            for variant in (v for v in now.dropped if v not in dropped):
                course.said.append(f"{variant} gets no more seeds: {now.dropped[variant]}")
            dropped |= now.dropped.keys()
            end = now.ended or ("" if kept else _spent(settings, gpu_seconds, len(rounds)))
            active = () if end else now.active
        chosen = tuple(v for v in variants if v not in gone and (v in kept or v in active))
        if not chosen:
            if end and end != UNKNOWN:
                course.said.append(f"no further round: {end}")
            return course
        rounds.append(Round(seed, chosen))
        course.said.append(f"round {len(rounds)}: seed {seed} of {listed(chosen, len(chosen))}")


def _spent(settings: VerdictSettings, gpu_seconds: float | None, number: int) -> str:
    """Why the limit of GPU time lets no further round begin after the first ``number``; nothing if it does."""
    from orchestrator.verdict.whole_rounds import budget_spent

    if settings.max_gpu_seconds is None:
        return ""
    return UNKNOWN if gpu_seconds is None else budget_spent(settings.max_gpu_seconds, gpu_seconds, number)


def _scores(variant: str, ended: Ended) -> dict[int, float]:
    return {
        seed: result.test_accuracy
        for (label, seed), result in ended.items()
        if label == variant and result.status is Status.COMPLETE and result.test_accuracy is not None
    }
