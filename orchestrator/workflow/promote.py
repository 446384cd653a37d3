"""Register an experiment's best network, as champion only if it is shown to be better than the one before it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.records import TrialRow
from orchestrator.selection import chosen_trials, measured_trials, representative
from orchestrator.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    Origin,
    Registered,
    Source,
    find_holder,
    find_origin,
    find_source,
    make_model,
    register,
)
from orchestrator.tracking.trial_rows import read_trials
from orchestrator.tracking.turn import take_turn
from orchestrator.verdict import Decision, Pair, SequentialDesign, interval_in_points, judge
from orchestrator.workflow.results import Results

LEAST_CONFIDENCE = 0.95
FIRST, NOT_COMPARABLE, UNCHANGED = "first", "not comparable", "unchanged"  # decisions without a test
OPPOSITE = {Decision.BETTER: "worse", Decision.SLIGHTLY_BETTER: "worse by less than the margin"}
TITLE_HOLDER = "/champion"  # among the variants of the newcomer's launch, none of which can be named so

Scores = Mapping[str, Mapping[int, float]]  # test accuracy (fraction) by variant and seed


@dataclass(frozen=True)
class Evidence:
    """What is known of the newcomer against the champion; differences and bounds are fractions, newcomer's first."""

    decision: str  # of the verdict, or worse, first, not comparable, unchanged
    reason: str  # in words
    compared_with: str | None = None  # the champion's version
    n: int | None = None  # pairs of seeds, or the smaller number of seeds
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_adjusted: float | None = None
    confidence: float | None = None  # of the interval and the decision
    margin: float | None = None

    @property
    def enough(self) -> bool:
        """Whether it makes the newcomer champion."""
        return self.decision in (Decision.BETTER, FIRST)


@dataclass(frozen=True)
class Registration:
    """The version that was registered, its alias, and why it has that one."""

    registered: Registered
    evidence: Evidence
    forced: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self.registered), **asdict(self.evidence), "forced": self.forced}


def register_best(
    client: Any,
    result: Results,
    model: str,
    *,
    force: bool = False,
) -> Registration:
    """Register the best variant's network of ``result`` as a version of ``model``.

    It becomes champion if there is none, if it is better than the champion on the same test split, or by ``force``;
    otherwise challenger. The champion itself, registered again, changes nothing. The evidence is judged with the margin
    of the newcomer's experiment file, and with its confidence if that is above 0.95: whoever wants to become champion
    cannot ask for less. Raises RequestError, before anything is registered, if there is no network.
    """
    best = _best_trial(result)
    source = find_source(client, best)
    while True:
        champion = find_holder(client, model, CHAMPION)
        if champion is not None and champion.run_id == best.run_id:
            return Registration(champion, Evidence(UNCHANGED, "it is the champion already"))
        planned = result.judging.verdict
        evidence = _compare(client, result, best, champion, planned.margin, max(planned.confidence, LEAST_CONFIDENCE))
        make_model(client, model)
        with take_turn(client, model) as turn:
            if find_holder(client, model, CHAMPION) == champion:  # else another process was faster: compare with it
                return _register(client, turn, result, best, source, evidence, force)


def _register(
    client: Any, turn: Any, result: Results, best: TrialRow, source: Source, evidence: Evidence, force: bool
) -> Registration:
    forced = force and not evidence.enough
    tags = {
        "experiment": result.experiment,
        "launch": result.launch,
        "evidence": result.comparison.evidence,
        "forced": str(forced).lower(),
        **{name: _tag(value) for name, value in asdict(evidence).items()},
    }
    alias = CHAMPION if evidence.enough or forced else CHALLENGER
    registered = register(client, turn, best, source, alias, result.comparison.sentence, tags)
    return Registration(registered, evidence, forced)


def _tag(value: str | float | None) -> str | None:
    return f"{value:.6g}" if isinstance(value, float) else None if value is None else str(value)


def _best_trial(result: Results) -> TrialRow:
    """The trial that represents the variant of the best mean test accuracy; which one, validation accuracy decides."""
    mine = chosen_trials(result.rows)
    for row in result.comparison.rows:
        if (found := representative(mine[row.variant])) is not None:
            return found
    raise RequestError(f"nothing to register: no trial of {result.experiment} is complete")


def _compare(
    client: Any, result: Results, best: TrialRow, champion: Registered | None, margin: float | None, confidence: float
) -> Evidence:
    """Everything that is read from MLflow about the two, weighed."""
    if champion is None:
        return Evidence(FIRST, "the model has no champion yet, so no evidence is needed")
    newcomer, holder = find_origin(client, best.run_id), find_origin(client, champion.run_id)
    scores = {variant: _by_seed(trials) for variant, trials in chosen_trials(result.rows).items()}
    if newcomer and holder and newcomer.parent_run_id == holder.parent_run_id and result.comparison.rounds is not None:
        return _weigh_rounds(result, scores, newcomer, champion.version, holder, confidence)
    held = {} if holder is None else _by_seed(_like(read_trials(client, holder.parent_run_id), holder.run_id))
    return weigh(scores, newcomer, champion.version, holder, held, margin, confidence)


