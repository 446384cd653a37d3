"""A search reads the test split once: when all have trained, of each variant the chosen settings alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, make_dataset
from driving import driver, orchestrator, wait_for

from orchestrator import records as keys
from orchestrator.data import Dataset, save_packed
from orchestrator.errors import ExperimentError
from orchestrator.experiment.reader import read_experiment
from orchestrator.scheduling.checkpoints import newest_intact
from orchestrator.spec import Recipe, TrialSpec
from orchestrator.tracking.store import connect
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.verify import compare, content, kill_driver

SEARCH = """
name: small
variants: ["{folder}/networks.py:Tiny", "{folder}/networks.py:Slow"]
seeds: [0, 1]
target_accuracy: 0.5
dataset: {{name: "{folder}/tiny.pt", validation: 0.2}}
trainer: {{epochs: 3, batch_size: 32}}
search: {{samples: 3, space: {{trainer.optimizer.lr: {{choice: [0.00001, 0.03, 0.3]}}}}}}
tracking: {{models: none}}
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "networks.py").write_text(TINY)
    save_packed(make_dataset(), folder / "tiny.pt")
    (folder / "search.yaml").write_text(SEARCH.format(folder=folder))
    return folder


@pytest.fixture(scope="module")
def launched(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("search")
    run = orchestrator("run", str(sources / "search.yaml"), "--json", cwd=folder)
    assert run.returncode == 0, run.stderr
    return folder, json.loads(run.stdout)


@pytest.mark.slow
@pytest.mark.ray
def test_only_what_was_chosen_is_measured_and_a_variant_is_one_configuration(
    launched: tuple[Path, dict[str, Any]],
) -> None:
    folder, result = launched
    rows = result["trials"]
    assert len(rows) == 12
    assert {row["status"] for row in rows} == {"complete"}
    client = connect(f"sqlite:///{folder / 'mlflow.db'}")
    for variant in result["verdict"]["variants"]:
        mine = [row for row in rows if row["variant"] == variant["variant"]]
        judged: dict[float, list[float]] = {}
        for row in mine:
            judged.setdefault(row["settings"]["trainer.optimizer.lr"], []).append(row["val_accuracy"])
        best = max(judged.values(), key=sum)
        chosen = [row for row in mine if row["settings"] == variant["settings"]]
        assert judged[variant["settings"]["trainer.optimizer.lr"]] == best
        assert (variant["trials"], len(chosen)) == (2, 2)  # n counts seeds
        assert variant["test_accuracy"] == pytest.approx(sum(row["test_accuracy"] for row in chosen) / 2)
        for row in mine:
            [place] = folder.glob(f"storage/small/*/trials/{row['trial']}")
            metrics = client.get_run(row["run_id"]).data.metrics
            assert (row["test_accuracy"] is not None) is (row in chosen)
            assert (keys.TEST_ACCURACY in metrics) is (row in chosen)
            assert [row[name] is not None for name in keys.FORWARD] == [row in chosen] * 2
            assert (TrialFolder(place).predictions() is not None) is (row in chosen)
            assert (place / keys.PREDICTIONS).exists() is (row in chosen)
            for name in (keys.BEST_EPOCH, keys.TRAIN_LOSS, *([keys.TEST_ACCURACY] if row in chosen else [])):
                steps = [metric.step for metric in client.get_metric_history(row["run_id"], name)]
                assert len(steps) == len(set(steps)) > 0


@pytest.mark.ray
@pytest.mark.slow
def test_what_was_searched_is_on_the_screen(launched: tuple[Path, dict[str, Any]]) -> None:
    folder, result = launched
    shown = orchestrator("compare", "small", cwd=folder).stdout
    assert "Best settings" in shown
    best = result["verdict"]["variants"][0]["settings"]["trainer.optimizer.lr"]
    assert any(line.split()[-1:] == [f"{best:.4g}"] for line in shown.splitlines())


@pytest.mark.slow
@pytest.mark.ray
def test_killed_between_training_and_measuring(
    sources: Path, launched: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    undisturbed, _ = launched
    with driver(tmp_path, "run", str(sources / "search.yaml")) as process:
        wait_for(tmp_path, process, "evaluating the best settings")
        kill_driver(process)
    unmeasured = orchestrator("compare", "small", cwd=tmp_path).stdout
    assert "when all of its trials have ended" in " ".join(unmeasured.split()) or "still running" in unmeasured
    with driver(tmp_path, "run", str(sources / "search.yaml")) as process:
        assert process.wait() == 0, (tmp_path / "output.txt").read_text()
    assert compare(content(undisturbed, "small"), content(tmp_path, "small")) == []


@pytest.mark.parametrize(
    ("kept", "target"),
    [(["last.pt", "best.pt", "previous.pt"], None), (["best.pt"], None), (["best.pt"], 0.01)],
    ids=["all", "chosen weights alone", "chosen weights of a trial that had reached its target"],
)
def test_measured_later_it_is_what_would_have_been_measured_at_once(
    kept: list[str], target: float | None, network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = TrialSpec(variant=f"{network_file}:Tiny", trainer=Recipe(epochs=3, batch_size=32, stop_at_accuracy=target))
    list(run_trial(spec, dataset, tmp_path / "at once"))
    records = list(run_trial(spec, dataset, tmp_path / "later", measure=False))
    later, at_once = TrialFolder(tmp_path / "later"), TrialFolder(tmp_path / "at once")
    assert records[-1].final
    assert set(records[-1].metrics) == {keys.BEST_EPOCH}
    assert later.is_intact()
    assert not later.is_measured()
    assert later.predictions() is None
    assert list(run_trial(spec, dataset, tmp_path / "later", measure=False)) == []
    weights, trained = checkpoint.content_digest(checkpoint.load(later.best)), later.records()[:-1]
    for path in later.best.parent.iterdir():
        if path.name not in kept:
            path.unlink()
    assert newest_intact([later.path], spec) == later.path  # a worker takes it up from there
    [measured] = run_trial(spec, dataset, tmp_path / "later")
    timed, same = (
        {k: v for k, v in r.metrics.items() if not keys.varies(k)} for r in (measured, at_once.records()[-1])
    )
    assert timed == same
    assert set(keys.FORWARD) <= measured.metrics.keys()
    assert later.records() == [*trained, measured]
    assert torch.equal(later.predictions(), at_once.predictions())
    assert checkpoint.content_digest(checkpoint.load(later.best)) == weights
    assert list(run_trial(spec, dataset, tmp_path / "later")) == []


def test_a_search_by_the_published_protocol_is_refused() -> None:
    space = {"trainer.optimizer.lr": {"uniform": [0.1, 0.2]}}
    tree = {"name": "x", "variants": ["stride"], "trainer": {"protocol": "published"}, "search": {"space": space}}
    with pytest.raises(ExperimentError, match="settings would be selected on test images"):
        read_experiment(tree, "x")
