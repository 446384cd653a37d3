"""Reports and models are made beside the trials; killed in between, the next command makes what is missing."""

import json
import os
import signal
import subprocess
import sys
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

NETWORKS = """
import os, sys
from pathlib import Path

import torch
from networks import Tiny

class Exported(Tiny):
    '''Writes down which process exports it.'''

    def forward(self, x):
        if torch.compiler.is_exporting():
            Path({place!r}).write_text(str(os.getpid()))
        return super().forward(x)

class Lacking(Tiny):
    '''Can be trained, and not exported.'''

    def forward(self, x):
        if torch.compiler.is_exporting():
            raise KeyError("planted in forward")
        return super().forward(x)

class Unbuilt(Tiny):
    '''Can be trained, and not built where reports are made.'''

    def load_state_dict(self, *arguments, **settings):
        if "matplotlib" in sys.modules:
            raise IndexError("planted in a report")
        return super().load_state_dict(*arguments, **settings)
"""
DRIVER = """
import json, os, sys
from pathlib import Path
from orchestrator.cli import main
try:
    main(["run", "small.yaml"])
finally:
    niceness = sorted({os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in Path("/proc/self/task").iterdir()})
    told = {"pid": os.getpid(), "niceness": niceness, "matplotlib": "matplotlib" in sys.modules}
    Path("driver.json").write_text(json.dumps(told))
"""


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of each thread's priority")
def test_what_fails_in_a_report_costs_a_warning_and_nothing_is_made_in_the_driver(
    tmp_path: Path, network_file: Path, packed: Path
) -> None:
    (network_file.parent / "planted.py").write_text(NETWORKS.format(place=str(tmp_path / "exported")))
    names = [f"{network_file.parent / 'planted.py'}:{name}" for name in ("Exported", "Lacking", "Unbuilt")]
    (tmp_path / "small.yaml").write_text(
        "name: small\nseeds: [0]\ntracking: {models: all}\ntrainer: {epochs: 2, batch_size: 32}\n"
        + json.dumps({"variants": names, "dataset": {"name": str(packed)}})[1:-1].replace('], "', ']\n"')
    )
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "planted in forward" in said
    assert "planted in a report" in said
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    parent, _, _ = find_launch(client, "small")
    runs = children(client, client.get_run(parent).info.experiment_id, parent)
    told = {run.data.tags["variant"]: (run.data.tags["report"], run.data.tags["model"]) for run in runs}
    assert told == {
        "Exported": ("made", "made"),
        "Lacking": ("made", "cannot be made"),
        "Unbuilt": ("cannot be made", "cannot be made"),
    }
    assert {run.info.status for run in [*runs, client.get_run(parent)]} == {"FINISHED"}
    assert "comparison.html" in {a.path for a in client.list_artifacts(parent)}
    driver = json.loads((tmp_path / "driver.json").read_text())
    assert (driver["niceness"], driver["matplotlib"]) == ([0], False)
    assert int((tmp_path / "exported").read_text()) != driver["pid"]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("moment", ["complete", "Tiny has"])
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
