"""TPE: the same suggestions whatever the order in which trials end and wherever the driver is killed."""

import json
import logging
import math
import random
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.contract import ContractCheck
from orchestrator.errors import ExperimentError, VariantError
from orchestrator.experiment.distributions import admitted, draw, extremes
from orchestrator.experiment.proposals import Proposals
from orchestrator.experiment.reader import read_experiment
from orchestrator.experiment.suggestions.tpe import Observation, suggest
from orchestrator.records import Status, TrialResult
from orchestrator.spec import Distribution, TrialSpec

LR, DECAY, WIDTH = "trainer.optimizer.lr", "trainer.optimizer.weight_decay", "arguments.width"
SPACE = {
    LR: {"loguniform": [1e-4, 1]},
    DECAY: {"normal": [0.01, 0.001]},
    "trainer.epochs": {"qrandint": [2, 20, 2]},
    "trainer.augmentation": {"choice": [[], [{"HorizontalFlip": {"p": 0.5}}]]},
    "trainer.label_smoothing": {"quniform": [0, 0.3, 0.1]},
    "trainer.batch_size": {"lograndint": [8, 512]},
    "trainer.l2": {"qloguniform": [0.25, 8, 0.25]},
    WIDTH: {"uniform": [0.5, 2.0], "variants": ["stride"]},
}


def proposals(search: Mapping[str, Any], broken: Callable[..., Any] = lambda _: (), **more: Any) -> Proposals:
    tree = {"name": "x", "variants": ["stride", "grouped_concat"], "search": {"name": "tpe", **search}, **more}
    return Proposals(read_experiment(tree, "x"), "digest", broken)


def ended(spec: TrialSpec) -> TrialResult:
    """How a trial ends, by its specification alone: complete, now and then stopped early or failed."""
    chance = random.Random(spec.identity())
    accuracy = 0.9 - 0.1 * abs(math.log10(spec.trainer.optimizer.lr) + 1) + 0.02 * chance.random()
    if chance.random() < 0.1:
        return TrialResult(Status.FAILED, 1)
    if chance.random() < 0.3:
        epochs = chance.randint(1, 4)
        return TrialResult(Status.STOPPED, epochs, accuracy, curve={e: accuracy * e / 9 for e in range(1, epochs + 1)})
    return TrialResult(Status.COMPLETE, 9, accuracy, curve={e: accuracy * e / 9 for e in range(1, 10)})


def too_wide(spec: TrialSpec) -> list[ContractCheck]:
    width = spec.arguments.get("width", 0)
    return [] if width < 1.5 else [ContractCheck("max_parameters", 100, int(100 * width), False)]


def trained(found: Proposals, end: Callable[[TrialSpec], TrialResult] = ended) -> list[TrialSpec]:
    """Every trial, each ended as soon as it is known."""
    results: dict[str, TrialResult] = {}
    while new := [spec for spec in found.trials(results) if spec.name not in results]:
        results.update({spec.name: end(spec) for spec in new})
    assert not found.more
    return found.trials(results)


def shown(found: Proposals, trials: list[TrialSpec]) -> list[Any]:
    return [[(spec.name, spec.sample, spec.settings, spec.identity()) for spec in trials], found.rejected, found.notes]


@pytest.fixture(scope="module")
def undisturbed() -> Callable[[str, int], list[Any]]:
    known: dict[tuple[str, int], list[Any]] = {}

    def of(per: str, concurrency: int) -> list[Any]:
        if (per, concurrency) not in known:
            found = proposals(search(per, concurrency), too_wide, seeds=[0, 1])
            known[per, concurrency] = shown(found, trained(found))
        return known[per, concurrency]

    return of


