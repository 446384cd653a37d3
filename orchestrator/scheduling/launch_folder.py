"""The storage folder: ``<storage>/<experiment>/<launch>/trials/<trial>``; nothing in it is ever overwritten."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from orchestrator.errors import StorageError
from orchestrator.files import write_json
from orchestrator.records import Status
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import Plan
from orchestrator.spec.experiment import name_problem
from orchestrator.spec.fields import to_json

RUNGS = "rungs.jsonl"  # what the scheduler has decided of each trial
SHARE = "share.json"  # how many trials share a GPU, and what that was found by
# Files that say how far it is, and how it goes on.
PROGRESS_FILES = ("launch.json", RUNGS, SHARE, "spec.json", "outcome.json", "records.jsonl")
DIGITS = 8  # of the plan's hash, in a launch's name


@dataclass(frozen=True)
class LaunchFolder:
    """One launch's folder."""

    path: Path

    @property
    def name(self) -> str:
        """The launch's name: the first digits of its plan's hash, and a count where it was asked for again."""
        return self.path.name

    @property
    def id(self) -> str | None:
        """What tells this launch from every other, of the same plan too; none for those that earlier versions began."""
        [(_, content)] = _read_all(self.path.parent, self.path.name)
        return content.get("id")

    def check_plan(self, plan: Plan) -> None:
        """Raise StorageError if this launch was begun with another plan: what it holds would not belong together."""
        [(path, content)] = _read_all(self.path.parent, self.path.name)
        if content["identity"] != plan.identity():
            raise StorageError(
                f"{path} was begun with other settings, data or network source than there are now; "
                "bring those back, or begin a new launch with `orchestrator run`"
            )

    def fetch(self, storage: Storage) -> None:
        """Fetch the files that say how far the launch is; no weights and no reports of its trials."""
        storage.fetch(self.path, _is_progress_file)

    def trial(self, name: str) -> Path:
        """Where the finished trial called ``name`` lies."""
        return self.path / "trials" / name

    def finished(self, plan: Plan) -> dict[str, Status]:
        """The trials that need not be run again: complete, or stopped by the scheduler. Failed ones are tried again."""
        from orchestrator.trial import TrialFolder  # torch comes with it: who looks launches up does not need it

        found: dict[str, Status] = {}
        for spec in plan.trials:
            folder = TrialFolder(self.trial(spec.name))
            try:
                outcome = folder.outcome()
                same = outcome is not None and folder.spec().identity() == spec.identity()
            except StorageError:
                continue
            if outcome is not None and same and outcome.status in (Status.COMPLETE, Status.STOPPED):
                found[spec.name] = outcome.status
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the launch: two drivers on one launch would write over one another."""
        lock = FileLock(self.path / "launch.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as problem:
            raise StorageError(f"{self.path} is in use by another process; wait for it, or `run --again`") from problem
        try:
            yield
        finally:
            lock.release()


def _is_progress_file(name: str) -> bool:
    """Whether a file of a launch, relative to its folder, says how far that is."""
    first, *rest = PurePosixPath(name).parts
    return PurePosixPath(name).name in PROGRESS_FILES and (not rest or first == "trials")


def open_launch_folder(storage: Path, plan: Plan, again: bool = False) -> LaunchFolder:
    """The folder of this plan's launch: the one it was begun in, or a new one. Raises StorageError."""
    parent = storage / plan.experiment.name
    identity = plan.identity()
    taken = _launches(parent, identity)
    if taken and not again:
        return taken[-1]
    suffix = f"-{len(taken) + 1}" if taken else ""
    folder = LaunchFolder(parent / f"{identity[:DIGITS]}{suffix}")
    try:
        write_json(
            folder.path / "launch.json",
            {
                "id": uuid.uuid4().hex,
                "identity": identity,
                "created": time.time(),
                "experiment": to_json(plan.experiment),
            },
        )
    except OSError as problem:
        raise StorageError(f"{folder.path} cannot be written: {problem.strerror}") from problem
    return folder


def fetch_launches(storage: Storage, experiment: str) -> None:
    """Bring here what says which launches of ``experiment`` there are, if they are kept in another place."""
    if name_problem(experiment) is None:
        storage.fetch(storage.root / experiment, lambda name: PurePosixPath(name).match("*/launch.json"))


def newest_launch(storage: Path, experiment: str, launch: str | None = None) -> tuple[LaunchFolder, dict[str, Any]]:
    """The last launch of ``experiment``, or the one in the folder ``launch``, and its experiment as JSON values.

    Raises StorageError, which lists what there is, if there is none.
    """
    if problem := name_problem(experiment):
        raise StorageError(f"{experiment!r} is no experiment's name: {problem}")
    found = [(content["created"], path.parent, content) for path, content in _read_all(storage / experiment)]
    if not found:
        names = sorted(p.name for p in storage.iterdir() if p.is_dir() and p.name[0] != ".") if storage.is_dir() else []
        raise StorageError(
            f"{storage} holds no launch of {experiment!r}; it holds: {', '.join(names) or 'nothing'} (see --storage)"
        )
    if launch is not None and launch not in (there := [path.name for _, path, _ in found]):
        raise StorageError(f"{storage / experiment} holds no launch {launch!r}; it holds: {', '.join(there)}")
    _, path, content = max((item for item in found if launch in (None, item[1].name)), key=lambda item: item[0])
    if content["experiment"].get("name") != experiment:
        raise StorageError(f"{path / 'launch.json'}: damaged (not of {experiment!r}); move its folder away")
    return LaunchFolder(path), content["experiment"]


def _launches(parent: Path, identity: str) -> list[LaunchFolder]:
    found = [
        (content["created"], path.parent) for path, content in _read_all(parent) if content["identity"] == identity
    ]
    return [LaunchFolder(path) for _, path in sorted(found)]


def _read_all(parent: Path, launch: str = "*") -> list[tuple[Path, dict[str, Any]]]:
    found = []
    for path in sorted(parent.glob(f"{launch}/launch.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            for key, kinds in (("created", (int, float)), ("identity", str), ("experiment", dict)):
                if not isinstance(content[key], kinds):
                    raise ValueError(f"{key} is {type(content[key]).__name__}")
            given = content.get("id", "0")
            if not isinstance(given, str) or not given.isalnum():
                raise ValueError("id is not of letters and digits")
            found.append((path, content))
        except (ValueError, KeyError, TypeError, OSError, RecursionError) as problem:
            raise StorageError(f"{path}: damaged ({problem}); restore it or move its folder away") from problem
    return found
