"""`orchestrator ui`: it says where the experiments are, also those that appear later, and nothing of its libraries."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from driving import page
from patience import PATIENCE
from recording import open_runs

from orchestrator.errors import TrackingError
from orchestrator.spec import Plan
from orchestrator.tracking import ui


@pytest.mark.slow
def test_experiments_that_appear_are_told_and_libraries_are_not(tmp_path: Path, plan: Plan) -> None:
    output = tmp_path / "ui.txt"
    with page(tmp_path) as (url, _):
        assert "/#/experiments/" not in output.read_text()
        runs = open_runs(f"sqlite:///{tmp_path / 'mlflow.db'}", plan)
        expected = f"  exp: {url}/#/experiments/{runs.experiment_id}/runs?viewStateShareKey=results"
        deadline = time.monotonic() + PATIENCE
        while expected not in (lines := output.read_text().splitlines()):
            assert time.monotonic() < deadline, lines
            time.sleep(0.3)
    assert output.read_text().splitlines() == [
        f"MLflow shows sqlite:///mlflow.db at {url} (Ctrl-C stops it)",
        expected,
    ]


@pytest.mark.slow
def test_the_page_of_a_moved_project_has_its_artifacts(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "old").mkdir()
    runs = open_runs(f"sqlite:///{tmp_path / 'old' / 'mlflow.db'}", plan)
    runs.client.log_text(runs.parent_run_id, "the page", "comparison.html")
    runs.client.set_terminated(runs.parent_run_id)
    (tmp_path / "old").rename(tmp_path / "new")
    with page(tmp_path / "new") as (url, _):
        asked = f"{url}/get-artifact?run_uuid={runs.parent_run_id}&path=comparison.html"
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            assert answer.read() == b"the page"


def test_a_server_that_ends_by_itself_says_why(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(uri: str, port: int) -> "subprocess.Popen[str]":
        code = "import sys; print('no such setting'); sys.exit(3)"
        return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr(ui, "_start", start)
    said: list[str] = []
    with pytest.raises(TrackingError, match=r"exit code 3\nno such setting"):
        ui.serve(uri, 0, said.append)
    assert len(said) == 1
