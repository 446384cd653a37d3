"""Reports and models of a search: made when the chosen settings have been measured, of every trial if that is asked."""

import json
from pathlib import Path

import pytest
from driving import orchestrator

from orchestrator import records as keys
from orchestrator.tracking.store import connect
from orchestrator.tracking.tags import MODEL, REPORT

SEARCH = """
name: small
variants: ["{networks}:Tiny"]
dataset: {{name: "{data}"}}
trainer: {{epochs: 2, batch_size: 32}}
search: {{samples: 2, space: {{trainer.optimizer.lr: {{choice: [0.00001, 0.3]}}}}}}
tracking: {{models: all, reports: all}}
"""


@pytest.mark.slow
@pytest.mark.ray
def test_reports_and_models_of_all_trials_know_what_was_measured(
    tmp_path: Path, network_file: Path, packed: Path
) -> None:
    (tmp_path / "search.yaml").write_text(SEARCH.format(networks=network_file, data=packed))
    run = orchestrator("run", "search.yaml", "--json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    rows = json.loads(run.stdout)["trials"]
    assert sorted(row["test_accuracy"] is not None for row in rows) == [False, True]
    for row in rows:
        [folder] = tmp_path.glob(f"storage/small/*/trials/{row['trial']}")
        measured = row["test_accuracy"] is not None
        made = client.get_run(row["run_id"])
        assert {name: made.data.tags.get(name) for name in (REPORT, MODEL)} == {REPORT: "made", MODEL: "made"}
        assert (folder / "report.html").exists()
        assert (folder / "model").is_dir()
        assert any((folder / "tables").glob("*classification*")) is measured
        [output] = made.outputs.model_outputs
        logged = client.get_logged_model(output.model_id)
        assert (keys.TEST_ACCURACY in {metric.key for metric in logged.metrics or []}) is measured
