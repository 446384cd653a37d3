"""What follows on a search or a round is a function of results, whatever order they come in and whoever is killed."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ExperimentError, StorageError
from orchestrator.experiment.proposals import Proposals
from orchestrator.experiment.reader import read_experiment
from orchestrator.experiment.stage_log import StageLog
from orchestrator.experiment.stages import to_come
from orchestrator.records import CONFIRM, SEARCH, Status, TrialResult, TrialRow
from orchestrator.reporting.comparison.rounds import launch_rounds
from orchestrator.reporting.comparison.search import search_table, searched, terminal_search
from orchestrator.reporting.comparison.search_words import sentences
from orchestrator.reporting.comparison.variants import compare
from orchestrator.selection import chosen_trials, selected_trials
from orchestrator.spec import TrialSpec
from orchestrator.workflow.estimate import Estimate

LR = "trainer.optimizer.lr"
PLAIN: dict[str, Any] = {
    "name": "x",
    "variants": ["stride", "grouped_concat", "dilated_stride"],
    "seeds": [0, 1],
    "verdict": {"until_decided": True, "max_seeds": 8, "margin": 0.01},
}
SEARCHED: dict[str, Any] = {
    **PLAIN,
    "search": {"samples": 3, "space": {LR: {"choice": [0.01, 0.1, 0.3]}}},
    "confirm": {"seeds": [100, 101]},
}
Results = dict[str, TrialResult]
Ends = Callable[[TrialSpec], TrialResult]


def proposals(content: Mapping[str, Any], **changes: Any) -> Proposals:
    return Proposals(read_experiment({**content, **changes}, "x"))


def ends_by(seed: int, failing: float = 0.0, spread: float = 0.02) -> Ends:
    """How each trial ends, drawn from its name alone: variants differ by 0 to 6 points in the mean."""

    def end(spec: TrialSpec) -> TrialResult:
        stream = random.Random(hashlib.sha256(f"{seed} {spec.name}".encode()).digest())
        mean = 0.8 + random.Random(f"{seed} {spec.label}").choice([0.0, 0.0, 0.03, 0.06])
        accuracy = min(max(mean + stream.gauss(0, spread), 0.0), 1.0)
        if stream.random() < failing:
            return TrialResult(Status.FAILED, 1, seconds=5.0)
        measured = None if spec.stage == SEARCH else accuracy
        return TrialResult(Status.COMPLETE, 3, accuracy, measured, 10.0)

    return end


def run(found: Proposals, end: Ends, stream: random.Random, results: Results | None = None) -> Iterator[Results]:
    """End the known trials one by one in any order; after each, what has ended. Checks that nothing gets lost."""
    results = {} if results is None else results
    before: list[TrialSpec] = []
    while True:
        known = found.trials(results)
        assert [spec for spec in before if spec not in known] == []
        assert len({spec.name for spec in known}) == len(known)
        before = known
        waiting = [spec for spec in known if spec.name not in results]
        if not waiting:
            return
        spec = stream.choice(waiting)
        results[spec.name] = end(spec)
        yield results


def whole(content: Mapping[str, Any], end: Ends, order: int = 0) -> tuple[list[TrialSpec], list[str]]:
    """Every trial of an undisturbed launch, and what it said."""
    found, results = proposals(content), Results()
    for _ in run(found, end, random.Random(order), results):
        pass
    return found.trials(results), found.later.said


@given(st.integers(0, 10_000), st.sampled_from([PLAIN, SEARCHED]), st.sampled_from([0.0, 0.2]))
@settings(max_examples=25)
def test_the_order_of_arrival_decides_nothing(seed: int, content: dict[str, Any], failing: float) -> None:
    end = ends_by(seed, failing)
    trials, said = whole(content, end, 0)
    for order in (1, 2):
        assert whole(content, end, order) == (trials, said)


@given(st.integers(0, 10_000), st.sampled_from([PLAIN, SEARCHED]), st.lists(st.integers(1, 40), max_size=3))
@settings(max_examples=25)
def test_a_killed_launch_decides_as_an_undisturbed_one(
    tmp_path_factory: pytest.TempPathFactory, seed: int, content: dict[str, Any], kills: list[int]
) -> None:
    end, log = ends_by(seed), tmp_path_factory.mktemp("log") / "log.jsonl"
    results: Results = {}
    found = proposals(content)
    for kill in [*kills, 10_000]:
        found = proposals(content)
        found.later.remember(log)
        for _ in run(found, end, random.Random(kill), results):
            if not (kill := kill - 1):
                break
    assert found.trials(results) == whole(content, end)[0]


@given(st.integers(0, 10_000), st.sampled_from([PLAIN, SEARCHED]))
@settings(max_examples=25)
def test_what_failed_and_succeeds_when_it_is_tried_again_takes_nothing_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, content: dict[str, Any]
) -> None:
    log = tmp_path_factory.mktemp("log") / "log.jsonl"
    found, results = proposals(content), Results()
    found.later.remember(log)
    for _ in run(found, ends_by(seed, failing=0.3), random.Random(0), results):
        pass
    before = found.trials(results)
    chosen = {spec.label: spec.settings for spec in before if spec.stage == CONFIRM}
    results = {name: result for name, result in results.items() if result.status is not Status.FAILED}
    found = proposals(content)
    found.later.remember(log)
    known = found.trials(results)
    assert {spec.name for spec in known} >= {spec.name for spec in before}  # what has begun is known at once
    for _ in run(found, ends_by(seed), random.Random(0), results):
        pass
    after = {spec.label: spec.settings for spec in found.trials(results) if spec.stage == CONFIRM}
    assert {label: after[label] for label in chosen} == chosen


@given(st.integers(0, 10_000), st.sampled_from([PLAIN, SEARCHED]), st.sampled_from([0.0, 0.3]))
@settings(max_examples=25)
def test_the_comparison_tells_the_rounds_as_they_were(seed: int, content: dict[str, Any], failing: float) -> None:
    end, results, found = ends_by(seed, failing), Results(), proposals(content)
    for _ in run(found, end, random.Random(0), results):
        pass
    rows = rows_of(found, results)
    rounds = launch_rounds(rows, found.experiment.verdict)
    judged = [spec for spec in found.trials(results) if spec.stage != SEARCH]
    if not judged:
        assert rounds is None
        return
    assert rounds is not None
    assert rounds.ended is not None
    assert rounds.next == ()
    assert [line for line in found.later.said if line.startswith("no further round")] == [
        f"no further round: {rounds.ended}"
    ]
    assert list(rounds.seeds) == list(dict.fromkeys(spec.seed for spec in judged))
    dropped = {variant: why for one in rounds.rounds for variant, why in one.dropped.items()}
    said = [f"{variant} gets no more seeds: {why}" for variant, why in dropped.items()]
    assert sorted(said) == sorted(line for line in found.later.said if "gets no more seeds" in line)
    names = {spec.label for spec in judged}
    for one in rounds.rounds[2:]:  # beyond the listed seeds
        mine = {spec.label for spec in judged if spec.seed == one.seed}
        assert mine == set(one.variants) & names
    verdict = compare(rows, 0.8, settings=found.experiment.verdict, rounds=rounds).verdict
    assert f"No further round: {rounds.ended}." in verdict.sentence
    assert verdict.rounds is not None
    assert verdict.max_seeds == 8


@pytest.mark.parametrize("content", [PLAIN, SEARCHED])
def test_until_the_end_a_comparison_is_interim_and_says_what_follows(content: dict[str, Any]) -> None:
    found, results = proposals(content), Results()
    settings = found.experiment.verdict
    for _ in run(found, ends_by(3), random.Random(0), results):
        known = found.trials(results)
        rows = rows_of(found, results)
        rounds = launch_rounds(rows, settings)
        said = compare(rows, 0.8, settings=settings, planned=len(known), rounds=rounds).sentence
        at_the_end = all(spec.name in results for spec in known)
        assert said.startswith("Interim, not a result") is not at_the_end
        assert ("the search goes on" in said) is (not any(spec.stage != SEARCH for spec in known))
        assert ("Another round follows, of" in said) is (
            rounds is not None and rounds.ended is None and bool(rounds.next)
        )
        assert ("No further round: " in said) is at_the_end


def rows_of(found: Proposals, results: Results) -> list[TrialRow]:
    """The trials as MLflow returns them."""
    staged = found.experiment.confirm is not None
    rows = []
    for spec in found.trials(results):
        result = results.get(spec.name)
        status = "running" if result is None else str(result.status)
        accuracies = (None, None) if result is None else (result.val_accuracy, result.test_accuracy)
        rows.append(
            TrialRow(
                spec.name, spec.name, spec.label, spec.seed, status, epochs=3, seconds=result and result.seconds,
                val_accuracy=accuracies[0], test_accuracy=accuracies[1], sample=spec.sample, settings=spec.settings,
                stage=spec.stage if staged else "",
            )
        )  # fmt: skip
    return rows


def test_a_crippled_variant_is_dropped_and_the_rest_goes_on_to_the_end() -> None:
    def end(spec: TrialSpec) -> TrialResult:
        noise = random.Random(spec.name).gauss(0, 0.004)
        mean = 0.5 if spec.label == "stride" else 0.9
        return TrialResult(Status.COMPLETE, 3, 0.9, mean + noise, 10.0)

    trials, said = whole(PLAIN, end)
    counts = {label: sum(spec.label == label for spec in trials) for label in ("stride", "grouped_concat")}
    assert counts["stride"] < counts["grouped_concat"] <= 8
    [line] = [line for line in said if line.startswith("stride gets no more seeds: worse than ")]
    assert "95 % interval" in line
    assert said[-1].startswith("no further round: ")
    assert sorted({spec.seed for spec in trials}) == list(range(counts["grouped_concat"]))


def test_gpu_time_ends_the_rounds_between_two_of_them_and_is_unknown_until_trials_have_a_share() -> None:
    content = {**PLAIN, "verdict": {"until_decided": True, "max_seeds": 8, "max_gpu_seconds": 50.0}}
    end = ends_by(0, spread=0.3)
    for share, seeds in ((0.0, 8), (0.5, 4), (1.0, 2)):  # three trials of 10 seconds a round
        found, results = proposals(content), Results()
        for _ in run(found, end, random.Random(0), results):
            pass
        assert len(found.trials(results)) == 6  # nothing is known of GPUs: no further round
        assert not any(line.startswith("no further round") for line in found.later.said)
        found.later.gpus = share
        for _ in run(found, end, random.Random(0), results):
            pass
        trials = found.trials(results)
        assert len({spec.seed for spec in trials}) == seeds
        rows = rows_of(found, results)
        told = launch_rounds(rows, found.experiment.verdict, share * 10 * len(trials))
        assert told is not None
        assert told.ended is not None
        assert ("max_gpu_seconds (50 s) is spent" in told.ended) is (0 < seeds < 8)
        assert found.later.said[-1] == f"no further round: {told.ended}"


def test_the_best_settings_of_each_variant_are_trained_afresh_when_the_whole_search_has_ended() -> None:
    content = {**SEARCHED, "verdict": {}}
    found, results = proposals(content), Results()
    first = found.trials({})
    assert {spec.stage for spec in first} == {SEARCH}
    best = {"stride": 0, "grouped_concat": 2}
    for spec in first:
        assert found.trials(results) == first
        if spec.label == "dilated_stride":
            results[spec.name] = TrialResult(Status.FAILED, 1)
        else:
            accuracy = 0.9 if spec.sample == best[spec.label] else 0.8
            results[spec.name] = TrialResult(Status.COMPLETE, 3, accuracy)
    later = found.trials(results)[len(first) :]
    assert [(spec.label, spec.sample, spec.seed, spec.stage) for spec in later] == [
        (label, best[label], seed, CONFIRM) for seed in (100, 101) for label in ("stride", "grouped_concat")
    ]
    for spec in later:
        [like] = [s for s in first if (s.label, s.sample, s.seed) == (spec.label, spec.sample, 0)]
        assert (spec.trainer, spec.settings) == (like.trainer, like.settings)
        assert spec.name == like.name.replace("seed-0", f"seed-{spec.seed}")
    assert found.later.said[-1] == "dilated_stride is not confirmed: every trial of its search has failed"
    assert "stride is trained afresh with lr" in found.later.said[0]


def test_a_variant_that_is_not_confirmed_takes_part_in_no_round_and_is_named_once() -> None:
    settled = ends_by(0)

    def end(spec: TrialSpec) -> TrialResult:
        return TrialResult(Status.FAILED, 1) if spec.label == "dilated_stride" else settled(spec)

    found, results = proposals(SEARCHED), Results()
    for _ in run(found, end, random.Random(0), results):
        pass
    assert [line for line in found.later.said if "dilated_stride" in line and "no further round" not in line] == [
        "dilated_stride is not confirmed: every trial of its search has failed"
    ]
    told = launch_rounds(rows_of(found, results), found.experiment.verdict)
    assert told is not None
    assert told.not_confirmed == ("dilated_stride",)
    assert len(told.rounds) > 3
    assert all("dilated_stride" not in {*one.variants, *one.dropped} for one in told.rounds)
    assert found.later.said[-1] == f"no further round: {told.ended}"


def rows(*stages: str) -> list[TrialRow]:
    """One variant, two samples; the second is better on validation. With the confirm stage, the first was chosen."""
    made = [
        TrialRow(f"a/{s}", f"{s}", "a", 0, "complete", val_accuracy=0.5 + 0.1 * s, sample=s, stage=stages[0], epochs=3)
        for s in (0, 1)
    ]
    for seed in (100, 101) if CONFIRM in stages else ():
        made.append(
            TrialRow(
                f"a/{seed}", f"{seed}", "a", seed, "complete", val_accuracy=0.4, test_accuracy=0.45, sample=0,
                stage=CONFIRM, epochs=3,
            )
        )  # fmt: skip
    return made


def test_only_the_last_stage_is_compared_and_the_search_keeps_what_was_chosen() -> None:
    one_stage, searching, both = rows(""), rows(SEARCH), rows(SEARCH, CONFIRM)
    assert [t.sample for t in chosen_trials(one_stage)["a"]] == [1]
    assert chosen_trials(searching) == {"a": []}
    assert [t.seed for t in chosen_trials(both)["a"]] == [100, 101]
    assert [t.sample for t in selected_trials(searching)["a"]] == [1]
    assert [(t.sample, t.stage) for t in selected_trials(both)["a"]] == [(0, SEARCH)]

    comparison = compare(searching, 0.8)
    assert "Nothing is compared yet: the search goes on." in comparison.sentence
    assert comparison.measured == []
    comparison = compare(both, 0.8)
    assert "goes on" not in comparison.sentence
    assert [(row.variant, row.trials) for row in comparison.rows] == [("a", 2)]
    [found] = searched(both)
    assert (found.configurations, found.trials, found.chosen, found.confirmed) == (2, 2, 0, 2)
    said = sentences([found])
    assert "judged on these fresh seeds alone" in said
    assert "a keeps the configuration that its fresh trials began with" in said
    assert sentences(searched(searching)) == "a was given 2 trials and 6 epochs in the search."


def test_with_other_seeds_of_the_search_a_choice_is_told_before_these_have_begun() -> None:
    """The trials of the seeds that are listed no longer are left out, so that a choice may have none behind it."""
    search, fresh = rows(SEARCH, CONFIRM)[:2], rows(SEARCH, CONFIRM)[2:]
    other = [replace(row, variant="b", trial=row.trial.replace("a/", "b/")) for row in fresh]
    begun = replace(search[1], status="running", val_accuracy=None)  # of another sample than the chosen one
    for trials in ([*search, *fresh, *other], [begun, *fresh, *other], [*fresh, *other]):
        found = searched(trials)
        assert [(row.chosen, row.confirmed, row.settings) for row in found] == [(0, 2, {})] * 2
        compared = compare(trials, 0.8)
        assert compared.measured != []
        json.dumps(compared.to_dict(), allow_nan=False)
        said = sentences(found)
        assert "Each variant takes part with one " in said
        assert ("No trial that the search of b has now has begun" in said) == (trials[0].stage == SEARCH)
        assert "0 to" not in said.partition("judged")[0]
        search_table(found)
        terminal_search(found)


def test_a_search_of_which_every_trial_failed_does_not_go_on() -> None:
    failed = [TrialRow("a/0", "0", "a", 0, "failed", sample=0, stage=SEARCH)]
    assert "goes on" not in compare(failed, 0.8).sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"confirm": None}, "what was selected on is not judged on"),
        ({"search": None}, "nothing to confirm without a search"),
        ({"seeds": [100]}, "100 also of the search"),
        ({"seeds": [104]}, "would reach the search's 104"),
        ({"confirm": {"seeds": list(range(100, 109))}}, "8 is fewer than the 9 seeds of confirm.seeds"),
        ({"confirm": {"seeds": [2**31 - 3]}}, "would exceed 2147483647"),
        ({"variants": ["stride"]}, "there is only one variant"),
        ({"search": None, "confirm": None, "scheduler": {"name": "asha"}}, "every trial of a round must train to its"),
        ({"search": None, "confirm": None, "trainer": {"protocol": "published"}}, "is for replication"),
    ],
)
def test_what_cannot_be_trained_in_stages_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ExperimentError, match=words):
        proposals(SEARCHED, **changes)


def test_what_may_follow_is_said_beforehand() -> None:
    said = [(later.words, later.trials) for later in to_come(proposals(SEARCHED).experiment)]
    assert said == [
        ("then each variant's best settings with 2 seeds: 6 trials", 6),
        ("then up to 8 seeds of each variant: at most 18 more trials", 18),
    ]
    assert to_come(proposals(PLAIN, verdict={}).experiment) == []


def test_an_estimate_says_what_it_covers() -> None:
    assert "estimate: 60 s of training, one trial after another" in str(Estimate(60.0, earlier_trials=3, trials=6))
    said = str(Estimate(60.0, earlier_trials=3, trials=6, trials_to_come=24))
    assert "estimate: at most 60 s of training for 6 trials and 24 that may follow" in said
    assert "less if the launch ends before" in said


@given(st.binary(max_size=30), st.booleans())
def test_a_log_with_damage_keeps_every_whole_line(
    tmp_path_factory: pytest.TempPathFactory, damage: bytes, ended: bool
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    told: list[Path] = []
    first = StageLog()
    first.open(path, told.append)
    assert first.choose({"a": 1})
    assert not first.choose({"a": 2})
    first.begin(5, ["a", "b"])
    first.begin(5, ["a"])
    assert told == [path, path]
    kept = path.read_bytes()
    path.write_bytes(kept + damage.replace(b"{", b"") + (b"\n" if ended else b""))
    second = StageLog()
    second.open(path, told.append)
    second.begin(6, ["b"])
    third = StageLog()
    third.open(path, told.append)
    assert third.choices == {"a": 1}
    assert third.rounds == {5: ("a", "b"), 6: ("b",)}
    assert json.loads(path.read_text(errors="replace").splitlines()[-1]) == {"round": 6, "variants": ["b"]}


def test_a_choice_that_cannot_be_kept_is_not_made(tmp_path: Path) -> None:
    log = StageLog()
    log.open(tmp_path / "log", lambda _: None)
    (tmp_path / "log").mkdir()  # nothing can be appended to a folder
    for decide in (lambda: log.choose({"stride": 1}), lambda: log.begin(2, ["stride"])):
        with pytest.raises(StorageError, match=f"{tmp_path / 'log'} cannot be read or written"):
            decide()
    assert (log.choices, log.rounds) == ({}, {})
    (tmp_path / "log").rmdir()
    assert log.choose({"stride": 1})
    assert (tmp_path / "log").read_text().count("\n") == 1
