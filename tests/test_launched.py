"""What a launch leaves, on disk, in MLflow and on the screen: one launch, looked at by every test here."""

import getpass
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Launched
from driving import orchestrator

from orchestrator import records as keys
from orchestrator.tracking.store import connect
from orchestrator.trial import TrialFolder

pytestmark = pytest.mark.ray


@pytest.fixture
def rows(launched: Launched) -> dict[str, dict[str, Any]]:
    """Of the JSON document, by trial."""
    return {trial["trial"]: trial for trial in launched.result["trials"]}


@pytest.fixture
def client(launched: Launched) -> Any:
    return connect(launched.store)


def test_the_document_has_every_trial(launched: Launched, rows: dict[str, dict[str, Any]]) -> None:
    assert set(rows) == {f"{variant}/seed-{seed}" for variant in ("Tiny", "Failing") for seed in (0, 1)}
    assert rows["Tiny/seed-0"]["status"] == "complete"
    assert 0.0 <= rows["Tiny/seed-0"]["test_accuracy"] <= 1.0
    assert (rows["Tiny/seed-0"]["parameters"], rows["Tiny/seed-0"]["epochs"]) == (201, 3)
    assert rows["Failing/seed-1"]["status"] == "failed"
    reason = rows["Failing/seed-1"]["reason"]
    assert re.fullmatch(r"Failing\.forward, .*networks\.py:\d+: RuntimeError: planted failure", reason)
    assert launched.result["verdict"]["best"] == "Tiny"
    assert {"trial", "run_id", "variant", "seed", "status", "reason", "epochs", "parameters", "macs", "receptive_field",
            "val_accuracy", "test_accuracy", "seconds", "epochs_to_target"} <= set(rows["Tiny/seed-0"])  # fmt: skip


def test_what_it_says_leads_on(launched: Launched) -> None:
    assert "Traceback" not in launched.stderr
    assert f"again: orchestrator compare small --launch {launched.result['launch']}\n" in launched.stderr


def test_a_trial_folder_is_whole(launched: Launched) -> None:
    folder = next((launched.folder / "storage" / "small").iterdir()) / "trials" / "Tiny" / "seed-0"
    for name in ("report.html", "figures", "tables", "model", "spec.json", "metrics.csv", "checkpoints/best.pt"):
        assert (folder / name).exists(), name


def test_a_run_carries_what_is_known_of_its_network(rows: dict[str, dict[str, Any]], client: Any) -> None:
    run = client.get_run(rows["Tiny/seed-0"]["run_id"])
    assert {"parameters", "macs", "receptive_field/output", "receptive_field/features"} <= set(run.data.metrics)
    assert run.data.tags["layer_kinds"] == "global_average_pooling, batch_norm, dropout"
    assert (run.data.tags["contract"], run.data.tags["family"]) == ("none", "custom")


def test_every_run_keeps_mlflows_conventions(launched: Launched, rows: dict[str, dict[str, Any]], client: Any) -> None:
    for run_id in (launched.result["parent_run_id"], *(row["run_id"] for row in rows.values())):
        tags = client.get_run(run_id).data.tags
        assert tags["mlflow.user"] == getpass.getuser()
        assert (tags["mlflow.source.type"], tags["mlflow.source.name"]) == ("LOCAL", str(launched.experiment))


def test_the_summary_is_that_of_the_records(launched: Launched, rows: dict[str, dict[str, Any]], client: Any) -> None:
    for name, row in rows.items():
        [folder] = launched.folder.glob(f"storage/small/*/trials/{name}")
        records = TrialFolder(folder).records()
        expected = keys.summary(records, 0.5)
        if records:  # of a trial that failed before its first epoch there is nothing to record
            metrics = client.get_run(row["run_id"]).data.metrics
            assert {key: metrics[key] for key in expected} == expected
        assert row["epochs_to_target"] == expected.get(keys.EPOCHS_TO_TARGET)
        assert (row["val_accuracy"], row["seconds"]) == (
            expected.get(keys.BEST_VAL_ACCURACY),
            expected.get(keys.SECONDS),
        )


def test_every_epoch_has_the_machines_metrics(rows: dict[str, dict[str, Any]], client: Any) -> None:
    for name in (keys.CPU_UTILIZATION, keys.PROCESS_MEMORY):
        history = client.get_metric_history(rows["Tiny/seed-0"]["run_id"], name)
        assert [metric.step for metric in history] == [1, 2, 3]
        assert all(metric.value > 0 for metric in history)


def test_launches_can_be_compared_by_their_own_runs(launched: Launched, client: Any) -> None:
    launch = client.get_run(launched.result["parent_run_id"])
    assert {f"trials/{status}": launch.data.metrics[f"trials/{status}"] for status in keys.Status} == {
        "trials/complete": 2, "trials/stopped": 0, "trials/interrupted": 0, "trials/failed": 2,
    }  # fmt: skip
    [tiny] = [row for row in launched.result["verdict"]["variants"] if row["variant"] == "Tiny"]
    assert launch.data.metrics["best_variant/test_accuracy"] == tiny["test_accuracy"]
    assert launch.data.metrics["wall_seconds"] > launch.data.metrics["cpu_seconds"] > 0
    assert launch.data.metrics["gpu_seconds"] == 0