def weigh(
    scores: Scores,
    newcomer: Origin | None,
    version: str,
    holder: Origin | None,
    held: Mapping[int, float],
    margin: float | None = None,
    confidence: float = 0.95,
) -> Evidence:
    """The evidence for ``newcomer`` against the champion, ``version``, that comes from ``holder``.

    ``scores``: of every variant of the newcomer's launch. All are compared with the champion, and the tests adjusted
    together, because the newcomer is the best of them. ``held``: by seed, the champion's variant in its own launch.
    """
    why = _not_comparable(newcomer, holder, held)
    if why is not None or newcomer is None or holder is None:
        return Evidence(NOT_COMPARABLE, f"it cannot be compared with the champion, version {version}: {why}", version)
    others = {
        variant: seeds
        for variant, seeds in scores.items()
        if not (variant == holder.variant and newcomer.parent_run_id == holder.parent_run_id)
    }
    found = judge({TITLE_HOLDER: held, **others}, baseline=TITLE_HOLDER, margin=margin, confidence=confidence)
    pair = found.pair(newcomer.variant, TITLE_HOLDER)
    if pair is None:
        why = f"{newcomer.variant} has no test accuracy"
        return Evidence(NOT_COMPARABLE, f"it cannot be compared with the champion, version {version}: {why}", version)
    return replace(
        _evidence(pair, newcomer.variant, version, holder.variant, confidence), confidence=confidence, margin=margin
    )


def _weigh_rounds(
    result: Results, scores: Scores, newcomer: Origin, version: str, holder: Origin, confidence: float
) -> Evidence:
    """The evidence for ``newcomer`` against a champion of the same launch, which trains in rounds: its own verdict.

    After every round somebody has looked, so a test for a fixed number of seeds would be wrong more often than it says.
    """
    verdict, rounds = result.comparison.verdict, result.comparison.rounds
    assert rounds is not None
    if verdict.confidence < confidence:  # whoever wants to become champion cannot ask for less
        design = SequentialDesign(rounds.seeds, rounds.max_seeds)
        baseline, margin = verdict.baseline, verdict.margin
        verdict = judge(scores, baseline=baseline, margin=margin, confidence=confidence, sequential=design)
    pair = None if newcomer.variant == holder.variant else verdict.pair(newcomer.variant, holder.variant)
    if pair is None:
        only = f"its rounds compare with the baseline {verdict.baseline} only"
        same = _not_comparable(newcomer, holder, scores.get(holder.variant, {}))
        why = f"it cannot be compared with the champion, version {version}: {same or only}"
        return Evidence(NOT_COMPARABLE, why, version)
    found = _evidence(pair, newcomer.variant, version, holder.variant, verdict.confidence)
    return replace(found, confidence=verdict.confidence, margin=verdict.margin)


def _not_comparable(newcomer: Origin | None, holder: Origin | None, held: Mapping[int, float]) -> str | None:
    """Why the two have no test accuracies of the same kind, or None."""
    if newcomer is None:
        return "the newcomer's run is not in this store"
    if holder is None:
        return "its run is not in this store, or not of a launch"
    if not newcomer.dataset_digest or not holder.dataset_digest:
        return "the digest of the data is not recorded"
    if newcomer.dataset_digest != holder.dataset_digest:
        return "it was measured on other data"
    if newcomer.protocol != holder.protocol:
        return f"it was trained by the {holder.protocol} protocol, the newcomer by the {newcomer.protocol} protocol"
    if (newcomer.variant, newcomer.parent_run_id) == (holder.variant, holder.parent_run_id):
        return "it is another seed or sample of the same variant in the same launch"
    return None if held else "its launch has no test accuracy of its variant"


def _evidence(pair: Pair, newcomer: str, version: str, variant: str, confidence: float) -> Evidence:
    """The pair as the newcomer sees it."""
    ahead = pair.a == newcomer
    decision = str(pair.decision) if ahead else OPPOSITE.get(pair.decision, str(pair.decision))
    difference = pair.difference if ahead else -pair.difference
    low, high = pair.low, pair.high
    if not ahead:
        low, high = None if high is None else -high, None if low is None else -low
    bounds = "" if low is None else f", {100 * confidence:g} % interval {interval_in_points(low, high)}"
    chance = "" if pair.p_adjusted is None else f", adjusted p = {pair.p_adjusted:.2g}"
    reason = "" if pair.reason is None else f"; {pair.reason}"
    words = (
        f"{newcomer} against the champion, version {version} ({variant}): {decision}; {100 * difference:+.2f} points"
        f"{bounds}{chance}, n = {pair.n}{reason}"
    )
    return Evidence(decision, words, version, pair.n, difference, low, high, pair.p_adjusted)


def _like(trials: list[TrialRow], run_id: str) -> list[TrialRow]:
    """The trials of the same variant, sample and stage as the run's."""
    mine = [trial for trial in trials if trial.run_id == run_id]
    return [t for t in trials for m in mine if (t.variant, t.sample, t.stage) == (m.variant, m.sample, m.stage)]


def _by_seed(trials: list[TrialRow]) -> dict[int, float]:
    return {t.seed: t.test_accuracy for t in measured_trials(trials) if t.test_accuracy is not None}
