"""``import orchestrator as orc``: quick to import, values instead of text, and the same figures as the command line."""

import copy
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from patience import PATIENCE
from torch import nn
from torch.testing import assert_close

import orchestrator as orc
from orchestrator.data import Dataset
from orchestrator.errors import ExperimentError, RequestError, VariantError
from orchestrator.experiment.stage_log import StageLog
from orchestrator.records import TrialRow
from orchestrator.tracking.store import connect


class Own(nn.Linear):
    """A class of this module; nobody gave it a file's name."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__(3 * 16 * 16, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1))


@pytest.fixture
def tree(network_file: Path, packed: Path) -> dict[str, Any]:
    return {
        "name": "small",
        "variants": [f"{network_file}:Tiny", f"{network_file}:Failing"],
        "seeds": [0, 1],
        "dataset": {"name": str(packed)},
        "trainer": {"epochs": 3, "batch_size": 32},
    }


def command_line(folder: Path, *arguments: str) -> Any:
    """The JSON document that a command prints."""
    command = [sys.executable, "-m", "orchestrator", *arguments, "--json"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert found.stdout, found.stderr
    return json.loads(found.stdout)


def test_importing_it_imports_nothing_heavy_and_every_name_is_there() -> None:
    code = (
        "import sys; before = set(sys.modules); import orchestrator as orc;"
        "new = {name.partition('.')[0] for name in sys.modules.keys() - before};"
        "assert not new & {'torch', 'ray', 'mlflow', 'pandas', 'numpy', 'rich', 'yaml', 'click'}, new;"
        "assert set(orc.__all__) <= set(dir(orc));"
        "[getattr(orc, name) for name in orc.__all__]; from orchestrator import *; run, Results"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
    assert (Path(orc.__file__).parent / "py.typed").exists()
    with pytest.raises(AttributeError, match="no_such_name"):
        orc.no_such_name  # noqa: B018


@pytest.mark.parametrize("variant", ["stride", "grouped_concat"])
def test_inspecting_is_what_the_command_prints(variant: str, tmp_path: Path) -> None:
    found = orc.inspect(variant)
    assert found.to_dict() == command_line(tmp_path, "inspect", variant)
    assert list(found.layers()["name"]) == [row["name"] for row in found.to_dict()["layers"]]
    assert found.parameters == found.layers()["parameters"].sum()
    assert f"{found.parameters:,}" in found._repr_html_()
    assert found.figure().axes


def test_a_class_and_an_instance_can_be_inspected() -> None:
    shape, network = (3, 16, 16), Own()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    by_class, by_instance = orc.inspect(Own, classes=3, shape=shape), orc.inspect(network, shape=shape)
    assert by_class.parameters == by_instance.parameters == 3 * 16 * 16 * 3 + 3
    assert by_instance.label == by_class.label == "Own"
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    class Hidden(Own):
        pass

    with pytest.raises(VariantError, match="top level"):
        orc.inspect(Hidden, classes=3, shape=shape)


def test_inspecting_an_instance_changes_neither_it_nor_random_numbers() -> None:
    frozen = torch.nn.BatchNorm2d(8).eval()  # within a network in training mode
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), frozen, torch.nn.Dropout(), torch.nn.Flatten())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    drawn = torch.get_rng_state()
    orc.inspect(network, shape=(3, 8, 8))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert [module.training for module in network.modules()] == [True, True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    lazy = torch.nn.Sequential(torch.nn.LazyConv2d(8, 3), torch.nn.Flatten(), torch.nn.LazyLinear(10))
    assert orc.inspect(lazy, shape=(3, 8, 8)).parameters == 8 * 27 + 8 + 8 * 36 * 10 + 10
    assert torch.nn.parameter.is_lazy(lazy[0].weight)


def test_a_plan_is_what_validate_prints(tree: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(json.dumps(tree))
    plan = orc.plan(tree, data_dir=tmp_path)
    assert plan.problems == ()
    assert [spec.name for spec in plan.trials] == ["Tiny/seed-0", "Failing/seed-0", "Tiny/seed-1", "Failing/seed-1"]
    assert json.loads(json.dumps(plan.to_dict())) == command_line(tmp_path, "validate", "small.yaml")
    for same in (tmp_path / "small.yaml", str(tmp_path / "small.yaml"), plan.experiment):
        assert orc.plan(same, data_dir=tmp_path).to_dict() == plan.to_dict()
    assert list(plan.table()["trial"]) == [spec.name for spec in plan.trials]
    assert "Tiny/seed-0" in plan._repr_html_()
    longer = orc.plan(tree, set={"trainer.epochs": 7, "seeds": [5]}, data_dir=tmp_path)
    assert {(spec.trainer.epochs, spec.seed) for spec in longer.trials} == {(7, 5)}


def test_what_stands_in_the_way_is_listed_and_what_is_no_experiment_is_refused(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    plan = orc.plan(tree, set={"contract.max_parameters": 10}, data_dir=tmp_path)
    assert plan.trials == ()
    assert any("Tiny" in problem and "parameters" in problem for problem in plan.problems)
    assert any("Failing" in problem for problem in plan.problems)
    assert not any(problem.startswith((" ", "the contract is broken")) for problem in plan.problems)  # nor a heading
    assert "at most 10" in plan._repr_html_()
    for ask in (plan.to_dict, plan.table):
        with pytest.raises(ExperimentError, match="at most 10") as refused:
            ask()
        assert refused.value.problems == plan.problems
    with pytest.raises(ExperimentError, match="epochs"):
        orc.plan(tree, set={"trainer.epochs": -1}, data_dir=tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trainer.epochs": np.int64(1)}, "trainer.epochs: must be text, a number,.* not int64"),
        ({"seeds": range(3)}, "seeds: must be .* not range"),
        ({"dataset.name": Path("images")}, "dataset.name: must be .* not PosixPath"),
        ({"trainer.optimizer": {"lr": float("nan")}}, "trainer.optimizer.lr: must be a finite number, not nan"),
        ({"description": "a\0b"}, "description: text must not contain NUL"),
        ({"seeds=0": 1}, "'seeds=0': write a path as a.b"),
        ({3: 1}, "3: write a path as a.b"),
    ],
)
def test_a_value_that_no_setting_can_have_is_refused_as_one_of_the_dictionary_is(
    settings: dict[Any, Any], words: str, tree: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ExperimentError, match=words):
        orc.plan(tree, set=settings, data_dir=tmp_path)
    (tmp_path / "small.yaml").write_text(json.dumps(tree))
    with pytest.raises(ExperimentError, match=words):
        orc.run(tmp_path / "small.yaml", set=settings, storage=tmp_path / "storage")


def test_settings_may_be_any_mapping_and_what_is_no_experiment_is_refused(tree: dict[str, Any], tmp_path: Path) -> None:
    given = MappingProxyType({**tree, "trainer": MappingProxyType(tree["trainer"]), "variants": ["stride"]})
    settings = {"contract": MappingProxyType({"max_parameters": 10}), "seeds": (1, 2)}
    assert orc.plan(given, set=settings, data_dir=tmp_path).experiment.seeds == (1, 2)
    for wrong, words in ((5, "not int"), (["stride"], "not list"), ({"name": threading.Lock()}, "name: must be text")):
        for changed in (None, {"seeds": [1]}):
            with pytest.raises(ExperimentError, match=words):
                orc.plan(wrong, set=changed, data_dir=tmp_path)  # type: ignore[arg-type]


def test_an_experiment_in_python_takes_what_a_file_takes(tmp_path: Path) -> None:
    given: Any = ["stride", {"name": "stride", "as": "again", "arguments": {}}]
    experiment = orc.Experiment(name="x", variants=given)
    assert [(v.name, v.label) for v in experiment.variants] == [("stride", "stride"), ("stride", "again")]
    for wrong in (
        {"variants": [{"nam": "stride"}]},
        {"variants": [f"x.py:{chr(0)}"]},
        {"seeds": (-1,)},
        {"name": "a b"},
    ):
        with pytest.raises(ExperimentError) as refused:
            orc.Experiment(**{"name": "x", "variants": given, **wrong})
        assert refused.value.problems
        again = pickle.loads(pickle.dumps(refused.value))
        assert (str(again), again.problems) == (str(refused.value), refused.value.problems)


def test_a_plan_can_be_compared_copied_and_pickled(tree: dict[str, Any], tmp_path: Path) -> None:
    for settings in ({}, {"contract.max_parameters": 10}):
        plan = orc.plan(tree, set=settings, data_dir=tmp_path)
        size = len(pickle.dumps(plan))
        assert size < 100_000  # without the images
        for same in (
            copy.deepcopy(plan),
            pickle.loads(pickle.dumps(plan)),
            orc.plan(tree, set=settings, data_dir=tmp_path),
        ):
            assert same == plan
            assert (repr(same), same.notes) == (repr(plan), plan.notes)
            if not plan.problems:
                assert same.to_dict() == plan.to_dict()
                assert same.table().equals(plan.table())
        twice = copy.deepcopy(copy.deepcopy(plan))
        assert twice._repr_html_() == plan._repr_html_()


def test_a_log_of_decisions_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(StageLog())) == StageLog()


def test_a_pickled_trial_fetches_its_files_again_in_the_process_that_reads_it(
    tree: dict[str, Any], tmp_path: Path, uri: str
) -> None:
    place = tmp_path / "t"
    local = orc.train(tree["variants"][0], dataset=tree["dataset"]["name"], epochs=1, out=place, batch_size=32)
    client = connect(uri)
    run = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path / "artifacts")))
    client.log_artifacts(run.info.run_id, str(place))
    trial = orc.Trial(local.name, run_id=run.info.run_id, client=client)
    epochs = trial.epochs()
    fetched = trial.folder
    stored = pickle.dumps(trial)
    shutil.rmtree(fetched)  # as at this process's exit
    assert pickle.loads(stored).epochs().equals(epochs)
    assert pickle.loads(pickle.dumps(local)).epochs().equals(epochs)


def test_training_returns_the_trial_with_its_network(
    network_file: Path, packed: Path, dataset: Dataset, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"dataset": str(packed), "epochs": 3, "batch_size": 32, "out": tmp_path / "t"}
    trial = orc.train(f"{network_file}:Tiny", seed=1, **settings)
    assert (trial.name, trial.run_id, trial.spec.seed, trial.status) == ("Tiny/seed-1", None, 1, "complete")
    assert list(trial.epochs()["epoch"]) == [1, 2, 3]
    assert trial.epochs()["val/accuracy"].between(0, 1).all()
    facts = trial.facts()["normalisation"]
    mean, std = (torch.tensor(facts[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        predicted = trial.model()((dataset.test.images / 255 - mean) / std).argmax(1)
    assert predicted.tolist() == trial.predictions()["predicted"].tolist()
    assert trial.predictions()["label"].tolist() == dataset.test.labels.tolist()
    with pytest.raises(RequestError, match="no figure 'curves'; it has: none"):
        trial.figure("curves")
    again = orc.train(f"{network_file}:Tiny", seed=1, report=True, **settings)  # nothing is trained twice
    assert again.epochs().equals(trial.epochs())
    assert again.figure("curves").width > 100
    own = orc.train(Own, dataset=str(packed), epochs=1, batch_size=32, out=tmp_path / "own")
    assert own.spec.label == "Own"
    assert sum(p.numel() for p in own.model().parameters()) == 3 * 16 * 16 * 3 + 3


SCRIPT = """
import pandas as pd
import torch
import orchestrator as orc

