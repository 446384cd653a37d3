"""The model registry: a champion is replaced on evidence only, and what is registered is loaded by its alias."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from registering import DATA, record_launch
from test_comparison import trial

from orchestrator.data import Normalisation
from orchestrator.errors import RequestError
from orchestrator.records import TrialRow
from orchestrator.reporting.comparison.variants import compare
from orchestrator.selection import representative
from orchestrator.spec import VerdictSettings
from orchestrator.tracking.models import log_model, save_model
from orchestrator.tracking.registry import Origin
from orchestrator.tracking.store import connect
from orchestrator.workflow.comparison import Comparison
from orchestrator.workflow.promote import register_best, weigh
from orchestrator.workflow.results import Results

LOW, MIDDLE, HIGH = [0.801, 0.803, 0.802], [0.8035, 0.801, 0.8045], [0.901, 0.903, 0.9022]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def client(uri: str) -> Any:
    return connect(uri)


@pytest.fixture(scope="module")
def low(uri: str) -> Results:
    return record_launch(uri, "low", {"stride": LOW, "dilated_stride": [0.5, 0.51, 0.52]})


@pytest.fixture(scope="module")
def middle(uri: str) -> Results:
    return record_launch(uri, "middle", {"grouped_concat": MIDDLE})


@pytest.fixture(scope="module")
def high(uri: str) -> Results:
    return record_launch(uri, "high", {"grouped_concat": HIGH, "dilated_separable": LOW})


@pytest.fixture
def as_a_user(uri: str) -> Iterator[None]:
    """MLflow told once where its store is, as scripts and notebooks do."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield
    mlflow.set_tracking_uri(before)


def state(client: Any, name: str) -> dict[str, Any]:
    """Everything that the registry says of a model, but for the time of the last update."""
    model = client.get_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}'")
    return {
        "aliases": {alias: str(version) for alias, version in model.aliases.items()},
        "tags": dict(model.tags),
        "versions": {str(v.version): (v.run_id, v.description, dict(v.tags)) for v in versions},
    }


def test_the_first_network_needs_no_evidence_and_is_called_the_first(client: Any, low: Results) -> None:
    made = register_best(client, low, "first")
    assert (made.registered.alias, made.registered.version, made.registered.trial) == ("champion", "1", "stride/seed-1")
    assert made.evidence.reason == "the model has no champion yet, so no evidence is needed"
    version = client.get_model_version_by_alias("first", "champion")
    assert version.description.startswith("stride is better than dilated_stride by 29.20 points")
    assert version.tags == {
        "experiment": "low", "launch": "abc", "evidence": "decided", "trial": "stride/seed-1", "variant": "stride",
        "decision": "first", "reason": made.evidence.reason, "forced": "false",
    }  # fmt: skip
    assert state(client, "first")["tags"] == {}  # no claim is left


def test_a_better_network_becomes_champion_and_says_by_how_much(client: Any, low: Results, high: Results) -> None:
    register_best(client, low, "beaten")
    made = register_best(client, high, "beaten")
    assert (made.registered.alias, made.registered.version, made.evidence.decision) == ("champion", "2", "better")
    assert state(client, "beaten")["aliases"] == {"champion": "2"}
    tags = client.get_model_version_by_alias("beaten", "champion").tags
    assert (tags["compared_with"], tags["n"], tags["forced"]) == ("1", "3", "false")
    assert float(tags["difference"]) == pytest.approx(0.1, abs=1e-3)
    assert 0 < float(tags["low"]) < float(tags["difference"]) < float(tags["high"])
    assert float(tags["p_adjusted"]) < 0.05
    assert "grouped_concat against the champion, version 1 (stride): better; +10.0" in tags["reason"]


