"""Recognise a complete launch without reading its data, building its networks or starting Ray."""

import json
from pathlib import Path

from orchestrator.architectures.digest import unimported_digest
from orchestrator.data.dataset_files import files_fingerprint
from orchestrator.errors import OrchestratorError
from orchestrator.files import write_json
from orchestrator.scheduling.launch_folder import LaunchFolder
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import Experiment, digest
from orchestrator.spec.fields import to_json
from orchestrator.spec.references import references
from orchestrator.version import __version__

MARK = "complete.json"  # of a launch's folder


def fingerprint(experiment: Experiment, data_dir: Path, uri: str) -> str | None:
    """What determines a launch: settings, data files, network sources, store; None if one cannot be read."""
    try:
        drawn = references(to_json(experiment.search)) if experiment.search else ()
        sources = [
            *(unimported_digest(variant.name, variant.arguments) for variant in experiment.variants),
            *(unimported_digest(name) for name in drawn if ":" in name),
        ]
        data = files_fingerprint(experiment.dataset, data_dir)
    except (OrchestratorError, OSError):
        return None
    return digest([to_json(experiment), sources, data, uri, __version__])


def mark_complete(folder: LaunchFolder, storage: Storage, mark: str | None, launch: str) -> None:
    """Mark the launch as complete: everything is trained, made and recorded as ``launch`` in MLflow."""
    if mark is not None:
        write_json(folder.path / MARK, {"fingerprint": mark, "launch": launch})
        storage.push(folder.path / MARK)


def completed_launch(
    storage: Storage, experiment: Experiment, data_dir: Path, uri: str, folder: LaunchFolder | None = None
) -> str | None:
    """The name in MLflow of the newest complete launch with exactly these settings, data and sources.

    With ``folder``, of that launch only.
    """
    storage.fetch(storage.root / experiment.name, lambda name: name.endswith(MARK))
    found = {}
    marks = (storage.root / experiment.name).glob(f"*/{MARK}")
    ours = [path for path in marks if folder is None or path.parent.name == folder.name]
    for path in sorted(ours, key=lambda path: path.stat().st_mtime_ns):  # the newest last, so that it is the one kept
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found[str(content["fingerprint"])] = str(content["launch"])
        except (OSError, ValueError, KeyError, TypeError):  # not known to be complete: the launch is checked in detail
            continue
    return found.get(fingerprint(experiment, data_dir, uri) or "") if found else None
