"""Recognise a complete launch without reading its data, building its networks or starting Ray."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from orchestrator.architectures.digest import unimported_digest
from orchestrator.data.dataset_files import files_fingerprint
from orchestrator.errors import OrchestratorError
from orchestrator.experiment.paths import absolute
from orchestrator.files import write_json
from orchestrator.scheduling.launch_file import LAUNCH_FILE, opened_at, read_all, takes_plan_of
from orchestrator.scheduling.launch_folder import LaunchFolder
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import Experiment, digest
from orchestrator.spec.fields import to_json
from orchestrator.spec.references import references
from orchestrator.version import __version__

MARK = "complete.json"  # of a launch's folder


class Complete(NamedTuple):
    """A launch that is marked as complete."""

    name: str  # in MLflow
    id: str | None  # what tells it from others of that name
    opened: float  # when a command last began to work on it, in seconds since 1970


def fingerprint(experiment: Experiment, data_dir: Path, uri: str) -> str | None:
    """What determines a launch and its page: settings, data files, network sources and their places, curve, store.

    None if one cannot be read.
    """
    try:
        drawn = references(to_json(experiment.search)) if experiment.search else ()
        sources = [
            *(unimported_digest(variant.name, variant.arguments) for variant in experiment.variants),
            *(unimported_digest(name) for name in drawn if ":" in name),
        ]
        data = files_fingerprint(experiment.dataset, data_dir)
        curve = Path(experiment.published_curve).read_text(encoding="utf-8") if experiment.published_curve else ""
    except (OrchestratorError, OSError, UnicodeDecodeError):
        return None
    places = [absolute(variant.name) for variant in experiment.variants]  # which the trials' folders hold, too
    return digest([to_json(experiment), sources, places, data, curve, uri, __version__])


def mark_complete(folder: LaunchFolder, storage: Storage, mark: str | None, launch: str) -> None:
    """Mark the launch as complete: everything is trained, made and recorded as ``launch`` in MLflow.

    The mark is of the plans that the launch has been given so far: with another one it is none.
    """
    if mark is not None:
        plans = digest(folder.content().get("plans"))
        write_json(folder.path / MARK, {"fingerprint": mark, "plans": plans, "launch": launch})
        storage.push(folder.path / MARK)


def completed_launch(
    storage: Storage, experiment: Experiment, data_dir: Path, uri: str, folder: LaunchFolder | None = None
) -> Complete | None:
    """The launch that running ``experiment`` would open, if nothing is left to do in it.

    It is marked as complete with exactly these settings, data and sources, and no launch that was worked on since could
    be amended. With ``folder``, of that launch only. Raises StorageError if a launch's file is damaged.
    """
    parent = storage.root / experiment.name
    storage.fetch(parent, lambda name: PurePosixPath(name).name in (MARK, LAUNCH_FILE))
    if not any(parent.glob(f"*/{MARK}")):
        return None
    now = fingerprint(experiment, data_dir, uri)
    launches = read_all(parent) if folder is None else read_all(parent, folder.name)
    newer: list[Mapping[str, Any]] = []
    for path, content in sorted(launches, key=lambda item: opened_at(item[1]), reverse=True):
        if (name := _marked_name(path.with_name(MARK), content, now)) is not None:
            hidden = any(takes_plan_of(other, content) for other in newer)
            return None if hidden else Complete(name, content.get("id"), opened_at(content))
        newer.append(content)
    return None


def _marked_name(mark: Path, content: Mapping[str, Any], now: str | None) -> str | None:
    """The launch's name in MLflow, if its ``mark`` has the fingerprint ``now`` and is of the plans in ``content``."""
    try:
        marked = json.loads(mark.read_text(encoding="utf-8"))
        same = now is not None and marked["fingerprint"] == now and marked["plans"] == digest(content.get("plans"))
        return str(marked["launch"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):  # not known to be complete: the launch is checked in detail
        return None
