"""`orchestrator doctor` finds problems planted on this machine, each with its remedy, and none where there is none."""

import io
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import disk
from doctoring import TOKEN, checks, doctor

from orchestrator.checks import Finding, Level, Request, run_checks
from orchestrator.checks import storage as probes
from orchestrator.checks.driver import ask_anonymously
from orchestrator.data import Dataset, save_packed

EXPERIMENT = 'name: small\nvariants: [stride]\nseeds: [0]\ndataset: {{name: "{data}"}}\n'


def test_a_healthy_machine(home: Path) -> None:
    done = doctor(home, "--json")
    found = checks(done)
    expected = {"Python", "Ray", "torch", "orchestrator", "GPU", "disk", "open files", "listening", "tracking", "data"}
    assert expected | {"storage"} <= set(found)
    assert {name for name, findings in found.items() if len(findings) > 1} <= {"listening"}  # no two lines alike
    ours = expected - {"GPU", "disk", "open files", "listening"} | {"storage"}  # those are the machine's own
    assert {check["status"] for name in ours for check in found[name]} == {"ok"}
    assert found["Python"][0]["value"] == ".".join(map(str, sys.version_info[:3]))
    assert checks(doctor(home, "--json", "--storage", "deep/er/storage"))["storage"][0]["status"] == "ok"
    assert list(home.iterdir()) == []  # nothing is left behind, not even the store or the storage folder


def test_the_table_fits_a_terminal(home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(TOKEN)
    (home / ".ray" / "auth_token").chmod(0o640)
    done = doctor(home, "--tracking-uri", "http://127.0.0.1:1", limit=1024)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert done.returncode == 1
    for words in ("✓ Python", "! open files", "→ ", "65536", "✗ token file", "✗ tracking", " failures, "):
        assert words in done.stdout
    rows = [line for line in lines if line[:1] in "✓!✗"]
    passed, warnings, failures = (sum(line[0] == sign for line in rows) for sign in "✓!✗")
    assert lines[-1] == ", ".join(
        f"{count} {word}{'s' * (count != 1)}{end}"
        for count, word, end in ((failures, "failure", ""), (warnings, "warning", ""), (passed, "check", " passed"))
    )
    assert "Traceback" not in done.stderr


def test_a_token_that_others_can_read(home: Path) -> None:
    (home / ".ray").mkdir()
    file = home / ".ray" / "auth_token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    done = doctor(home, "--json")
    [check] = checks(done)["token file"]
    assert (check["status"], check["advice"]) == ("failure", f"chmod 600 {file}")
    assert TOKEN not in done.stdout + done.stderr
    subprocess.run(check["advice"].split(), check=True)
    assert checks(doctor(home, "--json"))["token file"][0]["status"] == "ok"


def test_few_open_files(home: Path) -> None:
    [check] = checks(doctor(home, "--json", limit=1024))["open files"]
    assert check["status"] == "warning"
    assert check["value"] == "1,024, fewer than 65,536"
    assert "65536" in check["advice"]


def test_a_file_where_the_storage_folder_should_be(home: Path) -> None:
    (home / "storage").mkdir()
    assert checks(doctor(home, "--json"))["storage"][0]["status"] == "ok"
    (home / "storage").rmdir()  # it was there, so it still is, and nothing is in it
    (home / "storage").write_text("not a folder")
    [check] = checks(doctor(home, "--json"))["storage"]
    assert check["status"] == "failure"
    assert "File exists" in check["value"] or "Not a directory" in check["value"]
    assert (home / "storage").read_text() == "not a folder"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with no room left."""
    with disk(tmp_path / "full", "64k") as folder:
        with pytest.raises(OSError, match="No space left"):
            (folder / "fill").write_bytes(b"0" * 1_000_000)
        yield folder


def test_a_full_disk(home: Path, full_disk: Path) -> None:
    before = sorted(path.name for path in full_disk.iterdir())
    found = checks(doctor(home, "--json", "--storage", str(full_disk)))
    assert found["storage"][0]["status"] == "failure"
    assert "No space left" in found["storage"][0]["value"]
    [disk] = [check for check in found["disk"] if str(full_disk) in check["value"]]
    assert disk["status"] == "failure"
    assert sorted(path.name for path in full_disk.iterdir()) == before


OPEN_TO_ALL = (
    "import socket, sys, time; s = socket.create_server(('0.0.0.0', 0)); print('up', flush=True); time.sleep(300)"
)


def listening(home: Path, number: int) -> list[dict[str, Any]]:
    """What is said of the ports of this process."""
    found = checks(doctor(home, "--json"))["listening"]
    return [check for check in found if re.search(rf"\b{number}\b", check["advice"])]


def test_a_server_of_ours_that_anybody_reaches(home: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", OPEN_TO_ALL, "mlflow", "server"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        found = listening(home, process.pid)
        assert [check["status"] for check in found] == ["warning"]
        assert "0.0.0.0:" in found[0]["value"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert listening(home, process.pid) == []


def test_the_data_of_an_experiment(home: Path, dataset: Dataset) -> None:
    data = home / "pictures.pt"
    save_packed(dataset, data)
    (home / "small.yaml").write_text(EXPERIMENT.format(data=data))
    [check] = checks(doctor(home, "small.yaml", "--json"))["data"]
    assert (check["status"], dataset.digest[:12] in check["value"]) == ("ok", True)
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    [check] = checks(doctor(home, "small.yaml", "--json"))["data"]
    assert check["status"] == "failure"
    assert "pictures.pt" in check["value"]
    (home / "small.yaml").write_text("nome: small\n")
    wrong = doctor(home, "small.yaml", "--json")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:1", "http://me:s3cretword@127.0.0.1:1", "postgresql://me:s3cretword@127.0.0.1:1/runs"]
)
def test_a_tracking_server_that_is_not_there(uri: str, home: Path) -> None:
    done = doctor(home, "--json", MLFLOW_TRACKING_URI=uri)
    [check] = checks(done)["tracking"]
    assert check["status"] == "failure"
    assert "127.0.0.1:1" in check["value"]
    assert "s3cretword" not in done.stdout + done.stderr


def test_a_store_that_another_process_holds(home: Path) -> None:
    with sqlite3.connect(home / "mlflow.db") as database:
        database.execute("CREATE TABLE runs (run_uuid TEXT)")
        database.commit()
        assert checks(doctor(home, "--json"))["tracking"][0]["status"] == "ok"
        database.execute("BEGIN EXCLUSIVE")
        [check] = checks(doctor(home, "--json"))["tracking"]
        database.rollback()
    assert check["status"] == "failure"
    assert "locked" in check["value"]
    (home / "mlflow.db").write_bytes(b"this is no database at all" * 100)
    assert "not a database" in checks(doctor(home, "--json"))["tracking"][0]["value"]


def test_a_cluster_that_is_not_there(home: Path) -> None:
    done = doctor(home, "--json", "--address", "127.0.0.1:1")
    [check] = checks(done)["cluster"]
    assert (check["status"], check["value"]) == ("failure", "no Ray cluster answers at 127.0.0.1:1: Connection refused")
    assert done.stderr == ""


@pytest.mark.parametrize(("status", "level"), [(200, "failure"), (401, "ok"), (403, "ok")])
def test_a_cluster_that_requires_no_token(status: int, level: str) -> None:
    asked: list[tuple[str, str | None]] = []

    class Head(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Head) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        found = ask_anonymously(address)
        server.shutdown()
    assert asked == [("/api/jobs/", None)]
    assert found is not None
    assert (found[0], bool(found[2])) == (level, level == "failure")
    assert (f"{address} requires no token" in found[1]) is (level == "failure")
    assert ask_anonymously(address) is None  # nobody is there any more


def check_storage(place: str) -> Finding:
    [found] = run_checks(Request(place), ["storage"])
    return found


@contextmanager
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 server on this machine, with a bucket, ``launches``; the environment names the server.

    Nothing whose name contains ``kept`` can be deleted there.
    """
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: object) -> None:
            pass

    application = DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start: Any) -> Any:
        refused = environ["REQUEST_METHOD"] == "DELETE" and "kept" in environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] == "POST" and environ["QUERY_STRING"].partition("=")[0] == "delete":
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"], refused = io.BytesIO(body), b"kept" in body
        if refused:
            start("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>no deleting</Message></Error>"]
        return application(environ, start)

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    try:
        client = boto3.client("s3")
        client.create_bucket(Bucket="launches")
        yield client
    finally:
        server.shutdown()