def test_without_evidence_the_champion_stays(client: Any, low: Results, middle: Results, high: Results) -> None:
    register_best(client, low, "kept")
    made = register_best(client, middle, "kept")
    assert (made.registered.alias, made.evidence.decision) == ("challenger", "undecided")
    assert state(client, "kept")["aliases"] == {"champion": "1", "challenger": "2"}
    register_best(client, high, "kept")
    made = register_best(client, low, "kept")  # the former champion
    assert (made.registered.alias, made.registered.version, made.evidence.decision) == ("challenger", "1", "worse")
    assert made.evidence.high < 0
    assert state(client, "kept")["aliases"] == {"champion": "3", "challenger": "1"}
    assert state(client, "kept")["versions"]["1"][2]["compared_with"] == "3"


def test_registered_again_nothing_changes(client: Any, low: Results, middle: Results) -> None:
    for newcomer, force in ((low, False), (middle, False), (low, True)):
        made = register_best(client, newcomer, "again", force=force)
        before = state(client, "again")
        assert register_best(client, newcomer, "again").registered == made.registered
        assert state(client, "again") == before
    assert made.to_dict() == {
        "model": "again", "alias": "champion", "version": "1", "trial": "stride/seed-1",
        "run_id": low.best("stride").run_id, "forced": False,
        "decision": "unchanged", "reason": "it is the champion already",
        **dict.fromkeys(("compared_with", "n", "difference", "low", "high", "p_adjusted", "confidence", "margin")),
    }  # fmt: skip


def test_force_is_recorded_where_it_decided(client: Any, low: Results, middle: Results, high: Results) -> None:
    assert not register_best(client, low, "forced", force=True).forced  # the first is champion anyway
    register_best(client, middle, "forced")
    made = register_best(client, middle, "forced", force=True)
    assert (made.registered.alias, made.forced, made.evidence.decision) == ("champion", True, "undecided")
    assert state(client, "forced")["aliases"] == {"champion": "2"}  # it is challenger no longer
    assert state(client, "forced")["versions"]["2"][2]["forced"] == "true"
    assert not register_best(client, high, "forced", force=True).forced  # it is better


def test_accuracies_of_other_data_or_another_protocol_are_not_compared(uri: str, client: Any, low: Results) -> None:
    register_best(client, low, "apart")
    other = {
        "other data": record_launch(uri, "elsewhere", {"grouped_concat": HIGH}, "e" * 64),
        "digest of the data is not recorded": record_launch(uri, "unknown", {"grouped_concat": HIGH}, ""),
        "published protocol": record_launch(uri, "leaky", {"grouped_concat": HIGH}, trainer={"protocol": "published"}),
    }
    for words, newcomer in other.items():
        made = register_best(client, newcomer, "apart")
        assert (made.registered.alias, made.evidence.decision) == ("challenger", "not comparable")
        assert words in made.evidence.reason
    assert state(client, "apart")["aliases"]["champion"] == "1"
    made = register_best(client, newcomer, "apart", force=True)
    assert (made.forced, made.evidence.decision) == (True, "not comparable")
    assert {"difference", "low", "p_adjusted"}.isdisjoint(state(client, "apart")["versions"]["4"][2])


def test_a_champion_that_nothing_is_known_of_stays(uri: str, client: Any, high: Results) -> None:
    client.create_registered_model("by hand")
    for run_id in (None, "0" * 32, high.parent_run_id):
        version = client.create_model_version("by hand", "file:///somewhere", run_id).version
        client.set_registered_model_alias("by hand", "champion", str(version))
        made = register_best(client, high, "by hand")
        assert (made.registered.alias, made.evidence.decision) == ("challenger", "not comparable")
        assert "its run is not in this store, or not of a launch" in made.evidence.reason
    client.delete_registered_model_alias("by hand", "champion")
    assert register_best(client, high, "by hand").registered.alias == "champion"


def test_another_seed_of_the_champions_own_variant_is_not_compared(uri: str, client: Any) -> None:
    result = record_launch(uri, "same", {"stride": HIGH, "grouped_concat": LOW})
    register_best(client, result, "same")
    rows = [replace(row, val_accuracy=1.0 if row.trial == "stride/seed-0" else row.val_accuracy) for row in result.rows]
    made = register_best(client, replace(result, rows=rows), "same")
    assert (made.registered.trial, made.registered.alias) == ("stride/seed-0", "challenger")
    assert "another seed or sample of the same variant in the same launch" in made.evidence.reason


