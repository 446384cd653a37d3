"""What passes by itself and what is final, by the clients' own errors from real answers and real silences."""

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tracking.transient import is_transient


class Answering(ThreadingHTTPServer):
    """Answers every request with one status."""

    daemon_threads = True

    def __init__(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>planted</Message></Error>".encode() if code else b""

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_PUT = do_GET = do_POST = answer  # noqa: N815 http.server's names

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def answering() -> Iterator[Callable[[int, str], str]]:
    """Starts a server of one answer; returns its address."""
    servers: list[Answering] = []

    def start(status: int, code: str = "") -> str:
        servers.append(Answering(status, code))
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def upload(address: str, file: Path, seconds: float = 60) -> Exception:
    """What MLflow's way of storing an artifact on S3 raises."""
    import boto3
    from botocore.config import Config

    once = Config(retries={"total_max_attempts": 1}, read_timeout=seconds, connect_timeout=seconds)
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=address, config=once, **keys)
    file.write_text("content")
    with pytest.raises(Exception) as raised:  # noqa: PT011 whatever it is
        client.upload_file(str(file), "bucket", "key")
    return raised.value


@pytest.mark.parametrize(
    ("status", "code", "passes"),
    [
        (403, "AccessDenied", False),
        (404, "NoSuchBucket", False),
        (400, "RequestTimeout", True),
        (429, "TooManyRequests", True),
        (500, "InternalError", True),
        (503, "SlowDown", True),
    ],
)
def test_what_an_object_store_answers(
    status: int, code: str, passes: bool, answering: Callable[[int, str], str], tmp_path: Path
) -> None:
    assert is_transient(upload(answering(status, code), tmp_path / "file")) == passes


@pytest.mark.parametrize("how", ["refuses", "hangs up", "never answers"])
def test_lost_connections_of_an_object_store_pass(how: str, tmp_path: Path) -> None:
    import requests

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if how == "refuses":
            listener.close()
        elif how == "hangs up":

            def hang_up() -> None:
                while True:
                    try:
                        listener.accept()[0].close()
                    except OSError:
                        return

            threading.Thread(target=hang_up, daemon=True).start()
        seconds = 1 if how == "never answers" else 60
        assert is_transient(upload(address, tmp_path / "file", seconds))
        with pytest.raises(requests.RequestException) as raised:
            requests.get(address, timeout=seconds)
        assert is_transient(raised.value)


@pytest.mark.parametrize(("status", "passes"), [(401, False), (403, False), (404, False), (429, True), (502, True)])
def test_what_an_artifact_server_answers(status: int, passes: bool, answering: Callable[[int, str], str]) -> None:
    import requests

    with pytest.raises(requests.HTTPError) as raised:
        requests.put(answering(status, ""), data=b"content", timeout=30).raise_for_status()
    assert is_transient(raised.value) == passes


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("Forbidden", False),
        ("NotFound", False),
        ("TooManyRequests", True),
        ("ServiceUnavailable", True),
        ("InternalServerError", True),
    ],
)
def test_what_googles_client_raises(name: str, passes: bool) -> None:
    exceptions = pytest.importorskip("google.api_core.exceptions")
    assert is_transient(getattr(exceptions, name)("planted")) == passes


def test_what_mlflow_and_the_system_raise() -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos import databricks_pb2 as codes

    for code in (codes.INTERNAL_ERROR, codes.TEMPORARILY_UNAVAILABLE, codes.REQUEST_LIMIT_EXCEEDED):
        assert is_transient(MlflowException("planted", error_code=code))
    for code in (codes.UNAUTHENTICATED, codes.RESOURCE_ALREADY_EXISTS, codes.RESOURCE_DOES_NOT_EXIST):
        assert not is_transient(MlflowException("planted", error_code=code))
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EHOSTUNREACH, errno.ECONNRESET, errno.ETIMEDOUT):
        assert is_transient(OSError(number, "planted"))
    for problem in (KeyError("planted"), PermissionError(errno.EACCES, "planted"), FileNotFoundError(2, "planted")):
        assert not is_transient(problem)
