"""A launch's dataset, recorded in MLflow with its settings, is read again as the launch read it."""

from pathlib import Path

import pytest
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag

from orchestrator.data import load_dataset
from orchestrator.spec import DatasetSpec, SplitNames
from orchestrator.tracking.read import read_dataset
from orchestrator.tracking.store import connect
from orchestrator.workflow.facts import dataset_facts

USED = DatasetSpec(image_size=8, channels=1)


@pytest.mark.parametrize(
    "spec",
    [DatasetSpec(), USED, DatasetSpec(name="x", label_column="fine_label", splits=SplitNames(test="valid"), test=0.25)],
)
def test_the_settings_come_back_with_the_dataset(uri: str, spec: DatasetSpec) -> None:
    client = connect(uri)
    facts = dataset_facts(load_dataset(USED, Path("nowhere")), spec)
    run = client.create_run(client.create_experiment("recorded"))
    data = MlflowDataset(facts.name, facts.digest[:36], "local", facts.source, profile=facts.profile)
    client.log_inputs(run.info.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    assert read_dataset(client, run.info.run_id) == (spec, facts.digest[:36])


@pytest.mark.parametrize(
    "source", ['{"uri": "digits"}', '{"uri": "digits", "settings": {"name": "digits", "later": 1}}']
)
def test_a_dataset_recorded_by_another_version_has_its_name(uri: str, source: str) -> None:
    client = connect(uri)
    run = client.create_run(client.create_experiment("recorded"))
    data = MlflowDataset("digits", "d" * 36, "local", source)
    client.log_inputs(run.info.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    assert read_dataset(client, run.info.run_id) == (DatasetSpec(name="digits"), "d" * 36)
