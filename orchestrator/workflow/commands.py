"""The commands that a launch prints for whoever goes on with it: to resume it, and to give it more seeds."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from orchestrator.redact import redact
from orchestrator.scheduling.storage import Storage
from orchestrator.tracking.store import absolute_uri, tracking_uri

DATA_DIR = Path("data")  # the default of --data-dir


@dataclass(frozen=True)
class ExperimentSource:
    """Where the settings of a launch come from: an experiment file, and what was set besides."""

    file: Path
    overrides: tuple[str, ...] = ()  # each as --set has it


def resume_command(
    experiment: str,
    launch: str,
    data_dir: Path,
    storage: Storage,
    store: str | None,
    address: str | None,
    as_job: bool,
    again: bool = False,
) -> str:
    """The command that carries the launch on; ``store``: where the default is not meant, ``again``: it had --again."""
    if as_job:
        return f"the same orchestrator submit command{' without --again' if again else ''}"
    words = ["orchestrator", "resume", experiment, "--launch", launch]
    if data_dir != DATA_DIR:
        words += ["--data-dir", str(data_dir)]
    words += ["--storage", str(storage)]
    if store is not None:
        words += ["--tracking-uri", redact(store)]
    if address is not None:
        words += ["--address", address]
    return shlex.join(words)


def amending_command(
    source: ExperimentSource | None,
    data_dir: Path,
    storage: str,
    given_store: str | None,
    address: str | None,
    as_job: bool,
) -> str:
    """The command that reads the same settings, data, storage and store again, without secrets; empty without a file.

    With further settings after it, it amends the launch. It names the folder to which relative paths belong; that of a
    job is the one from which the job was submitted, so a job's command names none.
    """
    if source is None:
        return ""
    words = ["orchestrator", "submit" if as_job else "run", str(source.file)]
    last = {override.partition("=")[0]: place for place, override in enumerate(source.overrides)}
    for place in sorted(last.values()):  # what a later one of the same path replaces is left out
        words += ["--set", source.overrides[place]]
    if not as_job or data_dir.is_absolute():
        words += ["--data-dir", str(data_dir)]
    words += ["--storage", storage]
    store = given_store if as_job else absolute_uri(tracking_uri(given_store))
    if store is not None and (given_store or redact(store) == store):  # a secret one comes from a variable
        words += ["--tracking-uri", redact(store)]
    if address is not None and not as_job:
        words += ["--address", address]
    command = shlex.join(redact(word) for word in words)
    return command if as_job else f"cd {shlex.quote(str(Path.cwd()))} && {command}"
