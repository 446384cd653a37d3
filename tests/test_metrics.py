"""A metric is one line in one file, and is then in every output of a trial; top-5 accuracy is one of them."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_dataset
from hypothesis import given
from hypothesis import strategies as st
from recording import open_runs
from sklearn.metrics import top_k_accuracy_score
from torch import Tensor, nn
from trained import weights

from orchestrator.data import Dataset
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Status
from orchestrator.spec import Recipe, TrialSpec
from orchestrator.tracking.sink import Sink
from orchestrator.training.metrics import EVALUATION, TRAINING, Batch, top_accuracy
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.make_report import write_report
from orchestrator.workflow.results import read_results
from orchestrator.workflow.trial import Trial


def gradient_norm(batch: Batch) -> Tensor:
    """The norm of all gradients of a step, once for each of its images."""
    return len(batch.labels) * nn.utils.get_total_norm([p.grad for p in batch.parameters if p.grad is not None])


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.softmax(dim=1).amax(dim=1).mean()


def test_a_metric_that_is_added_in_one_place_is_in_every_output(
    tmp_path: Path, network_file: Path, dataset: Dataset, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = {"name": "exp", "variants": [f"{network_file}:Tiny"], "seeds": [0], "trainer": {"epochs": 2}}
    plan = make_plan(read_experiment(tree, "exp"))
    [spec] = plan.trials
    folder = tmp_path / "trial"
    before = list(run_trial(spec, dataset, tmp_path / "before"))
    monkeypatch.setitem(TRAINING, "gradient_norm", gradient_norm)
    monkeypatch.setitem(EVALUATION, "confidence", confidence)
    records = list(run_trial(spec, dataset, folder))

    each_epoch, final = {"train/gradient_norm", "val/confidence"}, "test/confidence"
    assert [record.metrics.keys() - old.metrics.keys() for record, old in zip(records, before, strict=True)] == [
        each_epoch, each_epoch, {final}
    ]  # fmt: skip
    assert weights(folder) == weights(tmp_path / "before")
    assert TrialFolder(folder).records() == records  # records.jsonl
    with (folder / "metrics.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    for name in each_epoch:
        assert [float(row[name]) for row in rows] == [record.metrics[name] for record in records[:2]]
    assert float(rows[-1][final]) == records[-1].metrics[final]

    warnings: list[str] = []
    write_report(folder, dataset, None, warnings.append)
    assert warnings == []
    page = (folder / "report.html").read_text("utf-8")
    assert all(name in page for name in (*each_epoch, final))
    assert Trial("exp", folder=folder).figure("metrics").height > 0

    runs = open_runs(uri, plan)
    for _ in range(2):  # the second time it has all been published
        sink = Sink(runs)
        sink.catch_up(spec.name, records)
        sink.on_end(Outcome(spec.name, Status.COMPLETE, "", folder))
        sink.close(Status.COMPLETE)
    results = read_results(runs.client, "exp")
    epochs = results.epochs()
    for name in each_epoch:
        assert list(epochs[name]) == [record.metrics[name] for record in records[:2]]
    [row] = results.rows
    assert [m.step for m in runs.client.get_metric_history(row.run_id, "val/confidence")] == [1, 2]
    assert [m.value for m in runs.client.get_metric_history(row.run_id, final)] == [records[-1].metrics[final]]


def test_a_metric_that_is_not_a_number_is_absent(
    tmp_path: Path, network_file: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINING, "infinite", lambda batch: batch.loss + torch.inf)
    monkeypatch.setitem(EVALUATION, "undefined", lambda logits, labels: logits.mean() * torch.nan)
    spec = TrialSpec(variant=f"{network_file}:Tiny", trainer=Recipe(epochs=1, threads=1))
    records = list(run_trial(spec, dataset, tmp_path / "t"))
    assert not [name for record in records for name in record.metrics if "infinite" in name or "undefined" in name]


@pytest.mark.parametrize(("classes", "protocol"), [(7, "validation"), (7, "published"), (5, "validation")])
def test_top5_accuracy_is_recorded_of_more_than_five_classes(
    classes: int, protocol: str, tmp_path: Path, network_file: Path
) -> None:
    dataset = make_dataset(per_class=12, classes=classes)
    recipe = Recipe(epochs=1, threads=1, protocol=protocol, precision="float32")  # bfloat16 would make equal logits
    spec = TrialSpec(variant=f"{network_file}:Tiny", trainer=recipe)
    first, final = run_trial(spec, dataset, tmp_path / "t")
    held_out = "test" if protocol == "published" else "val"
    names = {name for record in (first, final) for name in record.metrics if "top5" in name}
    assert names == ({f"{held_out}/top5_accuracy", "test/top5_accuracy"} if classes > 5 else set())
    if classes > 5:
        measured = first if protocol == "published" else final
        logits = TrialFolder(tmp_path / "t").predictions()
        assert logits is not None
        expected = top_k_accuracy_score(dataset.test.labels, logits, k=5, labels=range(classes))
        assert measured.metrics["test/top5_accuracy"] == pytest.approx(expected)


@given(st.integers(1, 60), st.integers(6, 12), st.randoms(use_true_random=False))
def test_top_accuracy_is_scikit_learns(count: int, classes: int, chance: object) -> None:
    stream = np.random.default_rng(chance.randrange(2**32))  # type: ignore[attr-defined]
    logits, labels = (
        stream.permuted(np.tile(np.arange(classes), (count, 1)), axis=1),
        stream.integers(classes, size=count),
    )
    found = top_accuracy(torch.from_numpy(logits).float(), torch.from_numpy(labels), 5)
    assert found is not None
    assert float(found) == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=range(classes)))


def test_top_accuracy_is_never_below_accuracy_where_logits_are_equal() -> None:
    logits, labels = torch.zeros(20, 8), torch.arange(20) % 8
    found, accuracy = top_accuracy(logits, labels, 5), EVALUATION["accuracy"](logits, labels)
    assert found is not None
    assert accuracy is not None
    assert found >= accuracy
