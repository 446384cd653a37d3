"""What a launch in rounds decided on the way: who got another seed, who did not and why, and why it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.records import Status, TrialRow
from orchestrator.selection import chosen_trials, measured_trials, unconfirmed
from orchestrator.spec import VerdictSettings, variant_label
from orchestrator.text import listed
from orchestrator.verdict.whole_rounds import budget_spent, stand, whole_rounds

if TYPE_CHECKING:
    from orchestrator.reporting.tables import Cell, Table

CAPTION = (
    "A round is one seed of every variant that is not decided yet. Decisions are made when all trials of a round have "
    "ended."
)


@dataclass(frozen=True)
class Round:
    """One round whose trials have all ended."""

    seed: int
    variants: tuple[str, ...]  # that took part
    dropped: Mapping[str, str] = field(default_factory=dict)  # variants that got no more seeds after it, and why


@dataclass(frozen=True)
class Rounds:
    """The whole rounds of a launch, in order, and how it goes on or why it has ended."""

    rounds: tuple[Round, ...]
    max_seeds: int
    ended: str | None  # why; None: it goes on
    not_confirmed: tuple[str, ...] = ()  # variants that took part in none: every trial of their search failed
    next: tuple[str, ...] = ()  # variants that get another seed

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the rounds, in order."""
        return tuple(one.seed for one in self.rounds)

    def taking_part(self, trials: Mapping[str, Sequence[TrialRow]]) -> dict[str, list[TrialRow]]:
        """Of ``trials`` by variant, those that the verdict is about, and those that have not ended.

        What has ended counts if its variant took part in the round of its seed, and this round has ended as a whole.
        """
        return {v: [t for t in mine if not _has_ended(t) or t.seed in self._of(v)] for v, mine in trials.items()}

    def left_out(self, trials: Mapping[str, Sequence[TrialRow]]) -> str:
        """Which complete ones of ``trials`` by variant take no part, or not yet, if any."""
        beyond = {v: sum(t.seed not in self._of(v) for t in measured_trials(mine)) for v, mine in trials.items()}
        early = {v: beyond[v] for v in beyond if beyond[v] and self.ended is None and v in self.next}
        late = {v: beyond[v] for v in beyond if beyond[v] and v not in early}
        parts = []
        for counts, where, yet in ((late, "beyond the rounds", ""), (early, "of rounds that have not ended", " yet")):
            if counts:
                one = sum(counts.values()) == 1
                said = f"{sum(counts.values())} {'trial' if one else 'trials'} of {listed(list(counts))}"
                parts.append(f"{said} {'is' if one else 'are'} {where} and {'takes' if one else 'take'} no part{yet}.")
        return " ".join(parts)

    def _of(self, variant: str) -> set[int]:
        """The seeds of the rounds in which ``variant`` took part."""
        return {one.seed for one in self.rounds if variant in one.variants}

    @property
    def sentence(self) -> str:
        """Why no further round follows, or of which variants."""
        said = f"Another round follows, of {listed(self.next)}." if self.next else ""
        if self.ended is not None:
            said = f"No further round: {self.ended}."
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        rounds = [{**asdict(one), "variants": list(one.variants)} for one in self.rounds]
        absent = {"not_confirmed": list(self.not_confirmed)} if self.not_confirmed else {}
        found = {"rounds": rounds, "max_seeds": self.max_seeds, "ended": self.ended, "next": list(self.next)}
        return {**found, **absent}


def launch_rounds(
    trials: Sequence[TrialRow], settings: VerdictSettings, gpu_seconds: float | None = None
) -> Rounds | None:
    """The rounds of a launch, from its ``trials`` in the order of the plan and its own ``settings``.

    ``gpu_seconds``: that all trials have taken; None: unknown. None if it does not train in rounds.
    """
    chosen = with_baseline(chosen_trials(trials), settings)
    if not settings.until_decided or not any(chosen.values()):
        return None
    places = {trial.trial: place for place, trial in enumerate(trials)}
    compared = sorted((t for mine in chosen.values() for t in mine), key=lambda t: places[t.trial])
    scores = {v: {t.seed: t.test_accuracy or 0.0 for t in measured_trials(mine)} for v, mine in chosen.items()}
    every = list(dict.fromkeys(trial.seed for trial in compared))
    ended = {variant: {t.seed for t in mine if _has_ended(t)} for variant, mine in chosen.items()}
    absent = tuple(unconfirmed(trials))  # they count among the pairs, and take part in no round
    ended |= {variant: set(every) for variant in absent}
    seeds = whole_rounds(scores, ended, every, settings)
    rounds: list[Round] = []
    active, known = tuple(scores), dict.fromkeys(absent, "")
    for number, seed in enumerate(seeds, 1):
        now = stand(scores, seeds[:number], settings)
        new = {variant: why for variant, why in now.dropped.items() if variant not in known}
        known |= new
        rounds.append(Round(seed, tuple(v for v in active if v not in absent), new))
        active = now.active
    last = stand(scores, seeds, settings).ended if seeds else None
    if last is None and settings.max_gpu_seconds is not None and gpu_seconds is not None:
        pending = any(not _has_ended(trial) for trial in compared)
        last = None if pending else budget_spent(settings.max_gpu_seconds, gpu_seconds, len(seeds)) or None
    more = () if last else tuple(v for v in active if v not in absent)
    return Rounds(tuple(rounds), settings.max_seeds, last, not_confirmed=absent, next=more)


def with_baseline(chosen: Mapping[str, list[TrialRow]], settings: VerdictSettings) -> dict[str, list[TrialRow]]:
    """The compared trials by variant, with the baseline of ``settings`` among them, none of whose may have begun."""
    found = dict(chosen)
    if settings.baseline is not None and found:
        found.setdefault(variant_label(settings.baseline), [])
    return found


def rounds_table(rounds: Rounds) -> "Table":
    """For the page: one row per round."""
    from orchestrator.reporting.tables import Table  # torch comes with it: who only reads results does not need it

    rows: list[list[Cell]] = [
        [
            number,
            one.seed,
            ", ".join(one.variants),
            "; ".join(f"{variant}: {why}" for variant, why in one.dropped.items()) or None,
        ]
        for number, one in enumerate(rounds.rounds, 1)
    ]
    return Table("rounds", "Rounds", ("round", "seed", "variants", "no more seeds"), rows)


def terminal_rounds(rounds: Rounds) -> str:
    """For a terminal: a line for each variant that got no more seeds."""
    return "\n".join(
        f"after round {number} (seed {one.seed}), {variant} gets no more seeds: {why}"
        for number, one in enumerate(rounds.rounds, 1)
        for variant, why in one.dropped.items()
    )


def _has_ended(trial: TrialRow) -> bool:
    """Whether nothing more comes of it: a trial of a round is never stopped early, and is evaluated when complete."""
    return trial.status == Status.FAILED or (trial.status == Status.COMPLETE and trial.test_accuracy is not None)
