"""The model registry: a comparison's two best networks under their aliases, loaded back by them, never twice."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from test_comparison import trial

from orchestrator.data import Normalisation
from orchestrator.errors import RequestError
from orchestrator.records import TrialRow
from orchestrator.reporting.comparison.variants import compare
from orchestrator.selection import representative
from orchestrator.tracking.models import log_model, save_model
from orchestrator.tracking.store import connect
from orchestrator.workflow.comparison import Comparison
from orchestrator.workflow.results import Results, register_result


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}"


@pytest.fixture
def client(uri: str) -> Any:
    return connect(uri)


@pytest.fixture
def as_a_user(uri: str) -> Iterator[None]:
    """MLflow told once where its store is, as scripts and notebooks do."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield
    mlflow.set_tracking_uri(before)


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
def test_the_two_best_variants_are_loaded_by_their_aliases(client: Any, tmp_path: Path) -> None:
    rows = [trial("a", 0, 0.8), trial("a", 1, 0.7), trial("b", 0, 0.9), trial("b", 1, 0.6), trial("c", 0, 0.5)]
    judged = [0.5, 0.6, 0.7, 0.8, 0.9]  # by validation the second seed of each is the better one
    trials = [
        replace(recorded(client, tmp_path, row, float(i)), val_accuracy=accuracy)
        for i, (row, accuracy) in enumerate(zip(rows, judged, strict=True), 1)
    ]
    made = register_result(client, result(trials), "it's a model")
    assert [(m.alias, m.trial) for m in made] == [("champion", "a/seed-1"), ("challenger", "b/seed-1")]
    for alias, factor in (("champion", 2.0), ("challenger", 4.0)):
        network = mlflow.pytorch.load_model(f"models:/it's a model@{alias}")
        assert network(torch.ones(1, 3, 2, 2, dtype=torch.uint8)).tolist() == [[12 * factor] * 3]
    version = client.get_model_version_by_alias("it's a model", "champion")
    assert version.description.startswith("a is best with 75.00")
    assert version.tags == {
        "experiment": "exp", "launch": "abc", "evidence": "undecided",
        "trial": "a/seed-1", "variant": "a",
    }  # fmt: skip

    assert register_result(client, result(trials), "it's a model") == made  # the same versions
    [alone] = register_result(client, result(trials[2:4]), "it's a model")  # b is the best of one: no challenger
    assert (alone.alias, alone.version) == ("champion", made[1].version)
    assert client.get_registered_model("it's a model").aliases.keys() == {"champion"}


def test_what_has_no_model_is_refused_before_anything_is_registered(client: Any, tmp_path: Path) -> None:
    good = recorded(client, tmp_path, trial("a", 0, 0.9), 1.0)
    bare = replace(trial("b", 0, 0.8), run_id=new_run(client, tmp_path, "b"))
    with pytest.raises(RequestError, match="b/seed-0 has no model"):
        register_result(client, result([good, bare]), "refused")
    client.log_text(bare.run_id, "{}", "model/input_example.json")  # as much as was written before its export failed
    with pytest.raises(RequestError, match="b/seed-0 has no model"):
        register_result(client, result([good, bare]), "refused")
    with pytest.raises(RequestError, match="no trial of exp is complete"):
        register_result(client, result([trial("a", 0, None, "failed")]), "refused")
    assert not client.search_registered_models("name = 'refused'")


def test_the_test_split_has_no_say_in_which_seed_represents_a_variant() -> None:
    first, second = trial("a", 0, 0.7), trial("a", 1, 0.9)
    assert representative([first, second]) == first  # nothing held out
    assert representative([replace(first, val_accuracy=0.8), replace(second, val_accuracy=0.6)]).seed == 0
    assert representative([trial("a", 0, None, "failed")]) is None