def planned(results: Results, **settings: float) -> Results:
    """The same results of an experiment whose file has these settings of the verdict."""
    return replace(results, judging=replace(results.judging, verdict=VerdictSettings(**settings)))


@pytest.mark.parametrize("confidence", [0.95, 0.9])
def test_in_rounds_the_champion_falls_by_the_verdict_that_the_comparison_shows(
    uri: str, client: Any, confidence: float
) -> None:
    """Three close seeds decide for a number of seeds that was fixed before, but not after looks at every one."""
    accuracies = {"grouped_concat": [0.811, 0.823, 0.832], "stride": [0.801, 0.811, 0.822]}
    name, settings = f"rounds{100 * confidence:.0f}", {"until_decided": True, "confidence": confidence}
    result = record_launch(uri, name, accuracies, verdict=settings)
    shown = result.comparison.verdict.pair("grouped_concat", "stride")
    assert shown is not None
    one, other = result.comparison.rows
    worse_first = replace(result, comparison=replace(result.comparison, rows=(other, one)))
    assert register_best(client, worse_first, name).evidence.decision == "first"  # the worse one is champion
    made = register_best(client, result, name)
    assert (made.registered.alias, made.evidence.decision) == ("challenger", "undecided")
    assert made.evidence.confidence == 0.95
    assert (made.evidence.n, made.evidence.difference) == (3, pytest.approx(shown.difference))
    assert made.evidence.p_adjusted is None
    if confidence == 0.95:
        assert (made.evidence.decision, made.evidence.low, made.evidence.high) == (
            shown.decision,
            shown.low,
            shown.high,
        )


def test_a_margin_asks_for_more_than_any_difference(uri: str, client: Any) -> None:
    slightly = record_launch(uri, "slightly", {"stride": [0.80, 0.801, 0.802]})
    ahead = record_launch(uri, "ahead", {"stride": [0.8021, 0.803, 0.804]})
    register_best(client, slightly, "margin")
    made = register_best(client, planned(ahead, margin=0.01), "margin")
    assert (made.registered.alias, made.evidence.decision) == ("challenger", "better by less than the margin")
    assert register_best(client, ahead, "margin").registered.alias == "champion"


def test_whoever_asks_for_less_confidence_is_judged_with_95_percent(uri: str, client: Any) -> None:
    register_best(client, record_launch(uri, "steady", {"stride": [0.80, 0.81, 0.82]}), "bar")
    newcomer = record_launch(uri, "lucky", {"stride": [0.82, 0.815, 0.84]})
    weak = planned(newcomer, confidence=0.51)
    made = register_best(client, weak.judged_by(None, None, 0.51), "bar")
    assert (made.registered.alias, made.evidence.decision, made.evidence.confidence) == (
        "challenger",
        "undecided",
        0.95,
    )
    assert client.get_model_version("bar", "2").tags["confidence"] == "0.95"


NEWCOMER = Origin("n", "a/seed-0", "a", "new", DATA, "validation")
HOLDER = Origin("h", "b/seed-0", "b", "old", DATA, "validation")
accuracies = st.dictionaries(st.integers(0, 9), st.integers(0, 10_000).map(lambda right: right / 10_000), min_size=1)


@given(accuracies, accuracies)
def test_the_evidence_is_the_same_from_both_sides(ones: Mapping[int, float], others: Mapping[int, float]) -> None:
    there = weigh({"a": ones}, NEWCOMER, "1", HOLDER, others)
    back = weigh({"b": others}, replace(HOLDER, parent_run_id="new"), "1", replace(NEWCOMER, parent_run_id="old"), ones)
    assert there.difference == pytest.approx(-back.difference)
    if there.low is not None:
        assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))
    if there.enough:
        assert there.difference > 0
        assert there.low > 0
        assert min(len(ones), len(others)) >= 3
    assert not (there.enough and back.enough)
    assert there.enough == (back.decision == "worse")


