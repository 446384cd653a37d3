"""Networks as MLflow models: exported, whole or absent, and loaded back."""

import html
from dataclasses import replace
from pathlib import Path

import mlflow.pytorch
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from PIL import Image
from recording import open_runs
from test_comparison import trial

from orchestrator import records as keys
from orchestrator.data import Dataset, apply, load_dataset, measure
from orchestrator.errors import TrackingError
from orchestrator.records import Outcome, Status
from orchestrator.spec import DatasetSpec, Plan, TrialSpec
from orchestrator.tracking.models import log_model, save_model
from orchestrator.tracking.registry import find_source, make_model, register
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.tracking.turn import take_turn
from orchestrator.trial import run_trial
from orchestrator.workflow.make_report import write_model, write_report

IMAGES = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variant", ["grouped_concat", "depthwise_stride"])
def test_the_model_takes_images_as_they_are_and_gives_the_same_logits(variant: str, tmp_path: Path) -> None:
    from orchestrator.architectures import build_network

    network, normalisation = build_network(variant).eval(), measure(IMAGES)
    classes = [f"class {i}" for i in range(10)]
    save_model(network, normalisation, classes, IMAGES[:2], tmp_path / "model")
    with torch.no_grad():
        expected = network(apply(IMAGES, normalisation))
    loaded = mlflow.pytorch.load_model(str(tmp_path / "model"))
    served = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    for count in (1, 2, 5):
        torch.testing.assert_close(loaded(IMAGES[:count]), expected[:count])
        torch.testing.assert_close(loaded(IMAGES[:count].float()), expected[:count])
        torch.testing.assert_close(torch.as_tensor(served.predict(IMAGES[:count].numpy())), expected[:count])
    with pytest.raises(MlflowException, match="does not match expected dtype uint8"):
        served.predict((IMAGES / 255).numpy())  # nothing could tell it from dark images
    [taken] = served.metadata.signature.inputs.inputs
    assert (taken.shape, taken.type) == ((-1, 3, 32, 32), "uint8")
    known = served.metadata.metadata
    assert known["classes"] == classes
    assert known["normalisation"] == {"mean": list(normalisation.mean), "std": list(normalisation.std)}
    assert "from 0 to 255" in known["images"]
    assert not list((tmp_path / "model").rglob("*.pkl"))


@pytest.mark.parametrize("name", ["tiny", pytest.param("digits", marks=pytest.mark.slow)])
def test_the_lines_of_readme_and_report_name_the_classes_as_well_as_the_trial_did(
    name: str, dataset: Dataset, network_file: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "trial"
    data = dataset if name == "tiny" else load_dataset(DatasetSpec(name="digits"), tmp_path)
    plain = {
        "variant": f"{network_file}:Tiny" if name == "tiny" else "stride",
        "dataset": {"name": str(packed) if name == "tiny" else "digits"},
        "trainer": {"epochs": 3, "batch_size": 16, "optimizer": {"lr": 0.05}, "precision": "float32"},
    }
    [*_, last] = run_trial(TrialSpec.from_json(plain), data, folder)
    write_report(folder, data, None, pytest.fail)
    write_model(folder, data, pytest.fail)

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = connect(uri)
    experiment = client.create_experiment("exp", artifact_location=(tmp_path / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    log_model(client, run_id, folder / "model")
    row = replace(trial("a", 0, 0.9), run_id=run_id)
    make_model(client, "MODEL")
    with take_turn(client, "MODEL") as turn:
        register(client, turn, row, find_source(client, row), "champion", "", {})

    files = []
    for position, image in enumerate(data.test.images):
        files.append(tmp_path / f"{position}.png")
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(files[-1])
    guide = (Path(__file__).parents[1] / "docs" / "results.md").read_text()
    page = html.unescape((folder / "report.html").read_text())
    monkeypatch.chdir(folder)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        for text, begin, end in ((guide, "```python\n", "```"), (page, '<pre class="wide">', "</pre>")):
            [lines] = [part for part in text.split(begin)[1:] if part.startswith("import mlflow")]
            told = {"files": files}
            exec(lines.partition(end)[0], told)  # exactly as it is printed
            expected = [data.classes[label] for label in data.test.labels]
            right = sum(a == b for a, b in zip(told["names"], expected, strict=True))
            assert right / len(expected) == pytest.approx(last.metrics[keys.TEST_ACCURACY], abs=1e-6)
    finally:
        mlflow.set_tracking_uri(before)
    assert last.metrics[keys.TEST_ACCURACY] > 1.5 / len(data.classes)  # it has learned, so raw images are no mistake


class Hard(torch.nn.Module):
    """Does its work, and cannot be exported."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.linear = torch.nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x.flatten(1))
        if self.how == "branches" and y.sum() > 0:
            return y + 1
        if self.how == "lacks something" and torch.compiler.is_exporting():
            raise AttributeError("planted")
        if self.how == "does not work":
            raise KeyError("planted")
        return y


@pytest.mark.parametrize("how", ["branches", "lacks something", "does not work"])
def test_a_network_that_cannot_be_exported_leaves_no_half_of_a_model(how: str, tmp_path: Path) -> None:
    images = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    with pytest.raises(TrackingError, match="cannot be exported"):
        save_model(Hard(how).eval(), measure(images), ["a", "b", "c"], images, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_driver_left_of_a_model_is_not_sent_and_made_again(
    uri: str, plan: Plan, tmp_path: Path, packed: Path, network_file: Path, dataset: Dataset
) -> None:
    folder = tmp_path / "folder"
    tiny = {"variant": f"{network_file}:Tiny", "dataset": {"name": str(packed)}, "trainer": {"epochs": 1}}
    assert list(run_trial(TrialSpec.from_json(tiny), dataset, folder))
    for name in ("model", ".model.partial"):
        (folder / name / "data").mkdir(parents=True)
        (folder / name / "input_example.json").write_text("{}")
    sink = Sink(open_runs(uri, plan))
    sink.on_end(Outcome(plan.trials[0].name, Status.COMPLETE, "", folder))
    sink.close(Status.COMPLETE)
    sent = {a.path for a in connect(uri).list_artifacts(sink.run_ids[plan.trials[0].name])}
    assert "spec.json" in sent
    assert not {"model", ".model.partial"} & sent
    write_model(folder, dataset, pytest.fail)
    assert not (folder / ".model.partial").exists()
    with torch.no_grad():
        assert mlflow.pytorch.load_model(str(folder / "model"))(dataset.test.images[:4]).shape == (4, 3)


def test_the_network_of_a_trial_trained_anew_replaces_the_earlier_one(uri: str, plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    Model().save(str(tmp_path / "model" / "MLmodel"))
    runs = open_runs(uri, plan)
    client, run_id = runs.client, runs.create(plan.trials[0].name).info.run_id
    row = replace(trial(plan.trials[0].name, 0, 0.25), run_id=run_id)
    made, versions = [], []
    make_model(client, "mine")
    for accuracy, time in ((0.75, 1_000), (0.25, 2_000)):
        client.log_metric(run_id, keys.TEST_ACCURACY, accuracy, time, 1)
        made.append(log_model(client, run_id, tmp_path / "model"))
        assert log_model(client, run_id, tmp_path / "model") == made[-1], "the same is found"
        source = find_source(client, row)
        assert source.model_id == made[-1]
        for _ in range(2):
            with take_turn(client, "mine") as turn:
                versions.append(register(client, turn, row, source, "champion", "", {}).version)
    assert len(set(made)) == 2
    assert versions == ["1", "1", "2", "2"]
    assert [m.model_id for m in client.search_logged_models([runs.experiment_id])] == made[1:]