def search(per: str, concurrency: int) -> dict[str, Any]:
    points = [{LR: 0.05, WIDTH: 1}]
    return {"space": SPACE, "per": per, "concurrency": concurrency, "samples": 12, "points": points}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.randoms(use_true_random=False), st.sampled_from(["shared", "variant"]), st.sampled_from([1, 4]), st.booleans()
)
def test_neither_order_nor_restarts_change_a_suggestion(
    undisturbed: Callable[[str, int], list[Any]],
    tmp_path_factory: pytest.TempPathFactory,
    chance: random.Random,
    per: str,
    concurrency: int,
    logged: bool,
) -> None:
    """A restart knows the results, and the log, whose last line may be cut off; or it has lost the log."""
    log = tmp_path_factory.mktemp("log") / "suggestions.jsonl"

    def start() -> Proposals:
        found = proposals(search(per, concurrency), too_wide, seeds=[0, 1])
        if logged:
            found.remember(log)
        return found

    found, results, before = start(), {}, set()
    restarts = chance.sample(range(2, 40), 2)  # after as many trials have ended
    while True:
        trials = found.trials(results)
        names = {spec.name for spec in trials}
        assert before <= names
        before = names
        waiting = [spec for spec in trials if spec.name not in results]
        if not waiting:
            break
        for spec in chance.sample(waiting, chance.randint(1, len(waiting))):
            results[spec.name] = ended(spec)
        if restarts and len(results) >= min(restarts):
            restarts.remove(min(restarts))
            if logged and log.exists():
                content = log.read_bytes()
                log.write_bytes(content[: len(content) - chance.choice([0, 1, 20])])
            found = start()
    assert shown(found, trials) == undisturbed(per, concurrency)
    assert found.rejected > 0
    if logged:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        assert {line["variant"] for line in lines} == ({None} if per == "shared" else {"stride", "grouped_concat"})


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_suggestion_waits_for_those_before_it_and_for_no_others(concurrency: int) -> None:
    found = proposals({"space": {LR: SPACE[LR]}, "concurrency": concurrency, "samples": 7}, variants=["stride"])
    first = found.trials({})
    assert len(first) == concurrency
    later = {spec.name: ended(spec) for spec in first[1:]}
    assert found.trials(later) == first
    assert found.more
    every = {spec.name: ended(spec) for spec in first}
    assert len(found.trials(every)) == min(7, 2 * concurrency)
    assert found.trials({})[:concurrency] == first


def test_a_suggestion_does_not_see_the_results_of_those_that_may_still_train() -> None:
    """Suggestions 10 to 12 train with 13: however they end, it is the same; suggestion 9 is seen."""

    def thirteenth(odd: int) -> Any:
        found = proposals({"space": {LR: SPACE[LR]}, "samples": 14}, variants=["stride"])

        def end(spec: TrialSpec) -> TrialResult:
            return TrialResult(Status.COMPLETE, 1, 0.99 if spec.sample == odd else spec.trainer.optimizer.lr / 2)

        return trained(found, end)[13].settings

    assert thirteenth(10) == thirteenth(11) == thirteenth(12) == thirteenth(13)
    assert thirteenth(9) != thirteenth(10)


