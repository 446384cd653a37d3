"""What survives a power cut: the copy that is promised is synced, once, and what is thrown away is not."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import make_dataset

from orchestrator.files import append_line, sync_folder, unsynced, write_text
from orchestrator.scheduling.worker import TrialWorker
from orchestrator.spec import Recipe, TrialSpec
from orchestrator.trial import TrialFolder, run_trial


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The files and folders that have been synced, as they were called then."""
    seen: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def test_a_file_and_its_name_are_synced_unless_they_are_thrown_away(synced: list[Path], tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x")
    append_line(tmp_path / "log", "x")
    assert {tmp_path, tmp_path / "log"} < set(synced)
    synced.clear()
    with unsynced():
        write_text(tmp_path / "a", "y")
        append_line(tmp_path / "log", "y")
    assert synced == []
    assert (tmp_path / "a").read_text() == "y"
    write_text(tmp_path / "a", "z")
    assert synced


def test_a_folder_is_synced_with_all_that_is_in_it(synced: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    for file in (folder / "a", folder / "inner" / "b"):
        file.write_text("x")
    sync_folder(folder)
    assert set(synced) == {tmp_path, folder, folder / "a", folder / "inner", folder / "inner" / "b"}


def test_a_worker_trains_unsynced_and_hands_over_each_state_once(
    synced: list[Path], network_file: Path, tmp_path: Path
) -> None:
    spec = TrialSpec(variant=f"{network_file}:Tiny", trainer=Recipe(epochs=3, batch_size=32))
    worker = object.__new__(TrialWorker)
    worker.folder = tmp_path / "scratch"
    running = run_trial(spec, make_dataset(), worker.folder)
    for epoch in (1, 2):
        with unsynced():
            next(running)
        kept = tmp_path / f"kept-{epoch}"
        worker.save_checkpoint(str(kept))
        folder = TrialFolder(kept)
        assert not folder.previous.exists()
        assert folder.last.samefile(TrialFolder(worker.folder).last)  # not a second time on the disk
        assert not (kept / "records.jsonl").samefile(worker.folder / "records.jsonl")  # more is written to it
    assert synced == []
    running.close()
    assert [len(TrialFolder(tmp_path / f"kept-{epoch}").records()) for epoch in (1, 2)] == [1, 2]
    assert [TrialFolder(tmp_path / f"kept-{epoch}").checkpoint()["epoch"] for epoch in (1, 2)] == [1, 2]
