"""Where a job stores its results: places of the cluster that outlive the job's own folder, without secrets."""

from pathlib import PurePosixPath
from urllib.parse import parse_qsl, urlsplit

from orchestrator.errors import StorageError
from orchestrator.redact import is_secret, user_info


def location_problems(storage: str | None, data_dir: str | None, tracking_uri: str | None) -> list[str]:
    """Problems of these flags of ``submit``, one line each."""
    problems = []
    for flag, place in (("--storage", storage), ("--data-dir", data_dir)):
        if place is not None and _is_temporary(place):
            problems.append(
                f"{flag} {place}: a job runs on the cluster's head; give an absolute path there, such as /mnt/x"
            )
    if storage is not None and _holds_secret(storage):
        problems.append("--storage contains a key, and a job's command is visible to everybody; put keys on the nodes")
    if tracking_uri is not None and _holds_secret(tracking_uri):
        problems.append(
            "--tracking-uri contains a password, and a job's command is visible to everybody; "
            "set MLFLOW_TRACKING_URI where the head is started, and omit the flag"
        )
    elif tracking_uri is not None and _is_temporary_store(tracking_uri):
        problems.append(
            f"--tracking-uri {tracking_uri}: a file on the head needs an absolute path: sqlite:////PATH/mlflow.db"
        )
    return problems


def refuse_temporary_locations(storage: str, tracking_uri: str) -> None:
    """In a job: raise StorageError if its results would be removed together with the job's own folder."""
    problems = []
    if _is_temporary(storage):
        problems.append(
            f"  - the storage is {storage!r}: set ORCHESTRATOR_STORAGE on the head, or submit with --storage"
        )
    if _is_temporary_store(tracking_uri):
        problems.append(
            f"  - the tracking store is {tracking_uri}: set MLFLOW_TRACKING_URI on the head, or submit with "
            "--tracking-uri"
        )
    if problems:
        raise StorageError("\n".join(["a job's own folder is removed when it ends; nothing was started:", *problems]))


def _is_temporary(place: str) -> bool:
    return "://" not in place and not PurePosixPath(place).is_absolute()


def _is_temporary_store(uri: str) -> bool:
    if uri.startswith("sqlite:"):
        return not uri.startswith("sqlite:////")
    return _is_temporary(uri)


def _holds_secret(uri: str) -> bool:
    if ":" in user_info(uri):
        return True
    try:
        query = urlsplit(uri).query
    except ValueError:  # invalid brackets: show nothing of it
        return "@" in uri
    return any(is_secret(name) for name, _ in parse_qsl(query, keep_blank_values=True))