def test_what_the_log_holds_stands(tmp_path: Path) -> None:
    """Another version of Optuna may suggest something else; what has begun to train stays."""
    log = tmp_path / "suggestions.jsonl"
    lines = [
        {"variant": None, "n": 0, "settings": {LR: 0.125}, "rejected": [{LR: 0.5}]},
        {"variant": None, "n": 1, "settings": {LR: 0.25}, "rejected": []},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"variant": null, "n": 2, "sett')
    found = proposals({"space": {LR: SPACE[LR]}, "samples": 5}, variants=["stride"])
    unlogged = found.trials({})
    found.remember(log)
    trials = found.trials({})
    assert [spec.settings[LR] for spec in trials[:2]] == [0.125, 0.25]
    assert [spec.settings for spec in trials[2:]] == [spec.settings for spec in unlogged[2:]]
    assert found.rejected == 1
    assert len(log.read_text().splitlines()) == 5  # the last two are new
    log.write_text(json.dumps({**lines[0], "settings": {DECAY: 1.0}}) + "\n")
    with pytest.raises(ExperimentError, match="holds suggestions of another search"):
        found.remember(log)


def test_a_variant_that_cannot_have_what_was_suggested_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    log, space = tmp_path / "suggestions.jsonl", {LR: SPACE[LR], WIDTH: {"choice": [1, 2]}}
    planned: list[Proposals] = []

    def start(*variants: str, broken: Callable[..., Any] = lambda _: (), samples: int = 8) -> Proposals:
        found = proposals({"space": space, "samples": samples}, broken, variants=list(variants))
        planned.append(found)
        found.remember(log)
        return found

    def only_for(label: str) -> Callable[[TrialSpec], list[ContractCheck]]:
        return lambda spec: too_wide(spec) if spec.label == label else []

    def cannot_be_built(spec: TrialSpec) -> list[ContractCheck]:
        if len(planned) == known and spec.label == "grouped_concat" and spec.arguments["width"] == 2:
            raise VariantError("grouped_concat: no such width")
        return []

    first = trained(start("stride"))
    assert {spec.arguments["width"] for spec in first} == {1, 2}
    before, known = log.read_text(), 3  # by then the plan is made
    for broken, why in (
        (only_for("grouped_concat"), "parameters must be at most 100 and is 200"),
        (cannot_be_built, "no such width"),
    ):
        with pytest.raises(ExperimentError, match="settings drawn for grouped_concat, since other draws") as said:
            start("stride", "grouped_concat", broken=broken)
        assert "width=2" in str(said.value)
        assert why in str(said.value)
        assert "stride out" not in str(said.value)
    with pytest.raises(ExperimentError, match="settings drawn for stride"):  # the contract has become narrower
        start("stride", broken=only_for("stride"))
    assert log.read_text() == before
    fit = next(n for n, spec in enumerate(first) if spec.arguments["width"] == 2)
    fewer = trained(start("stride", "grouped_concat", broken=too_wide, samples=fit)) if fit else []
    assert {spec.arguments["width"] for spec in fewer} <= {1}, "what is no longer asked for does not matter"
    both = trained(start("stride", "grouped_concat"))
    assert [spec for spec in both if spec.label == "stride"] == first


def test_a_search_over_classes_goes_on_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "net.py").write_text(
        "from torch import nn\nclass A: ...\nclass B: ...\nclass Net(nn.Module): ...\n"
    )
    log = tmp_path / "suggestions.jsonl"

    def start(stand: str, file: str, samples: int) -> Proposals:
        monkeypatch.chdir(tmp_path / stand)
        choice = [{"class": f"{file}:A"}, {"class": f"{file}:B"}, [{"class": f"{file}:A"}, 3], None]
        space = {"arguments.block": {"choice": choice}, LR: SPACE[LR]}
        found = proposals({"space": space, "samples": samples}, variants=[f"{file}:Net"])
        found.remember(log)
        return found

    whole = trained(start(".", "nets/net.py", 12))
    assert len({json.dumps(spec.arguments) for spec in whole}) > 2, "otherwise nothing is shown"
    log.unlink()
    trained(start(".", "nets/net.py", 6))
    moved = trained(start("nets", "net.py", 12))
    assert [spec.name for spec in moved[:6]] == [spec.name for spec in whole[:6]], "names and folders stay"
    assert [spec.identity() for spec in moved] == [spec.identity() for spec in whole]
    assert moved[0].arguments == whole[0].arguments
    other = proposals({"space": {"arguments.block": {"choice": [None]}, LR: SPACE[LR]}}, variants=["net.py:Net"])
    with pytest.raises(ExperimentError, match="holds suggestions of another search"):
        other.remember(log)


def test_variants_with_suggestions_of_their_own_do_not_see_each_other() -> None:
    search = {"space": {LR: SPACE[LR]}, "per": "variant", "samples": 12}
    both, alone = proposals(search), proposals(search, variants=["grouped_concat"])
    trials = trained(both)
    assert [s for s in trials if s.label == "grouped_concat"] == trained(alone)
    assert len(trials) == 24


def test_a_shared_suggestion_is_judged_by_the_mean_over_variants_and_seeds() -> None:
    search = {"space": {LR: SPACE[LR]}, "samples": 14}

    def end(spec: TrialSpec) -> TrialResult:
        off = (0.0625 if spec.label == "stride" else -0.0625) * (1 if spec.seed else 2)
        return TrialResult(Status.COMPLETE, 1, 0.5 + off - abs(spec.trainer.optimizer.lr - 0.125))

    def mean(spec: TrialSpec) -> TrialResult:
        return TrialResult(Status.COMPLETE, 1, 0.5 - abs(spec.trainer.optimizer.lr - 0.125))

    several = trained(proposals(search, seeds=[0, 1]), end)
    one = trained(proposals(search, variants=["stride"]), mean)
    assert [s.settings for s in several if s.label == "stride" and not s.seed] == [s.settings for s in one]


@pytest.mark.parametrize("per", ["shared", "variant"])
def test_a_small_space_is_tried_to_its_end(per: str) -> None:
    width = {"choice": [1, 2], "variants": ["stride"]}
    space = {LR: {"choice": [0.1, 0.2]}, "trainer.epochs": {"randint": [1, 4]}, WIDTH: width}
    found = proposals({"space": space, "samples": 14, "per": per}, too_wide)
    trials = trained(found)
    assert sorted(s.label for s in trials) == ["grouped_concat"] * 6 + ["stride"] * 6
    assert len({s.identity() for s in trials}) == 12
    assert "search.space has only 6 settings" in found.notes[0]


def test_a_hopeless_search_is_refused_before_it_starts() -> None:
    with pytest.raises(ExperimentError, match="50 draws in a row broke the contract") as refused:
        proposals({"space": {WIDTH: {"uniform": [1.6, 2]}}}, too_wide)
    assert "parameters must be at most 100 and is 16" in str(refused.value)