class Mine(torch.nn.Linear):
    def __init__(self, num_classes=10):
        super().__init__(3 * 32 * 32, num_classes)
    def forward(self, x):
        return super().forward(torch.nn.functional.interpolate(x, (32, 32)).flatten(1))

if __name__ == "__main__":
    assert orc.inspect("stride").parameters < 200_000
    assert orc.inspect(Mine).parameters == 3 * 32 * 32 * 10 + 10
    trial = orc.train(Mine, dataset="digits", epochs=1)
    assert 0 <= trial.epochs()["val/accuracy"].iloc[-1] <= 1
    experiment = {"name": "notebook", "variants": ["stride", "grouped_concat"], "seeds": [0, 1],
                  "dataset": {"name": "digits"}, "trainer": {"epochs": 1}}
    plan = orc.plan(experiment)
    assert len(plan.trials) == 4 and not plan.problems
    results = orc.run(experiment, display="none")
    assert results.complete and len(results) == 4 and not results.failures
    assert orc.load("notebook").trials().equals(results.trials())
    print(results.compare())
    try:
        orc.run({**experiment, "variants": ["__main__:Mine"]})
    except orc.OrchestratorError as problem:
        print(problem)
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_script_does_what_a_notebook_would(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, env=os.environ
    )
    assert ran.returncode == 0, ran.stderr
    assert "stride" in ran.stdout
    assert "%%writefile network.py" in ran.stdout
    assert "epoch" not in ran.stdout  # display="none"


