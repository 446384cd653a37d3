"""Trials that another launch has trained already: the same specification gives the same weights, so they are copied."""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import OrchestratorError, StorageError
from orchestrator.files import sync_folder, write_folder, write_json
from orchestrator.records import Status
from orchestrator.scheduling.launch_file import read_all
from orchestrator.scheduling.launch_folder import TAKEN_OVER, LaunchFolder, is_progress_file
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import TrialSpec
from orchestrator.trial import TrialFolder

VERSION = "torch_version"  # of the machine that a trial was trained on


def take_over(folder: LaunchFolder, wanted: Collection[TrialSpec], storage: Storage, torch_version: str) -> list[str]:
    """Copy into ``folder`` those of ``wanted`` that launches in ``storage`` have completed; returns their names.

    The launch itself is one of them: a variant that gets another name is not trained again.
    What another version of torch has trained is left, since its weights may differ in the last bits, and so is what is
    damaged. In an object store only launches of the same experiment are searched. Nothing is taken over by a launch
    that is to train everything again.
    """
    if not wanted or folder.content().get("again"):
        return []
    missing: dict[str, list[TrialSpec]] = {}
    for spec in wanted:
        missing.setdefault(spec.weights_identity(), []).append(spec)
    taken: list[str] = []

    def take(path: Path) -> None:
        for spec in list(missing.get(identity := _identity(path), ())):
            if _copied(path, folder, spec, storage):
                missing[identity].remove(spec)
                taken.append(spec.name)

    unmeasured: list[Path] = []  # of a search: whoever compares such a trial has to evaluate it first
    for launch in _launches(folder, storage):
        if len(taken) == len(wanted):
            break
        storage.fetch(launch, lambda name: is_progress_file(name) or name.endswith("/facts.json"))
        for path in _complete(launch, torch_version):
            if _is_measured(path):
                take(path)
            else:
                unmeasured.append(path)
    for path in unmeasured:
        take(path)
    return taken


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
    for path in sorted((launch / "trials").rglob("outcome.json")):
        outcome, facts = _json(path), _json(path.with_name("facts.json"))
        machine = facts.get("machine")
        same = isinstance(machine, Mapping) and machine.get(VERSION) == torch_version
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


def _copied(source: Path, folder: LaunchFolder, spec: TrialSpec, storage: Storage) -> bool:
    """Copy one trial, as this launch calls it, unless it is damaged; it is whole in ``folder``, or absent."""
    target = folder.trial(spec.name)
    try:
        storage.fetch(source)
        if target.exists() or not TrialFolder(source).is_intact():
            return False
        from_launch = source.relative_to(storage.root).parts[:2]

        def copy(partial: Path) -> None:
            TrialFolder(source).copy_to(partial)
            write_json(partial / "spec.json", spec.to_json())
            if not (partial / TAKEN_OVER).exists():  # it may have come from yet another one
                write_json(partial / TAKEN_OVER, dict(zip(("experiment", "launch"), from_launch, strict=True)))

        write_folder(target, copy)
        sync_folder(target)
        storage.push(target)
    except OrchestratorError:
        return False
    return True


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