def test_storage_in_an_object_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> set[str]:
        return {item["Key"] for item in client.list_objects_v2(Bucket="launches").get("Contents", [])}

    with s3(monkeypatch) as client:
        options = "?region=us-east-1"
        found = check_storage(f"s3://launches/here{options}")
        assert (found.status, found.value.partition(" in ")[0]) == (
            Level.OK,
            "s3://launches/here written, read and deleted",
        )
        assert keys() <= {"here/"}  # pyarrow's mark for the folder itself
        absent = check_storage(f"s3://absent/here{options}")
        assert absent.status is Level.FAILURE
        assert "region=" not in absent.value
        place = "s3://launches/kept"
        kept = check_storage(place)
        assert (kept.status, probes.UNDELETABLE in kept.value) == (Level.FAILURE, True), kept
        assert "deleting" in kept.advice
        assert len([key for key in keys() if not key.endswith("/")]) == 1  # what could not be helped
        assert probes.write(place, "probe", "here") == ""
        assert probes.UNDELETABLE in probes.answer(place, "probe", "h1")  # as a node says it


def test_what_the_driver_wrote_and_a_node_does_not_see(tmp_path: Path) -> None:
    driver, node = tmp_path / "driver", tmp_path / "node"  # each is the storage, as it looks from there
    driver.mkdir()
    assert probes.write(str(driver), "probe", "here") == probes.read(str(driver), "probe", "here") == ""
    assert probes.answer(str(driver), "probe", "h1") == probes.read(str(driver), "probe", "h1") == ""
    assert "does not see what the driver has written" in probes.answer(str(node), "probe", "h1")
    assert not node.exists()
    (driver / "probe" / "h1").write_text("something else")
    assert "differs" in probes.read(str(driver), "probe", "h1")
    probes.clean(str(driver), "probe")
    assert list(driver.iterdir()) == []