def test_the_verdict_is_at_the_launchs_own_run(launched: Launched, client: Any) -> None:
    launch = client.get_run(launched.result["parent_run_id"])
    assert launch.data.tags["verdict"].startswith("Tiny has ")
    assert "no other variant has a complete seed (Failing)." in launch.data.tags["verdict"]
    assert launch.data.tags["mlflow.note.content"].count("Open the comparison") == 1
    assert {a.path for a in client.list_artifacts(launch.info.run_id)} == {"comparison.html", "figures", "tables"}
    assert "Tiny/seed-0" in Path(client.download_artifacts(launch.info.run_id, "comparison.html")).read_text()
    tables = {a.path for a in client.list_artifacts(launch.info.run_id, "tables")}
    assert {"tables/variants.csv", "tables/variants.md", "tables/trials.csv"} <= tables


def test_compare_prints_draws_and_writes(launched: Launched, tmp_path: Path) -> None:
    read = ("compare", "small", "--tracking-uri", launched.store)
    compared = orchestrator(*read, "--figure", "made/drawn.svg", "--html", "made/page.html", cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert "Tiny *" in compared.stdout
    assert "planted failure" in " ".join(compared.stdout.replace("│", " ").split())
    assert (tmp_path / "made" / "drawn.svg").read_text().startswith("<?xml")
    assert "Tiny/seed-0" in (tmp_path / "made" / "page.html").read_text()
    assert sorted(file.name for file in (tmp_path / "made").iterdir()) == ["drawn.svg", "page.html"]
    (tmp_path / "a file").write_text("")
    blocked = orchestrator(*read, "--html", "a file/page.html", cwd=tmp_path)
    assert (blocked.returncode, "Traceback" in blocked.stderr) == (2, False)
    assert "page.html" in blocked.stderr
    assert orchestrator(*read, "--figure", "page.txt", cwd=tmp_path).returncode == 2
    assert json.loads(orchestrator(*read, "--json", cwd=tmp_path).stdout) == launched.result


@pytest.mark.parametrize("target", [0.01, 0.999])
def test_epochs_are_counted_to_another_target(launched: Launched, target: float, tmp_path: Path) -> None:
    read = ("compare", "small", "--tracking-uri", launched.store, "--target", str(target), "--json")
    found = json.loads(orchestrator(*read, cwd=tmp_path).stdout)
    for row in found["trials"]:
        [folder] = launched.folder.glob(f"storage/small/*/trials/{row['trial']}")
        expected = keys.summary(TrialFolder(folder).records(), target).get(keys.EPOCHS_TO_TARGET)
        assert row["epochs_to_target"] == (expected if row["status"] == "complete" else None)


def test_the_best_can_be_registered(launched: Launched, client: Any, tmp_path: Path) -> None:
    read = ("compare", "small", "--tracking-uri", launched.store)
    registered = orchestrator(*read, "--register", "tiny", "--json", cwd=tmp_path)
    champion = json.loads(registered.stdout)["registered"]
    assert (champion["model"], champion["alias"], champion["version"]) == ("tiny", "champion", "1")
    assert (champion["decision"], champion["forced"]) == ("first", False)
    assert client.get_model_version_by_alias("tiny", "champion").run_id == champion["run_id"]
    assert len(client.get_run(champion["run_id"]).data.params["dataset_digest"]) == 64  # by which it is compared
    again = orchestrator(*read, "--register", "tiny", cwd=tmp_path)
    assert "registered: models:/tiny@champion is version 1, Tiny/seed-" in again.stdout
    assert again.stdout.endswith("it is the champion already\n")
    alone = orchestrator(*read, "--force", cwd=tmp_path)
    assert (alone.returncode, "--force belongs to --register MODEL" in alone.stderr) == (2, True)
    refused = orchestrator(*read, "--register", "a/b", cwd=tmp_path)
    assert (refused.returncode, "must not be empty or contain / or :" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_the_same_command_tries_again_what_failed_and_another_storage_trains_anew(
    launched: Launched, rows: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    for name in ("storage", "mlflow.db", "mlruns"):
        source = launched.folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    again = orchestrator("run", str(launched.experiment), "--json", "--quiet", cwd=tmp_path)
    assert again.returncode == 1
    assert {t["trial"]: t["run_id"] for t in json.loads(again.stdout)["trials"]} == {
        name: trial["run_id"] for name, trial in rows.items()
    }
    parent = connect(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(launched.result["parent_run_id"])
    assert parent.data.tags["mlflow.note.content"].count("Open the comparison") == 1

    (tmp_path / "storage").rename(tmp_path / "before")
    anew = json.loads(orchestrator("run", str(launched.experiment), "--json", "--quiet", cwd=tmp_path).stdout)
    assert not {t["run_id"] for t in anew["trials"]} & {trial["run_id"] for trial in rows.values()}
    for made in (launched.result, anew):
        read = orchestrator("compare", "small", "--launch", made["launch"], "--json", cwd=tmp_path)
        assert json.loads(read.stdout)["parent_run_id"] == made["parent_run_id"]
