"""Checkpoints of trials that have not ended: workers save them here, and the newest intact one is found again.

``<launch>/tune-N/<trial>/checkpoint_M`` is a trial folder as it was after an epoch, complete in itself; each trial
keeps its newest two.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from orchestrator.errors import CheckpointError, StorageError
from orchestrator.files import sync_folder, write_folder
from orchestrator.records import Status
from orchestrator.scheduling.storage import FOLDERS, Storage
from orchestrator.spec import Plan, TrialSpec
from orchestrator.trial import TrialFolder

ATTEMPT = "tune-"  # Ray's own folder of each attempt at a launch: tune-1, tune-2, ...
CHECKPOINT = "checkpoint_"
NEWEST = 2  # checkpoints of one trial


def save_checkpoint(folder: Path, place: Path, storage: Storage = FOLDERS) -> Path:
    """Save the trial folder ``folder`` as the newest checkpoint in the folder ``place``; returns its path.

    Its files are hard links where the file system has them, and are synced; on an object store they are uploaded.
    All checkpoints but the newest two are deleted. Raises StorageError if the store cannot be written.
    """
    before = list_checkpoints(place, storage)
    number = 1 + max((int(path.name.removeprefix(CHECKPOINT)) for path in before), default=-1)
    target = place / f"{CHECKPOINT}{number:06d}"

    def copy(partial: Path) -> None:
        TrialFolder(folder).copy_to(partial)
        if not (partial / "spec.json").exists():
            raise StorageError(f"{folder} is gone: another worker has resumed the trial")

    write_folder(target, copy)
    if storage.uri is None:
        sync_folder(target)
    storage.push(target)
    for path in before[NEWEST - 1 :]:
        storage.remove(path)
    return target


def list_checkpoints(place: Path, storage: Storage = FOLDERS) -> list[Path]:
    """The checkpoints in ``place``, the newest first."""
    names = (name for name in storage.children(place) if name.startswith(CHECKPOINT))
    return [place / name for name in sorted(names, reverse=True)]


def newest_intact(candidates: Iterable[Path], spec: TrialSpec, storage: Storage = FOLDERS) -> Path | None:
    """The first of ``candidates`` that holds the trial ``spec``, undamaged, brought here; None if none does."""
    for candidate in candidates:
        storage.fetch(candidate)
        if _is_intact(candidate, spec):
            return candidate
    return None


def find_checkpoints(
    folder: Path, plan: Plan, finished: Collection[str] = (), storage: Storage = FOLDERS
) -> dict[str, Path]:
    """For every trial that an earlier attempt left unfinished: the folder of its newest whole checkpoint.

    Checkpoints are read and verified; nothing of the trials named in ``finished`` is.
    """
    found, attempts = {}, {path: storage.children(path) for path in list_attempts(folder, storage)}
    for spec in (spec for spec in plan.trials if spec.name not in finished):
        name = directory_name(spec.name)
        places = (attempt / name for attempt, trials in attempts.items() if name in trials)
        candidates = (path for place in places for path in list_checkpoints(place, storage))
        failed = folder / "trials" / spec.name  # where a failed trial lies
        if (newest := newest_intact((*candidates, failed), spec, storage)) is not None:
            found[spec.name] = newest
    return found


def list_attempts(folder: Path, storage: Storage = FOLDERS) -> list[Path]:
    """Ray's folders of all attempts at the launch in ``folder``, the newest first."""
    numbers = (name.removeprefix(ATTEMPT) for name in storage.children(folder) if name.startswith(ATTEMPT))
    return [folder / f"{ATTEMPT}{number}" for number in sorted((int(n) for n in numbers if n.isdigit()), reverse=True)]


def directory_name(name: str) -> str:
    """A trial's name as one folder name."""
    return name.replace("/", "_")


def _is_intact(folder: Path, spec: TrialSpec) -> bool:
    trial = TrialFolder(folder)
    try:
        if trial.spec().identity() != spec.identity():
            return False
        ended = trial.outcome()  # a failed one may have stopped anywhere between its files
        resumable = trial.last.exists() or trial.previous.exists()
        if not resumable and (ended is None or ended.status is not Status.COMPLETE):  # that one is only evaluated
            return False
        if ended is not None and ended.status is Status.FAILED:
            return trial.checkpoint() is not None
        return trial.is_intact()
    except (StorageError, CheckpointError):
        return False
