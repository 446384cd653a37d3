"""Artifacts in MLflow: a trial's files when it ends, its report later, and a launch's comparison."""

import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.records import PREDICTIONS
from orchestrator.tracking.moved import now_at
from orchestrator.tracking.names import LONGEST_TAG, as_text, escape_metric, storable
from orchestrator.tracking.tags import NOTE, VERDICT

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# What is sent, in the trial folder's own names; the rest is only needed to resume.
SENT = ("spec.json", "metrics.csv", "outcome.json", "facts.json", "records.jsonl", PREDICTIONS)
BEST = "checkpoints/best.pt"
REPORT_FILE = "report.html"
REPORT_FOLDERS = ("figures", "tables")
TRACEBACK = "traceback.txt"  # of a trial whose code raised
COMPARISON = "comparison.html"  # of the launch's own run
WALL_SECONDS = "wall_seconds"  # a metric of the launch's own run
# What is above it in a launch's note is the experiment's own description, which may hold rules like this one.
MARK = "\n\n---\n\n<!-- the verdict -->\n\n"


def artifacts_of(client: "MlflowClient", run: "Run") -> Any:
    """MLflow's ArtifactRepository of ``run``; the client itself would ask the store for the whole run each time."""
    return artifacts_at(client, str(run.info.artifact_uri))


def artifacts_at(client: "MlflowClient", address: str) -> Any:
    """MLflow's ArtifactRepository of what the store has at ``address``, wherever that is now.

    Whatever reads or sends artifacts begins here: MLflow's client goes to the address in the store, which is another
    one while a launch runs that sees the same store at another path.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(now_at(client.tracking_uri, address), client.tracking_uri)


def log_folder(artifacts: Any, folder: Path) -> None:
    """Send the files of an ended trial; sending them again replaces them."""
    for name in (*SENT, BEST):
        if (folder / name).is_file():
            artifacts.log_artifact(str(folder / name), "checkpoints" if name == BEST else None)


def log_report(artifacts: Any, folder: Path) -> None:
    """Send the report in a trial folder; sending it again replaces it."""
    for name in REPORT_FOLDERS:
        if (folder / name).is_dir():
            artifacts.log_artifacts(str(folder / name), name)
    artifacts.log_artifact(str(folder / REPORT_FILE))


def log_traceback(client: "MlflowClient", run: "Run", traceback: str) -> None:
    """Store ``traceback`` as a file of the run; an empty one removes that of an earlier attempt."""
    if traceback:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / TRACEBACK
            file.write_text(as_text(traceback), encoding="utf-8")
            artifacts_of(client, run).log_artifact(str(file))
        return
    with suppress(Exception):  # a store may not allow removal, which must not prevent the trial's end
        artifacts = artifacts_of(client, run)
        if TRACEBACK in {artifact.path for artifact in artifacts.list_artifacts()}:
            artifacts.delete_artifacts(TRACEBACK)


def log_comparison(
    client: "MlflowClient", parent_run_id: str, sentence: str, folder: Path, metrics: Mapping[str, float]
) -> None:
    """Store the files of the comparison in ``folder``, the verdict's ``sentence`` and ``metrics`` in the launch's run.

    Calling it again replaces them, except for the wall time, which is added up.
    """
    from mlflow.entities import Metric

    run = client.get_run(parent_run_id)
    artifacts_of(client, run).log_artifacts(str(folder))
    wall_seconds = run.data.metrics.get(WALL_SECONDS, 0.0) + metrics.get(WALL_SECONDS, 0.0)
    history = client.get_metric_history(parent_run_id, WALL_SECONDS)  # written with all others
    now = max([int(1000 * time.time()), *(1 + metric.timestamp for metric in history)])  # MLflow shows the latest
    measured = [
        Metric(escape_metric(name), value, now, 0) for name, value in {**metrics, WALL_SECONDS: wall_seconds}.items()
    ]
    client.log_batch(parent_run_id, metrics=measured)
    link = f"#/experiments/{run.info.experiment_id}/runs/{parent_run_id}/artifacts/{COMPARISON}"
    opens = f" [**Open the comparison**]({link}): intervals, every pair of variants, curves, costs."
    note = MARK + storable(sentence, LONGEST_TAG - len(MARK) - len(opens)) + opens
    begun = run.data.tags.get(NOTE, "").partition(MARK)[0].rstrip()
    client.set_tag(parent_run_id, VERDICT, storable(sentence))
    client.set_tag(parent_run_id, NOTE, begun[: LONGEST_TAG - len(note)] + note)
