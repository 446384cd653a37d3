"""``orchestrator report``: reports of an ended launch are drawn again, in trial folders and in MLflow."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from conftest import Launched
from driving import orchestrator

import orchestrator as orc
from orchestrator.errors import RequestError, StorageError
from orchestrator.scheduling.launch_folder import newest_launch
from orchestrator.tracking.store import connect

pytestmark = pytest.mark.ray
STALE = b"of an earlier version"


@pytest.fixture
def copy(launched: Launched, tmp_path: Path) -> Launched:
    """The launch in a folder of this test; its store names the artifacts of the first one, which are not touched."""
    folder = tmp_path / "copy"
    shutil.copytree(launched.folder, folder)
    store = folder / "mlflow.db"
    with sqlite3.connect(store) as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(launched.folder), str(folder))
            )
    return Launched(folder, folder / "small.yaml", launched.result, launched.stderr)


def places(copy: Launched, client: Any) -> dict[str, tuple[Path, Path]]:
    """By complete trial, the figures in its folder and among the artifacts of its run."""
    found = {}
    for row in copy.result["trials"]:
        if row["status"] == "complete":
            [folder] = copy.folder.glob(f"storage/small/*/trials/{row['trial']}")
            artifacts = Path(client.get_run(row["run_id"]).info.artifact_uri.removeprefix("file://"))
            assert artifacts.is_relative_to(copy.folder)
            found[row["trial"]] = (folder / "figures", artifacts / "figures")
    return found


def curves(copy: Launched, client: Any) -> dict[str, list[bytes]]:
    return {trial: [place.joinpath("curves.png").read_bytes() for place in both]
            for trial, both in places(copy, client).items()}  # fmt: skip


def make_stale(copy: Launched, client: Any) -> None:
    for both in places(copy, client).values():
        for place in both:
            (place / "curves.png").write_bytes(STALE)
        (both[0] / "mine.png").write_bytes(STALE)


@pytest.mark.slow
def test_reports_of_all_trials_are_drawn_again_and_published(copy: Launched) -> None:
    client = connect(copy.store)
    before = curves(copy, client)
    make_stale(copy, client)
    done = orchestrator("report", "small", cwd=copy.folder)
    assert done.returncode == 0, done.stderr
    assert curves(copy, client) == before
    for trial, (figures, _) in places(copy, client).items():
        assert f"{trial}: storage/small/" in done.stdout
        assert (figures / "mine.png").read_bytes() == STALE, "a user's own file"
    assert {client.get_run(row["run_id"]).data.tags["report"] for row in copy.result["trials"]} == {"made"}


def test_one_report_is_drawn_again_in_python(copy: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.folder)
    client = connect(copy.store)
    before = curves(copy, client)
    make_stale(copy, client)
    [drawn] = orc.report("small", "Tiny/seed-1", tracking_uri=copy.store, display="none")
    assert (drawn.name, drawn.status) == ("Tiny/seed-1", "complete")
    assert drawn.figure("metrics").height > 0
    after = curves(copy, client)
    assert after["Tiny/seed-1"] == before["Tiny/seed-1"]
    assert after["Tiny/seed-0"] == [STALE, STALE]


def test_a_published_curve_is_looked_for_where_the_launch_was_run(
    copy: Launched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    [file] = copy.folder.glob("storage/small/*/launch.json")
    content = json.loads(file.read_text())
    content["directory"] = str(copy.folder)
    content["experiment"]["published"] = {"curve": "published.csv"}
    file.write_text(json.dumps(content))
    (copy.folder / "published.csv").write_text("epoch,test_accuracy\n1,50\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    options = {"storage": copy.folder / "storage", "tracking_uri": copy.store, "display": "none"}
    [drawn] = orc.report("small", "Tiny/seed-1", **options)
    assert drawn.name == "Tiny/seed-1"
    (copy.folder / "published.csv").unlink()
    with pytest.raises(RequestError, match=r"published\.csv: cannot be read"):
        orc.report("small", "Tiny/seed-1", **options)


@pytest.mark.slow
def test_a_report_that_cannot_be_drawn_keeps_the_old_one_and_says_so(copy: Launched) -> None:
    [folder] = copy.folder.glob("storage/small/*/trials/Tiny/seed-0")
    page = (folder / "report.html").read_bytes()
    (folder / "checkpoints" / "best.pt").write_bytes(b"damaged")
    done = orchestrator("report", "small", "Tiny/seed-0", cwd=copy.folder)
    assert done.returncode == 1
    assert "best.pt" in done.stdout
    assert "error: 1 of 1 reports could not be drawn: Tiny/seed-0" in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "report.html").read_bytes() == page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("other",), "it holds: small"),
        (("small", "Tiny/seed-7"), "has no ended trial 'Tiny/seed-7'; it has: Failing/seed-0, Failing/seed-1, Tiny/s"),
        (("small", "--launch", "ffff"), "holds no launch 'ffff'; it holds: "),
        (("small", "--tracking-uri", "sqlite:///other.db"), "other.db"),
    ],
)
def test_an_unknown_name_lists_what_there_is(arguments: tuple[str, ...], said: str, launched: Launched) -> None:
    done = orchestrator("report", *arguments, cwd=launched.folder)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_launch_that_is_running_is_refused(copy: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.folder)
    folder, _ = newest_launch(Path("storage"), "small")
    with folder.locked(), pytest.raises(StorageError, match="in use by another process"):
        orc.report("small", tracking_uri=copy.store, display="none")


@pytest.mark.parametrize(
    ("digest", "said"), [("dataset_digest", "is not what Tiny/seed-0 was trained on"), ("source_digest", "has changed")]
)
def test_data_or_a_network_that_has_changed_is_refused(
    digest: str, said: str, copy: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.folder)
    [spec] = copy.folder.glob("storage/small/*/trials/Tiny/seed-0/spec.json")
    spec.write_text(json.dumps({**json.loads(spec.read_text()), digest: "0" * 64}))
    with pytest.raises(RequestError, match=said):
        orc.report("small", "Tiny/seed-0", tracking_uri=copy.store, display="none")


def say_it_lies(copy: Launched, trials: str, experiment: str) -> None:
    """Let the trial's folder and the experiment of its launch say that the network lies in these files."""
    [spec] = copy.folder.glob("storage/small/*/trials/Tiny/seed-0/spec.json")
    spec.write_text(json.dumps({**json.loads(spec.read_text()), "variant": f"{trials}:Tiny"}))
    [file] = copy.folder.glob("storage/small/*/launch.json")
    content = json.loads(file.read_text())
    content["experiment"]["variants"] = [{"name": f"{experiment}:Tiny", "as": None, "arguments": {}}]
    file.write_text(json.dumps(content))


def test_a_network_that_has_been_moved_is_found_where_the_experiment_has_it(
    copy: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.folder)
    (copy.folder / "nets").mkdir()
    (copy.folder / "networks.py").rename(copy.folder / "nets" / "networks.py")
    say_it_lies(copy, "/gone/networks.py", "nets/networks.py")
    client = connect(copy.store)
    before = curves(copy, client)
    make_stale(copy, client)
    [drawn] = orc.report("small", "Tiny/seed-0", tracking_uri=copy.store, display="none")
    assert curves(copy, client)["Tiny/seed-0"] == before["Tiny/seed-0"]
    assert drawn.spec.variant == f"{copy.folder / 'nets' / 'networks.py'}:Tiny"
    assert drawn.model() is not None


def test_a_network_that_is_nowhere_is_refused_and_says_what_to_do(
    copy: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.folder)
    say_it_lies(copy, "/gone/networks.py", "nets/networks.py")
    with pytest.raises(RequestError, match=r"Tiny/seed-0 was trained with /gone/networks\.py, and there is no"):
        orc.report("small", "Tiny/seed-0", tracking_uri=copy.store, display="none")