@pytest.mark.slow
@pytest.mark.ray
def test_results_are_tables_with_the_figures_of_the_command_line(
    tree: dict[str, Any], uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    packed, variant = tree["dataset"]["name"], tree["variants"][0]
    results = orc.run(tree, tracking_uri=uri)
    assert "Tiny/seed-0" in capsys.readouterr().out
    assert not results.complete
    assert {row.trial for row in results.failures} == {"Failing/seed-0", "Failing/seed-1"}
    document = command_line(tmp_path, "compare", "small", "--tracking-uri", uri)
    assert json.loads(json.dumps(results.to_dict())) == document
    trials = results.trials()
    assert list(trials.columns) == list(TrialRow.__dataclass_fields__) == list(document["trials"][0])
    assert len(trials) == len(results) == 4
    assert trials.set_index("trial")["status"].to_dict() == {
        f"{variant}/seed-{seed}": status
        for variant, status in (("Tiny", "complete"), ("Failing", "failed"))
        for seed in (0, 1)
    }
    epochs = results.epochs()
    assert list(epochs[epochs.trial == "Tiny/seed-1"]["epoch"]) == [1, 2, 3]
    assert {"train/loss", "val/accuracy"} <= set(epochs.columns)
    predictions = results.predictions()
    assert list(predictions.columns) == ["trial", "image", "label", "predicted"]
    measured = predictions.assign(right=predictions.label == predictions.predicted).groupby("trial")["right"].mean()
    accuracies = trials.dropna(subset="test_accuracy").set_index("trial")["test_accuracy"]
    assert measured.to_dict() == pytest.approx(accuracies.to_dict())
    best = results.best()
    assert best.name == trials.loc[trials.val_accuracy.idxmax(), "trial"]
    assert best.epochs()["val/accuracy"].max() == trials.val_accuracy.max()
    assert best.model()(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    assert best.figure("curves").width > 100
    seed = int(best.name[-1])
    alone = orc.train(variant, seed=seed, dataset=packed, epochs=3, batch_size=32, threads=1, out=tmp_path / "alone")
    assert alone.epochs()["train/loss"].equals(best.epochs()["train/loss"])  # to the bit, with Ray and without
    assert_close(dict(alone.model().state_dict()), dict(best.model().state_dict()), rtol=0, atol=0)
    assert [trial.name for trial in results] == list(trials["trial"])
    assert results.best("Tiny").name == best.name
    for variant, message in (("Failing", "no trial of Failing is complete"), ("Tyni", "it has: Tiny, Failing")):
        with pytest.raises(RequestError, match=message):
            results.best(variant)
    assert results.compare().to_dict() == document["verdict"]
    assert "Tiny" in str(results.compare())
    for shown in (results, results.compare()):
        assert "<table" in shown._repr_html_()
    with pytest.raises(RequestError, match="MLflow has no experiment 'smal'; it has: small"):
        orc.load("smal", tracking_uri=uri)
    folder = orc.load("small", tracking_uri=uri).best().folder
    assert (folder / "spec.json").exists()  # although nothing refers to its trial any more


@pytest.mark.slow
@pytest.mark.ray
def test_what_the_documentation_shows_works(tmp_path: Path) -> None:
    text = (Path(orc.__file__).parents[1] / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 6
    (tmp_path / "documentation.py").write_text("\n".join(blocks))
    command = [sys.executable, "documentation.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, env=os.environ)
    assert ran.returncode == 0, ran.stderr
    assert "192,298 parameters" in ran.stdout
    assert (tmp_path / "trials" / "Small" / "seed-0" / "records.jsonl").exists()
