"""Trials that another launch has trained already: the same specification gives the same weights, so they are copied."""

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import OrchestratorError, StorageError
from orchestrator.files import sync, sync_folder, write_folder, write_json
from orchestrator.records import THEN, TORCH_VERSION, Status
from orchestrator.scheduling.launch_file import read_all
from orchestrator.scheduling.launch_folder import TAKEN_OVER, LaunchFolder, is_progress_file
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import TrialSpec
from orchestrator.training.device import compute_modes
from orchestrator.trial import TrialFolder

ASIDE = "aside"  # of a launch's folder: copies whose places are those of other trials, until all are made


def take_over(
    folder: LaunchFolder,
    wanted: Collection[TrialSpec],
    storage: Storage,
    torch_version: str,
    mode_of: Callable[[TrialSpec], str | None] | None = None,
) -> list[str]:
    """Copy into ``folder`` those of ``wanted`` that launches in ``storage`` have completed; returns their names.

    The launch itself is one of them: a variant that gets another name is not trained again, not even if that was
    another's name until now.
    Left is what may differ from what this launch would train: what another version of torch has trained, and what was
    computed in another precision or on another kind of device than ``mode_of`` says of this launch's trials. Without
    ``mode_of`` that is not known before they run: all are as the launch's own are, or as the first that is taken. Left
    is what is damaged, too. In an object store only launches of the same experiment are searched. Nothing is taken over
    by a launch that is to train everything again.
    """
    if not wanted or folder.content().get("again"):
        return []
    missing: dict[str, list[TrialSpec]] = {}
    for spec in wanted:
        missing.setdefault(spec.weights_identity(), []).append(spec)
    taken: dict[str, Path] = {}  # by name, where the copy is
    alike = _ComputedAlike(mode_of, folder.path)

    def take(path: Path, is_own: bool) -> None:
        for spec in list(missing.get(identity := _identity(path), ())):
            copied = _copied(path, folder, spec, storage) if is_own or alike.accepts(path, spec) else None
            if copied is not None:
                alike.add(path, spec)
                missing[identity].remove(spec)
                taken[spec.name] = copied

    unmeasured: list[tuple[Path, bool]] = []  # of a search: whoever compares such a trial has to evaluate it first
    for launch in _launches(folder, storage):
        if len(taken) == len(wanted):
            break
        storage.fetch(launch, lambda name: is_progress_file(name) or name.endswith("/facts.json"))
        for path in _complete(launch, torch_version):
            if _is_measured(path):
                take(path, launch == folder.path)
            else:
                unmeasured.append((path, launch == folder.path))
    for path, is_own in unmeasured:
        take(path, is_own)
    _put_in_place(taken, folder, storage)
    return list(taken)


class _ComputedAlike:
    """Which trials were computed like those of this launch: in the same precision, on the same kind of device."""

    def __init__(self, mode_of: Callable[[TrialSpec], str | None] | None, launch: Path) -> None:
        self.mode_of = mode_of
        self.known: dict[tuple[str, str], set[str]] = {}  # by precision and device of the recipe, which may be auto
        for path in (path.parent for path in (launch / "trials").rglob("outcome.json")) if mode_of is None else ():
            with suppress(StorageError):
                self.add(path, TrialFolder(path).spec())

    def accepts(self, trial: Path, spec: TrialSpec) -> bool:
        """Whether the trial in this folder may be one of the launch's."""
        mode = THEN.join(compute_modes(_json(trial / "facts.json")))
        if self.mode_of is not None:
            return mode == self.mode_of(spec)
        known = self.known.get(_recipe(spec))
        return mode in known if known else THEN not in mode

    def add(self, trial: Path, spec: TrialSpec) -> None:
        """Note that the trial in this folder is one of the launch's."""
        self.known.setdefault(_recipe(spec), set()).update(compute_modes(_json(trial / "facts.json")))


def _recipe(spec: TrialSpec) -> tuple[str, str]:
    return spec.trainer.precision, spec.trainer.device


def origin(trial: Path) -> str | None:
    """The launch that the trial in the folder ``trial`` was taken over from, as ``experiment/launch``."""
    try:
        content = json.loads((trial / TAKEN_OVER).read_text(encoding="utf-8"))
        return f"{content['experiment']}/{content['launch']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _launches(folder: LaunchFolder, storage: Storage) -> Iterator[Path]:
    """The folders of all launches: the launch's own, then the others, the newest first."""
    yield folder.path
    parents = [folder.path.parent]
    if storage.uri is None:
        parents += sorted(p for p in storage.root.iterdir() if p.is_dir() and p.name[0] != "." and p not in parents)
    found = []
    for parent in parents:
        try:
            found += [(content["created"], path.parent) for path, content in read_all(parent)]
        except StorageError:  # a damaged one of another experiment: whoever runs that is told
            continue
    yield from (path for _, path in sorted(found, reverse=True) if path.resolve() != folder.path.resolve())


def _complete(launch: Path, torch_version: str) -> Iterator[Path]:
    for path in sorted([*(launch / "trials").rglob("outcome.json"), *(launch / ASIDE).rglob("outcome.json")]):
        outcome, facts = _json(path), _json(path.with_name("facts.json"))
        machine = facts.get("machine")
        same = isinstance(machine, Mapping) and machine.get(TORCH_VERSION) == torch_version
        if same and outcome.get("status") == Status.COMPLETE:
            yield path.parent


def _identity(trial: Path) -> str:
    try:
        return TrialFolder(trial).spec().weights_identity()
    except StorageError:
        return ""


def _is_measured(trial: Path) -> bool:
    try:
        return TrialFolder(trial).is_measured()
    except StorageError:
        return False


def _copied(source: Path, folder: LaunchFolder, spec: TrialSpec, storage: Storage) -> Path | None:
    """Copy one trial, as this launch calls it, unless it is damaged; the copy is whole, or absent. Returns its path.

    If another trial lies in its place, which may be wanted itself, that is aside.
    """
    target = folder.trial(spec.name)
    try:
        storage.fetch(source)
        if target.exists():
            if TrialFolder(target).spec().identity() == spec.identity():
                return None
            target = folder.path / ASIDE / spec.name
        if not TrialFolder(source).is_intact():
            return None
        from_launch = source.relative_to(storage.root).parts[:2]

        def copy(partial: Path) -> None:
            TrialFolder(source).copy_to(partial)
            TrialFolder(partial).renew(spec)
            if not (partial / TAKEN_OVER).exists():  # it may have come from yet another one
                write_json(partial / TAKEN_OVER, dict(zip(("experiment", "launch"), from_launch, strict=True)))

        write_folder(target, copy)
        sync_folder(target)
        if target == folder.trial(spec.name):
            storage.push(target)
    except OrchestratorError:
        return None
    return target


def _put_in_place(taken: Mapping[str, Path], folder: LaunchFolder, storage: Storage) -> None:
    """Let the copies made aside replace what lies in their places, now that all that is wanted of it is copied.

    What is killed meanwhile leaves the others aside, where the next attempt finds them.
    """
    for name, copied in taken.items():
        if copied != (target := folder.trial(name)):
            shutil.rmtree(target, ignore_errors=True)
            copied.rename(target)
            sync(target.parent)
            storage.push(target)
    shutil.rmtree(folder.path / ASIDE, ignore_errors=True)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
