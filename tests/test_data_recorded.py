"""A launch's dataset, recorded in MLflow with its settings, is read again as the launch read it."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag

from orchestrator.data import load_dataset
from orchestrator.spec import DatasetSpec, SplitNames
from orchestrator.tracking.read import read_dataset
from orchestrator.tracking.store import connect
from orchestrator.workflow.facts import dataset_facts

USED = DatasetSpec(image_size=8, channels=1)
SPECS = [DatasetSpec(), USED, DatasetSpec(name="x", label_column="fine", splits=SplitNames(test="valid"), test=0.25)]
OTHERS = [{"uri": "digits"}, {"uri": "digits", "settings": {"name": "digits", "later": 1}}]  # of other versions


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    return connect(f"sqlite:///{tmp_path_factory.mktemp('recorded') / 'mlflow.db'}")


def read_again(client: MlflowClient, source: str) -> tuple[DatasetSpec, str] | None:
    """What is read of a run whose dataset has this ``source``."""
    run_id = client.create_run(client.create_experiment(f"recorded {source}")).info.run_id
    data = MlflowDataset("recorded", "d" * 36, "local", source)
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    return read_dataset(client, run_id)


def test_the_settings_come_back_with_the_dataset(client: MlflowClient) -> None:
    dataset = load_dataset(USED, Path("nowhere"))
    for spec in SPECS:
        assert read_again(client, dataset_facts(dataset, spec).source) == (spec, "d" * 36)


def test_a_dataset_recorded_by_another_version_has_its_name(client: MlflowClient) -> None:
    for source in OTHERS:
        assert read_again(client, json.dumps(source)) == (DatasetSpec(name="digits"), "d" * 36)