def test_the_best_of_many_equal_variants_seldom_replaces_an_equal_champion() -> None:
    """Five newcomers from the champion's own distribution: picked as the best of them, it must not win by that."""
    draws, wins, repetitions = np.random.default_rng(0), 0, 600
    for _ in range(repetitions):
        drawn = draws.normal(0.8, 0.004, (6, 4)).round(4)
        scores = {name: dict(enumerate(row)) for name, row in zip("acdef", drawn[:5].tolist(), strict=True)}
        best = max(scores, key=lambda name: sum(scores[name].values()))
        found = weigh(scores, replace(NEWCOMER, variant=best), "1", HOLDER, dict(enumerate(drawn[5].tolist())))
        wins += found.enough
    assert wins <= 0.05 * repetitions


def new_run(client: Any, folder: Path, name: str) -> str:
    """A run whose artifacts lie in ``folder``, not where the tests are run."""
    found = client.get_experiment_by_name("exp")
    place = (folder / "artifacts").as_uri()
    experiment_id = found.experiment_id if found else client.create_experiment("exp", artifact_location=place)
    return str(client.create_run(experiment_id, run_name=name).info.run_id)


def recorded(client: Any, folder: Path, row: TrialRow, factor: float) -> TrialRow:
    """``row`` with a run of its own, whose model multiplies by ``factor``."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3, bias=False)).eval()
    torch.nn.init.constant_(network[1].weight, factor)
    as_they_are = Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
    images = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    save_model(network, as_they_are, ["a", "b", "c"], images, folder / f"{factor}")
    run_id = new_run(client, folder, row.trial)
    assert log_model(client, run_id, folder / f"{factor}") == log_model(client, run_id, folder / f"{factor}")
    return replace(row, run_id=run_id)


def result(trials: list[TrialRow]) -> Results:
    return Results("exp", "abc", "parent", trials, Comparison.of(compare(trials, 0.85)))


@pytest.mark.usefixtures("as_a_user")
def test_what_is_registered_is_loaded_by_its_alias(client: Any, tmp_path: Path) -> None:
    rows = [trial("a", 0, 0.8), trial("a", 1, 0.7), trial("b", 0, 0.9), trial("b", 1, 0.3)]
    judged = [0.5, 0.6, 0.8, 0.7]  # by validation the second seed of a is the better one, whatever the test split says
    trials = [
        replace(recorded(client, tmp_path, row, float(i)), val_accuracy=accuracy)
        for i, (row, accuracy) in enumerate(zip(rows, judged, strict=True), 1)
    ]
    assert register_best(client, result(trials), "it's a model").registered.trial == "a/seed-1"
    assert register_best(client, result(trials[2:3]), "it's a model").registered.alias == "challenger"
    for alias, factor in (("champion", 2.0), ("challenger", 3.0)):
        network = mlflow.pytorch.load_model(f"models:/it's a model@{alias}")
        assert network(torch.ones(1, 3, 2, 2, dtype=torch.uint8)).tolist() == [[12 * factor] * 3]


def test_what_has_no_model_is_refused_before_anything_is_registered(client: Any, tmp_path: Path) -> None:
    bare = replace(trial("b", 0, 0.8), run_id=new_run(client, tmp_path, "b"))
    with pytest.raises(RequestError, match="b/seed-0 has no model"):
        register_best(client, result([bare]), "refused")
    client.log_text(bare.run_id, "{}", "model/input_example.json")  # as much as was written before its export failed
    with pytest.raises(RequestError, match="b/seed-0 has no model"):
        register_best(client, result([bare]), "refused")
    with pytest.raises(RequestError, match="no trial of exp is complete"):
        register_best(client, result([trial("a", 0, None, "failed")]), "refused")
    assert not client.search_registered_models("name = 'refused'")


def test_the_test_split_has_no_say_in_which_seed_represents_a_variant() -> None:
    first, second = trial("a", 0, 0.7), trial("a", 1, 0.9)
    assert representative([first, second]) == first  # nothing held out
    assert representative([replace(first, val_accuracy=0.8), replace(second, val_accuracy=0.6)]).seed == 0
    assert representative([trial("a", 0, None, "failed")]) is None
