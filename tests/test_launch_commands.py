"""The commands that a launch prints: what they say is what was given, wherever words need quoting."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.resume import command
from orchestrator.scheduling.storage import Storage
from orchestrator.workflow.commands import resume_command


def parsed(text: str) -> dict[str, Any]:
    """What ``orchestrator resume`` is told by the command ``text``."""
    program, name, *words = shlex.split(text)
    assert (program, name) == ("orchestrator", "resume")
    return command.make_context(name, words).params


@pytest.mark.parametrize("data_dir", ["data", "/mnt/data sets", "../other"])
@pytest.mark.parametrize("store", [None, "sqlite:////tmp/a b.db", "http://tracking:5000"])
@pytest.mark.parametrize("address", [None, "ray://head:10001"])
def test_the_command_to_resume_names_the_same_data_storage_and_store(
    data_dir: str, store: str | None, address: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("ORCHESTRATOR_DATA_DIR", "ORCHESTRATOR_STORAGE"):
        monkeypatch.delenv(variable, raising=False)
    storage = Storage(tmp_path / "it's here")
    said = parsed(resume_command("widths", "72dd0e64", Path(data_dir), storage, store, address, as_job=False))
    assert (said["name"], said["launch"]) == ("widths", "72dd0e64")
    assert (said["data_dir"], said["storage"]) == (Path(data_dir), str(tmp_path / "it's here"))
    assert (said["tracking_uri"], said["address"]) == (store, address)


def test_a_secret_of_the_store_is_not_in_the_command(tmp_path: Path) -> None:
    store = "postgresql://me:s3cret@host/db"
    text = resume_command("a", "b", Path("data"), Storage(tmp_path), store, None, as_job=False)
    assert "s3cret" not in text
    assert "postgresql://" in text


def test_a_job_is_carried_on_by_its_own_command(tmp_path: Path) -> None:
    given = ("a", "b", Path("/data"), Storage(tmp_path), None, None)
    assert resume_command(*given, as_job=True) == "the same orchestrator submit command"
    assert resume_command(*given, as_job=True, again=True).endswith(" without --again")
