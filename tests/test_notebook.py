"""The notebook of the documentation runs from its first cell to its last, in a real kernel."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from patience import PATIENCE

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


@pytest.mark.slow
@pytest.mark.ray
def test_the_notebook_runs_and_shows_what_it_shows_in_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    notebook = nbformat.read(NOTEBOOK, 4)
    kept = [shown(cell) for cell in notebook.cells]
    assert sum(map(len, kept)) >= 8
    assert len(json.dumps(notebook)) < 300_000
    NotebookClient(notebook, timeout=PATIENCE, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for before, cell in zip(kept, notebook.cells, strict=True):
        assert before <= shown(cell), cell.source
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "epoch 1/" not in text  # a table that is updated in place, no scroll of lines


def shown(cell: nbformat.NotebookNode) -> set[str]:
    """The kinds of what a cell has shown."""
    return {kind for output in cell.get("outputs", []) for kind in (output.get("data") or {"text": ""})}
