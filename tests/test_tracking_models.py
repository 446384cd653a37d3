"""Networks as MLflow models: exported, whole or absent, and loaded back."""

from pathlib import Path

import mlflow.pytorch
import pytest
import torch
from recording import open_runs

from orchestrator.cli.reports import write_model
from orchestrator.data import Dataset, apply, measure
from orchestrator.errors import TrackingError
from orchestrator.records import Outcome, Status
from orchestrator.spec import Plan, TrialSpec
from orchestrator.tracking.models import save_model
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.trial import run_trial


@pytest.mark.parametrize("variant", ["grouped_concat", "depthwise_stride"])
def test_the_model_loads_back_and_gives_the_same_logits(variant: str, tmp_path: Path) -> None:
    from orchestrator.architectures import build_network

    network, pictures = build_network(variant).eval(), torch.randn(2, 3, 32, 32)
    save_model(network, pictures, tmp_path / "model")
    more = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected = network(more)
        loaded = mlflow.pytorch.load_model(str(tmp_path / "model"))
        torch.testing.assert_close(loaded(more), expected)
    served = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert served.metadata.signature.inputs.inputs[0].shape == (-1, 3, 32, 32)
    torch.testing.assert_close(torch.as_tensor(served.predict(more.numpy())), expected)
    assert not list((tmp_path / "model").rglob("*.pkl"))


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
    with pytest.raises(TrackingError, match="cannot be exported"):
        save_model(Hard(how).eval(), torch.zeros(2, 3, 2, 2), tmp_path / "model")
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
        assert mlflow.pytorch.load_model(str(folder / "model"))(torch.zeros(4, 3, 16, 16)).shape == (4, 3)


def test_the_model_of_normalised_pictures_fits_the_data(dataset: Dataset) -> None:
    pictures = apply(dataset.test.images[:2], measure(dataset.train.images))
    assert pictures.dtype == torch.float32
