"""What survives a power cut: the copy that is promised is synced, once, and what is thrown away is not."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import make_dataset

from orchestrator.errors import StorageError
from orchestrator.files import append_line, sync_folder, unsynced, write_text
from orchestrator.scheduling.checkpoints import list_checkpoints, newest_intact, save_checkpoint
from orchestrator.spec import Recipe, TrialSpec
from orchestrator.trial import BackgroundWriter, TrialFolder, run_trial


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


def test_states_are_written_unsynced_and_kept_once_and_durably(
    synced: list[Path], network_file: Path, tmp_path: Path
) -> None:
    spec = TrialSpec(variant=f"{network_file}:Tiny", trainer=Recipe(epochs=4, batch_size=32))
    place, working = tmp_path / "place", TrialFolder(tmp_path / "scratch")
    writer = BackgroundWriter(lambda: save_checkpoint(working.path, place))
    running = run_trial(spec, make_dataset(), working.path, writer=writer)
    for epoch in (1, 2, 3):
        synced.clear()
        with unsynced():
            next(running)
        writer.wait()
        newest, *older = list_checkpoints(place)
        assert {newest, *newest.rglob("*")} <= set(synced)
        assert not any(path.is_relative_to(working.path) for path in synced if path.suffix != ".pt")
        assert [path.name for path in (newest, *older)] == [f"checkpoint_00000{n - 1}" for n in (epoch, epoch - 1) if n]
        folder = TrialFolder(newest)
        assert not folder.previous.exists()
        assert folder.last.samefile(working.last)  # not a second time on the disk
        assert not (newest / "records.jsonl").samefile(working.path / "records.jsonl")  # more is written to it
        for path, count in zip((newest, *older), (epoch, epoch - 1), strict=False):
            assert len(TrialFolder(path).records()) == TrialFolder(path).checkpoint()["epoch"] == count
    running.close()


def test_a_worker_that_was_replaced_saves_no_checkpoint(network_file: Path, tmp_path: Path) -> None:
    spec = TrialSpec(variant=f"{network_file}:Tiny", trainer=Recipe(epochs=1, batch_size=32))
    list(run_trial(spec, make_dataset(), tmp_path / "scratch"))
    newest = save_checkpoint(tmp_path / "scratch", tmp_path / "place")
    shutil.rmtree(tmp_path / "scratch")
    with pytest.raises(StorageError, match="another worker has resumed the trial"):
        save_checkpoint(tmp_path / "scratch", tmp_path / "place")
    assert [path.name for path in (tmp_path / "place").iterdir()] == [newest.name]
    assert newest_intact(list_checkpoints(tmp_path / "place"), spec) == newest