def test_optuna_says_nothing_and_keeps_its_settings(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    level = logging.getLogger("optuna").level
    trained(proposals({"space": SPACE, "samples": 12}))
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)
    assert logging.getLogger("optuna").level == level


LINE = {"x": Distribution(uniform=(0, 1))}


def middle(observations: list[Observation]) -> float:
    return statistics.median(suggest(LINE, observations, seed)["x"] for seed in range(25))


def test_what_is_stopped_early_is_worse_than_what_is_complete_and_judged_by_its_budget() -> None:
    complete = [Observation({"x": 0.05 * i}, "complete", 0.5 + 0.01 * i) for i in range(5)]
    stopped = [Observation({"x": 0.7 + 0.03 * i}, "pruned", curve={1: 0.9, 2: 0.9}) for i in range(8)]
    assert middle([*complete, *stopped]) < 0.4
    shorter = [Observation({"x": i / 20}, "pruned", curve={1: 0.5, 2: 0.6}) for i in range(18)]
    longer = [Observation({"x": i / 20}, "pruned", curve={1: 0.4, 9: 0.5}) for i in (18, 19)]
    assert middle([*shorter, *longer]) > 0.7  # of stopped ones, those that came further are the better ones


def test_infeasible_and_running_suggestions_are_avoided_and_failed_ones_ignored() -> None:
    known = [Observation({"x": x}, "complete", 0.5) for x in (0.1, 0.3, 0.5, 0.7, 0.9, 0.2, 0.6, 0.8, 0.4)]
    for state in ("infeasible", "running"):
        avoided = [Observation({"x": 0.6 + 0.02 * i}, state) for i in range(20)]  # type: ignore[arg-type]
        assert middle([*known, *avoided]) < 0.5
    failed = [Observation({"x": 0.6 + 0.02 * i}, "failed") for i in range(20)]
    assert [suggest(LINE, [*known, *failed], s) for s in range(5)] == [suggest(LINE, known, s) for s in range(5)]


@pytest.mark.parametrize("concurrency", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_tpe_finds_more_than_random_draws(concurrency: int) -> None:
    """On a smooth function, in the median over 20 seeds of a search with 24 samples."""
    space = {
        LR: {"loguniform": [1e-4, 1]},
        DECAY: {"loguniform": [1e-6, 0.1]},
        "trainer.label_smoothing": {"uniform": [0, 0.4]},
    }

    def end(spec: TrialSpec) -> TrialResult:
        lr, decay = math.log10(spec.trainer.optimizer.lr), math.log10(spec.trainer.optimizer.weight_decay)
        loss = 0.1 * (lr + 1.3) ** 2 + 0.02 * (decay + 3.5) ** 2 + 2 * (spec.trainer.label_smoothing - 0.1) ** 2
        return TrialResult(Status.COMPLETE, 1, 0.9 - loss)

    def best(seed: int, **more: Any) -> float:
        found = proposals({"space": space, "samples": 24, "seed": seed, **more}, variants=["stride"])
        return max(end(spec).val_accuracy or 0 for spec in trained(found, end))

    drawn = [best(seed, name="random") for seed in range(20)]
    suggested = [best(seed, concurrency=concurrency) for seed in range(20)]
    assert 0.9 - statistics.median(suggested) < 0.7 * (0.9 - statistics.median(drawn))


@pytest.mark.parametrize(
    "kind",
    [
        {"uniform": (0.1, 0.7)},
        {"loguniform": (1e-4, 0.5)},
        {"quniform": (0.1 + 0.2, 0.7, 0.1)},
        {"qloguniform": (0.1 + 0.2, 0.7, 0.1)},
        {"randint": (1, 2)},
        {"lograndint": (1, 40)},
        {"qrandint": (3, 20, 5)},
        {"normal": (0.5, 0.1)},
        {"choice": ([1, 2], {"a": None}, True, 1, "b")},
    ],
    ids=lambda kind: next(iter(kind)),
)
def test_whatever_can_be_drawn_can_be_told_and_suggested(kind: dict[str, Any]) -> None:
    distribution, stream = Distribution(**kind), random.Random(0)
    drawn = [*extremes(distribution), *(draw(distribution, stream) for _ in range(12))]
    known = [Observation({"x": value}, "complete", stream.random()) for value in drawn]
    for seed in range(10):
        value = suggest({"x": distribution}, known[: 3 * seed], seed)["x"]
        assert (
            json.dumps(admitted(distribution, value)) == json.dumps(value) == json.dumps(json.loads(json.dumps(value)))
        )
