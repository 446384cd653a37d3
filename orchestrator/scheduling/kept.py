"""The checkpoints of trials that have not ended: where their workers keep them, and how the newest whole one is found.

``<launch>/tune-N/<trial>/checkpoint_M`` is a trial folder as it was after an epoch, complete in itself; the newest two
of each trial are kept.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from orchestrator.errors import CheckpointError, StorageError
from orchestrator.files import sync_folder, write_folder
from orchestrator.records import Status
from orchestrator.scheduling.mirror import FOLDERS, Storage
from orchestrator.spec import Plan, TrialSpec
from orchestrator.trial import TrialFolder

ATTEMPT = "tune-"  # Ray's own folder of each attempt at a launch: tune-1, tune-2, ...
CHECKPOINT = "checkpoint_"
NEWEST = 2  # checkpoints of one trial


def keep(folder: Path, place: Path, storage: Storage = FOLDERS) -> Path:
    """Keep the trial folder ``folder`` as it is now as the newest checkpoint in ``place``, durably; returns that.

    Its files are hard links where the file system has them, and synced; an object store answers when they are safe.
    Older checkpoints but one are removed. Raises StorageError if the store cannot be written.
    """
    before = kept(place, storage)
    number = 1 + max((int(path.name.removeprefix(CHECKPOINT)) for path in before), default=-1)
    target = place / f"{CHECKPOINT}{number:06d}"

    def copy(partial: Path) -> None:
        TrialFolder(folder).copy_to(partial)
        if not (partial / "spec.json").exists():
            raise StorageError(f"{folder} is gone: another worker has taken the trial up")

    write_folder(target, copy)
    if storage.uri is None:
        sync_folder(target)
    storage.push(target)
    for path in before[NEWEST - 1 :]:
        storage.remove(path)
    return target


def kept(place: Path, storage: Storage = FOLDERS) -> list[Path]:
    """The checkpoints in ``place``, the newest first."""
    names = (name for name in storage.children(place) if name.startswith(CHECKPOINT))
    return [place / name for name in sorted(names, reverse=True)]


def newest_whole(candidates: Iterable[Path], spec: TrialSpec, storage: Storage = FOLDERS) -> Path | None:
    """The first of ``candidates`` that holds the trial ``spec``, undamaged, brought here; None if none does."""
    for candidate in candidates:
        storage.fetch(candidate)
        if _is_whole(candidate, spec):
            return candidate
    return None


def checkpoints(
    folder: Path, plan: Plan, finished: Collection[str] = (), storage: Storage = FOLDERS
) -> dict[str, Path]:
    """For every trial that an earlier attempt left unfinished: the folder of its newest whole checkpoint.

    Checkpoints are read and verified; nothing of the trials named in ``finished`` is.
    """
    found, attempts = {}, {path: storage.children(path) for path in attempts_at(folder, storage)}
    for spec in (spec for spec in plan.trials if spec.name not in finished):
        name = directory(spec.name)
        candidates = (path for a, trials in attempts.items() if name in trials for path in kept(a / name, storage))
        home = folder / "trials" / spec.name  # where a failed trial lies
        if (newest := newest_whole((*candidates, home), spec, storage)) is not None:
            found[spec.name] = newest
    return found


def attempts_at(folder: Path, storage: Storage = FOLDERS) -> list[Path]:
    """Ray's folders of all attempts at the launch in ``folder``, the newest first."""
    numbers = (name.removeprefix(ATTEMPT) for name in storage.children(folder) if name.startswith(ATTEMPT))
    return [folder / f"{ATTEMPT}{number}" for number in sorted((int(n) for n in numbers if n.isdigit()), reverse=True)]


def directory(name: str) -> str:
    """A trial's name as one folder name."""
    return name.replace("/", "_")


def _is_whole(folder: Path, spec: TrialSpec) -> bool:
    trial = TrialFolder(folder)
    try:
        if trial.spec().identity() != spec.identity() or not (trial.last.exists() or trial.previous.exists()):
            return False
        ended = trial.outcome()  # a failed one may have stopped anywhere between its files
        if ended is not None and ended.status is Status.FAILED:
            return trial.checkpoint() is not None
        return trial.is_intact()
    except (StorageError, CheckpointError):
        return False
