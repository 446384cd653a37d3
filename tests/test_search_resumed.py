"""A search by TPE under ASHA, killed again and again: the suggestions, weights and records of one left alone."""

from pathlib import Path

import pytest
from driving import orchestrator
from patience import PATIENCE

EXPERIMENT = """
name: tuned
variants: ["{networks}:Tiny"]
dataset: {{name: "{data}"}}
trainer: {{epochs: 40, batch_size: 16}}
search:
  name: tpe
  samples: 12
  concurrency: 2
  space:
    trainer.optimizer.lr: {{loguniform: [0.001, 1.0]}}
    arguments.width: {{randint: [2, 9]}}
scheduler: {{name: asha, grace_period: 5, reduction_factor: 2}}
resources: {{max_concurrent_trials: 1}}  # ASHA decides by what has come before: in one order
tracking: {{reports: none, models: none}}
"""


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(13_000)  # seconds, for what waits ten times as long as usual
def test_a_search_killed_ten_times_is_what_it_would_have_been(tmp_path: Path, network_file: Path, packed: Path) -> None:
    (tmp_path / "tuned.yaml").write_text(EXPERIMENT.format(networks=network_file, data=packed))
    done = orchestrator(
        "verify-resume", "tuned.yaml", "--kills", "10", "--seed", "3", cwd=tmp_path, timeout=10 * PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "weights, records and MLflow's content are equal, bit for bit" in done.stdout
