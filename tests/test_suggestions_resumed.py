"""A launch with TPE whose driver is killed suggests, after it is resumed, what it would have suggested."""

from pathlib import Path

import pytest
from driving import driver, orchestrator, wait_for

from orchestrator.workflow.verify import compare, content, kill_driver

SEARCH = """
name: small
variants: ["{networks}:Tiny"]
seeds: [0, 1]
dataset: {{name: "{data}"}}
trainer: {{epochs: 2, batch_size: 32}}
search: {{name: tpe, samples: 5, concurrency: 2, space: {{trainer.optimizer.lr: {{loguniform: [0.001, 0.5]}}}}}}
tracking: {{models: none, reports: none}}
"""


def suggestions(folder: Path) -> list[str]:
    [log] = folder.glob("storage/small/*/suggestions.jsonl")
    return log.read_text().splitlines()


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_search_goes_on_as_if_nothing_had_happened(tmp_path: Path, network_file: Path, packed: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
        (folder / "search.yaml").write_text(SEARCH.format(networks=network_file, data=packed))
    run = orchestrator("run", "search.yaml", cwd=undisturbed)
    assert run.returncode == 0, run.stderr
    with driver(killed, "run", "search.yaml") as process:
        wait_for(killed, process, ": complete")
        kill_driver(process)
    with driver(killed, "run", "search.yaml") as process:
        assert process.wait() == 0, (killed / "output.txt").read_text()
    assert compare(content(undisturbed, "small"), content(killed, "small")) == []
    assert suggestions(killed) == suggestions(undisturbed)
    assert len(suggestions(killed)) == 5
