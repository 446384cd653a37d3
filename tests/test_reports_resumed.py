"""Reports and models are made beside the trials; killed in between, the next command makes what is missing."""

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import psutil
import pytest
from driving import ORCHESTRATOR, driver, wait_for
from patience import PATIENCE

from orchestrator.tracking.read import find_launch
from orchestrator.tracking.runs import children
from orchestrator.tracking.store import connect

EXPERIMENT = """
name: small
variants: ["{networks}:Tiny"]
seeds: [0, 1, 2, 3, 4, 5]
dataset: {{name: "{data}"}}
trainer: {{epochs: 2, batch_size: 32}}
tracking: {{models: all}}
"""


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("moment", ["complete", "Tiny is best"])
def test_killed_while_reports_are_made(moment: str, tmp_path: Path, network_file: Path, packed: Path) -> None:
    """Killed when the first trial is complete, and when the comparison has been printed: its last reports are due."""
    (tmp_path / "small.yaml").write_text(EXPERIMENT.format(networks=network_file, data=packed))
    with driver(tmp_path, "run", "small.yaml") as process:
        text = wait_for(tmp_path, process, "seed-0: complete" if moment == "complete" else moment)
        family = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE)
        for child in family:
            if child.is_running():
                child.kill()
    assert "trial folders:" not in text, "it was over before it was killed"
    again = subprocess.run(
        [ORCHESTRATOR, "run", "small.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert again.returncode == 0, again.stderr
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    parent, _, _ = find_launch(client, "small")
    runs = children(client, client.get_run(parent).info.experiment_id, parent)
    assert Counter(run.data.tags["trial"] for run in runs) == {f"Tiny/seed-{seed}": 1 for seed in range(6)}
    for run in runs:
        assert (run.info.status, run.data.tags["report"], run.data.tags["model"]) == ("FINISHED", "made", "made")
        assert {"report.html", "figures", "tables"} <= {a.path for a in client.list_artifacts(run.info.run_id)}
        filed = f"source_run_id = '{run.info.run_id}'"
        models = client.search_logged_models([run.info.experiment_id], filter_string=filed)
        assert [str(model.status) for model in models] == ["READY"]
    for seed in range(6):
        [folder] = tmp_path.glob(f"storage/small/*/trials/Tiny/seed-{seed}")
        assert (folder / "report.html").is_file()
        assert (folder / "model" / "MLmodel").is_file()
    last = subprocess.run(
        [ORCHESTRATOR, "run", "small.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "already complete, nothing to train" in last.stdout
