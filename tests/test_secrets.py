"""Planted secrets: none comes out in output, logs, records, tags or artifacts; and nobody is let in without a token."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from driving import ORCHESTRATOR, QUIET_ENVIRONMENT, page
from hypothesis import assume, given
from hypothesis import strategies as st
from patience import PATIENCE
from planting import plant
from ports import free_ports
from rich.console import Console

from orchestrator.cli import options
from orchestrator.cli.train import _Lines
from orchestrator.data import Dataset
from orchestrator.data.arrays import to_arrays
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Failure
from orchestrator.redact import HIDDEN, is_secret, redact
from orchestrator.tracking.store import connect
from orchestrator.trial import run_trial
from orchestrator.workflow.display import Terminal
from orchestrator.workflow.make_report import Order, draw, make

RAY = str(Path(sys.executable).with_name("ray"))
PLANTED = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED01",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+7d1f9b2c",
    "RAY_AUTH_TOKEN": "5eed" * 16,
    "MLFLOW_TRACKING_USERNAME": "planted-user-name",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-41c2",
    "MLFLOW_TRACKING_TOKEN": "planted-bearer-90aa",
    "HF_TOKEN": "hf_plantedplanted",
    "DATABASE_URL": "postgresql://service:planted-db-3e77@db.example/prod",
    "MY_API_KEY": "planted-api-5512",
}
SECRETS = [*(v for k, v in PLANTED.items() if k not in ("DATABASE_URL",)), "planted-db-3e77"]
EXPERIMENT = """
name: small
variants: ["{networks}:Tiny", "{networks}:Telling"]
seeds: [0]
dataset: {{name: "{data}"}}
trainer: {{epochs: 2, batch_size: 32, optimizer: {{lr: 0.3}}}}
"""
PROGRESS_FILES = '''

class Telling(Tiny):
    """Fails with a message that holds what it should not."""

    def forward(self, x):
        import os
        if self.training:
            raise ConnectionError(f"no login at {os.environ['DATABASE_URL']} with {os.environ['MY_API_KEY']}")
        return self.net(x)
'''


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ORCHESTRATOR, *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )


def holders(folder: Path, secrets: list[str]) -> list[str]:
    """Every file below ``folder`` that holds one of ``secrets``, as it is or as JSON writes it."""
    found = []
    wanted = {form.encode() for secret in secrets for form in (secret, json.dumps(secret)[1:-1])}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            found += [f"{path}: {secret!r}" for secret in wanted if secret in content]
    return found


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for Ray's temporary files: its sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="s-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.ray
def test_nothing_planted_comes_out(tmp_path: Path, network_file: Path, packed: Path, short_folder: Path) -> None:
    network_file.write_text(network_file.read_text() + PROGRESS_FILES)
    (tmp_path / "small.yaml").write_text(EXPERIMENT.format(networks=network_file, data=packed))
    environment = {**PLANTED, "RAY_TMPDIR": str(short_folder)}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path / 'mlflow.db'}"
    said = {}
    commands: list[tuple[set[int], list[str]]] = [
        ({0}, ["validate", "small.yaml"]),
        ({1}, ["run", "small.yaml", "--debug"]),
        ({0}, ["compare", "small"]),
        ({0}, ["compare", "small", "--json"]),
        ({1}, ["resume", "small", "--json"]),
        ({1}, ["train", f"{network_file}:Telling", "--dataset", str(packed), "--epochs", "1", "--debug"]),
        ({0, 1}, ["doctor", "small.yaml"]),  # the machine may have troubles of its own
        ({0}, ["ui", "--help"]),
    ]
    for codes, command in commands:
        done = run(tmp_path, *command, **environment)
        assert done.returncode in codes, done.stdout + done.stderr
        said[" ".join(command)] = done.stdout + done.stderr
        if command[0] == "run":
            [outcome] = tmp_path.glob("storage/small/*/trials/Telling/seed-0/outcome.json")
            reason = "ConnectionError: no login at postgresql://service:***@db.example/prod with ***"
            assert json.loads(outcome.read_text())["reason"].endswith(reason)
    # Ray hands the driver what a worker raised, to print with --debug: that is the user's own text in the user's own
    # terminal, and Ray keeps it in its temporary logs. Everything that we keep is free of it.
    leaks = {command: [s for s in SECRETS if s in text] for command, text in said.items() if "--debug" not in command}
    assert not any(leaks.values()), leaks
    assert holders(tmp_path, SECRETS) == []
    theirs = [s for s in SECRETS if s not in ("planted-db-3e77", PLANTED["MY_API_KEY"])]
    assert holders(short_folder, theirs) == []
    for text in said.values():
        assert not [s for s in theirs if s in text]


TOLD = "no login at postgresql://service:Pl4nted-pw@db.example/prod with planted-api-5512"
REFUSING = """

class Refusing(Tiny):
    def __init__(self, *args, **kwargs):
        import pathlib
        if pathlib.Path("{switch}").exists():
            raise ConnectionError({told!r})
        super().__init__(*args, **kwargs)
"""


def test_what_a_launch_says_while_it_runs_holds_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_API_KEY", PLANTED["MY_API_KEY"])
    shown = io.StringIO()
    terminal = Terminal(Console(file=shown, force_terminal=True, width=200))
    terminal.log(f"the comparison could not be stored in MLflow: {TOLD}")
    with terminal.waiting(TOLD) as progress:
        progress(f"still {TOLD}")
    _Lines(quiet=False, as_json=False).log(TOLD)
    options.log(TOLD)
    said = shown.getvalue() + "".join(capsys.readouterr())
    assert said.count("postgresql://service:***@db.example/prod with ***") >= 4
    assert "lanted-" not in said


def test_warnings_of_reports_leave_their_worker_without_secrets(
    tmp_path: Path, network_file: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's warnings are redacted there: the driver need not have the worker's variables."""
    monkeypatch.setenv("MY_API_KEY", PLANTED["MY_API_KEY"])
    switch = tmp_path / "switch"
    network_file.write_text(network_file.read_text() + REFUSING.format(switch=switch, told=TOLD))
    tree = {"name": "small", "variants": [f"{network_file}:Refusing"], "seeds": [0], "trainer": {"epochs": 1}}
    [spec] = make_plan(read_experiment(tree, "small.yaml")).trials
    list(run_trial(spec, dataset, tmp_path / "trial"))
    switch.touch()
    packed = to_arrays(dataset)
    _, warnings = make(Order(spec.name, tmp_path / "trial", None, report=True, model=True), packed, None)
    warnings += draw(spec, None, packed)[1]
    text = "\n".join(warnings)
    assert text.count("ConnectionError") >= 2, text
    assert "postgresql://service:***@db.example/prod with ***" in text
    assert "lanted-" not in text


def test_why_a_worker_was_lost_is_told_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.scheduling.callback import LaunchCallback
    from orchestrator.scheduling.drain import Drain

    monkeypatch.setenv("MY_API_KEY", PLANTED["MY_API_KEY"])
    (tmp_path / "error.txt").write_text(f"Traceback\nConnectionError: {TOLD}")
    trial = SimpleNamespace(
        error_file=str(tmp_path / "error.txt"), config={"trial": {"name": "a", "resume_from": None, "measure": False}}
    )
    callback = LaunchCallback(tmp_path / "trials", (), Drain())
    callback.on_trial_error(0, [trial], trial)
    callback.deliver_outcomes(wait=True)
    callback.close()
    assert callback.outcomes["a"].failure is Failure.INFRASTRUCTURE
    assert callback.outcomes["a"].reason.endswith("postgresql://service:***@db.example/prod with ***")


URIS = {
    "server": "http://me:{pw}@127.0.0.1:1",
    "postgresql": "postgresql://me:{pw}@127.0.0.1:1/runs",
    "an option": "postgresql://127.0.0.1:1/runs?user=me&password={pw}",
    "no driver": "mysql://me:{pw}@127.0.0.1:1/runs",
    "no such driver": "postgresql+nothing://me:{pw}@127.0.0.1:1/runs",
    "no such store": "ftp://me:{pw}@127.0.0.1/runs",
    "half a host": "postgresql://me:{pw}@[127.0.0.1/runs",
    "no port": "http://me:{pw}@127.0.0.1:port",
}


@pytest.mark.parametrize(
    "kind", [kind if kind in ("server", "postgresql") else pytest.param(kind, marks=pytest.mark.slow) for kind in URIS]
)
@pytest.mark.parametrize("password", ["Pl4nted-pw", pytest.param("Pl4nted/p@w", marks=pytest.mark.slow)])
def test_a_password_in_the_address_of_a_store_is_never_printed(kind: str, password: str, tmp_path: Path) -> None:
    uri = URIS[kind].format(pw=password)
    by_flag = run(tmp_path, "compare", "small", "--debug", "--tracking-uri", uri)
    by_variable = run(tmp_path, "doctor", "--json", MLFLOW_TRACKING_URI=uri)
    assert by_flag.returncode == 2, by_flag.stderr
    assert "Traceback" in by_flag.stderr  # asked for with --debug, and searched for the password too
    assert HIDDEN in by_flag.stderr
    assert by_variable.returncode == 1, by_variable.stderr
    for text in (by_flag.stdout, by_flag.stderr, by_variable.stdout, by_variable.stderr):
        assert password not in text
        assert "Pl4nted" not in text
    assert holders(tmp_path, [password]) == []


@pytest.mark.parametrize(
    ("storage", "code"),
    [
        ("s3://KEYKEYKEY:Pl4nted-pw@bucket/x?region=us-east-1", 2),  # a wrong request
        pytest.param("s3://bucket/x?secret_key=Pl4nted-pw", 1, marks=pytest.mark.slow),  # a finding of the doctor's
        pytest.param("nothing://me:Pl4nted-pw@bucket/x", 2, marks=pytest.mark.slow),
    ],
)
def test_a_secret_in_the_address_of_the_storage_is_never_printed(
    storage: str, code: int, tmp_path: Path, network_file: Path, packed: Path
) -> None:
    (tmp_path / "small.yaml").write_text(EXPERIMENT.replace(', "{networks}:Telling"', "").format(
        networks=network_file, data=packed))  # fmt: skip
    refused = run(tmp_path, "run", "small.yaml", "--storage", storage, "--debug")
    assert refused.returncode == 2, refused.stderr
    looked = run(tmp_path, "doctor", "--storage", storage)
    assert looked.returncode == code, looked.stderr
    assert "Pl4nted" not in refused.stdout + refused.stderr + looked.stdout + looked.stderr
    assert holders(tmp_path, ["Pl4nted"]) == []


def test_a_secret_among_wrong_arguments_is_not_repeated(tmp_path: Path) -> None:
    refused = run(tmp_path, "compare", "small", "postgresql://me:Pl4nted-pw@db/runs")
    assert refused.returncode == 2
    assert "postgresql://me:***@db/runs" in refused.stderr
    assert "Pl4nted" not in refused.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at http://me:pw@host:5000/a, or", "at http://me:***@host:5000/a, or"),
        ("postgresql://me:p/w@x@host/db", "postgresql://me:***@host/db"),
        ("postgresql:///db?user=me&password=pw&host=h", "postgresql:///db?user=me&password=***&host=h"),
        ("s3://bucket/x?secret_key=pw", "s3://bucket/x?secret_key=***"),
        ("with Known-Secret, twice: Known-Secret", "with ***, twice: ***"),
        ("http://127.0.0.1:5000/#/experiments/1", "http://127.0.0.1:5000/#/experiments/1"),
        ("s3://bucket/path?region=us-east-1&scheme=http", "s3://bucket/path?region=us-east-1&scheme=http"),
        ("at 06:06:55 in /home/me/.ray/auth_token", "at 06:06:55 in /home/me/.ray/auth_token"),
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
        ("short", "short"),
        ("at postgresql://me:pa'ss12@host/db", "at postgresql://me:***@host/db"),
        ('"postgresql://me:pa\\"ss12@host/db"', '"postgresql://me:***@host/db"'),
        ("postgresql://me@srv:pw1234@host/db", "postgresql://me@srv:***@host/db"),
        ("postgresql://host/db?password=pa'ss12&user=me", "postgresql://host/db?password=***&user=me"),
        ("https://a.blob.core.windows.net/c?sv=1&sig=a%2Fb%3D", "https://a.blob.core.windows.net/c?sv=1&sig=***"),
        ("wasbs://c@a/x?design=plain", "wasbs://c@a/x?design=plain"),
        ('["http://host:5000","me@here"]', '["http://host:5000","me@here"]'),
        ("{'at':'http://host:5000','who':'me@here'}", "{'at':'http://host:5000','who':'me@here'}"),
        ("no login with a;sig=b and c", "no login with ***"),
        ("Disk-Key-1 and Sql-Pwd-1 of /home/me/here", "*** and *** of /home/me/here"),
    ],
)
def test_what_is_replaced_and_what_is_left(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "Known-Secret")
    monkeypatch.setenv("OTHER_TOKEN", "short")  # so short that it would be found in innocent words
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/me/.ray/auth_token")  # a path is no secret
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "Disk-Key-1")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:a;sig=b and c@host/db")
    monkeypatch.setenv("MYSQL_PWD", "Sql-Pwd-1")
    monkeypatch.setenv("PWD", "/home/me/here")
    monkeypatch.setenv("OLDPWD", "/home/me/here")
    assert redact(text) == expected


SECRET_NAMES = [
    "STRIPE_KEY_LIVE", "MY_KEYS", "KEYRING_PASS", "KEY", "KEYS", "API_KEY_2", "KEY1", "DB_PASS", "PASS_OLD",
    "SSHPASS", "GPG_PASSPHRASE", "FTP_PASSWD", "GOOGLE_CREDENTIALS", "CREDENTIAL", "MYPASSWORD", "stripe-key.live",
    "openai_key", "AWS_ACCESS_KEY_ID", "Some_Token_Of_Mine", "MYSQL_PWD", "APIKEY",
]  # fmt: skip
OTHER_NAMES = [
    "KEYBOARD", "XKB_KEYMAP", "MONKEY", "HOTKEYS_X", "KEYSPACE", "KEYCLOAK_HOST", "BYPASS_CACHE", "COMPASS",
    "PASSENGERS", "PASSPORT", "PATH", "MANPATH", "LD_LIBRARY_PATH", "SSH_KEY_PATH", "KEY_PATHS", "TLS_KEY_FILE",
    "KEYS_DIR", "PASS_FILES", "TOKEN_TTL", "PWD", "OLDPWD", "RAY_AUTH_MODE", "HOME", "LANG",
]  # fmt: skip


@pytest.mark.parametrize("name", [*SECRET_NAMES, *OTHER_NAMES])
def test_a_variable_is_secret_by_the_words_of_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "planted-1")
    assert redact("it is planted-1 here") == f"it is {HIDDEN if name in SECRET_NAMES else 'planted-1'} here"


NAME_WORDS = st.lists(st.from_regex(r"[A-Z]{2,8}", fullmatch=True), max_size=3)


@given(NAME_WORDS, st.sampled_from(["KEY", "KEYS", "KEY3", "PASS", "PASSWD", "PASSPHRASE", "CREDENTIALS"]), NAME_WORDS)
def test_a_word_for_a_key_or_a_password_is_found_anywhere_in_a_name(
    before: list[str], word: str, after: list[str]
) -> None:
    for separator in "_-.":
        name = separator.join([*before, word, *after])
        assert is_secret(name)
        assert is_secret(name.lower())
        assert redact(f"s3://bucket?a=1&{name}=x'y;b=2") == f"s3://bucket?a=1&{name}={HIDDEN};b=2"


@given(st.sampled_from("_-."), st.sampled_from(["", "MY", "A1"]), st.from_regex("(KEY|PASS)[A-RT-Z]+", fullmatch=True))
def test_a_word_that_only_begins_like_one_is_none(separator: str, before: str, word: str) -> None:
    assume(not re.search("WORD|WD|PHRASE|TOKEN|SECRET", word))
    assert not is_secret(separator.join(filter(None, [before, word])))


@given(st.text(st.sampled_from("aB1 '\"/@#?&;:%,)\\\n"), min_size=6))
def test_a_password_of_the_environment_is_replaced_whatever_it_holds(password: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", f"postgresql://me:{password}@host/db")
        told = redact(f"no login at postgresql://me:{password}@host/db with {password}")
    assert password not in told


@given(st.text(st.characters(exclude_characters="@=")))
def test_text_without_an_address_or_an_option_is_left_as_it_is(text: str) -> None:
    assert redact(text) == text


def status(url: str, data: bytes | None = None, **headers: str) -> int:
    """The status of one request with these headers (``_`` for ``-``), as a program or a page would send it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=data, headers=named)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


CREATE = json.dumps({"name": "made by a stranger"}).encode()


def refuses_strangers(url: str) -> None:
    create = f"{url}/api/2.0/mlflow/experiments/create"
    search = f"{url}/api/2.0/mlflow/experiments/search?max_results=5"
    json_type = {"Content_Type": "application/json"}
    assert status(search) == 200
    assert status(search, Host="evil.example") == 403  # a name that was made to point here
    assert status(search, Host="evil.example:5000") == 403
    assert status(create, CREATE, Origin="https://evil.example", **json_type) == 403  # another site's page
    assert status(create, CREATE, Host="evil.example", **json_type) == 403
    listed = urllib.request.urlopen(search, timeout=PATIENCE).read()
    assert b"stranger" not in listed
    assert status(create, CREATE, Origin=url, **json_type) == 200  # its own page may


def test_the_page_is_on_loopback_refuses_strangers_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    connect(f"sqlite:///{tmp_path}/runs/mlflow.db").create_experiment("exp")
    beside = ("mlflow", "uvicorn", "fastapi", "sqlalchemy", "random", "json", "asyncio", "multiprocessing")
    planted = plant(tmp_path / "runs", *beside)  # files beside the store are no modules
    relative = {**QUIET_ENVIRONMENT, "MLFLOW_TRACKING_URI": "sqlite:///runs/mlflow.db?timeout=20"}
    with page(tmp_path, relative) as (url, process):
        assert url.startswith("http://127.0.0.1:")
        family = process.children(recursive=True)
        sockets = [
            sock.laddr.ip
            for member in [process, *family]
            for sock in member.net_connections(kind="inet")
            if sock.status == psutil.CONN_LISTEN
        ]
        assert sockets
        assert set(sockets) == {"127.0.0.1"}
        named = f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=exp"
        with urllib.request.urlopen(named, timeout=PATIENCE) as answer:
            assert json.load(answer)["experiment"]["name"] == "exp"  # of the store that was asked for
        assert not (tmp_path / "runs" / "runs").exists()
        assert status(url) == 200
        refuses_strangers(url)
        # MLflow would run jobs of its own for whoever reaches the page.
        assert {member.environ().get("MLFLOW_SERVER_ENABLE_JOB_EXECUTION") for member in family} == {"false"}
    told = (tmp_path / "ui.txt").read_text()  # for its user, and nothing from the server's packages to their authors
    assert "Ctrl-C stops it" in told
    assert not [line for line in told.splitlines() if "INFO" in line or "Warning" in line], told
    assert family
    assert psutil.wait_procs(family, timeout=PATIENCE)[1] == []
    assert not planted.exists(), planted.read_text()


class Head:
    """A Ray head on loopback that asks for a token, in its own process tree."""

    def __init__(self, folder: Path) -> None:
        self.token = "c0ffee" * 10 + "c0ff"
        port, dashboard, agent = free_ports(3)
        self.address, self.url = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
        self.known = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        self.known |= {"HOME": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
        self.known["PATH"] = f"{Path(ORCHESTRATOR).parent}:{os.environ['PATH']}"
        self.known["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # one node: every socket on loopback
        command = [RAY, "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=1"]
        command += [f"--dashboard-port={dashboard}", "--object-store-memory=100000000", "--block"]
        command += [f"--dashboard-agent-listen-port={agent}"]  # jobs go through it; its own port may be taken
        self.output = folder / "head.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--temp-dir", str(folder / "ray")],
                env={**self.known, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while "runtime started" not in self.output.read_text():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def end(self) -> None:
        family = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.kill()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()

    def join(self, **access: str) -> subprocess.CompletedProcess[str]:
        """A client process: what it says when it joins, and its exit code."""
        code = f"import ray; ray.init(address={self.address!r}, logging_level='ERROR'); print(ray.nodes()[0]['Alive'])"
        brief = {"RAY_NUM_REDIS_GET_RETRIES": "3"}
        return subprocess.run(
            [sys.executable, "-c", code], env={**self.known, **brief, **access},
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip


@pytest.fixture
def head(short_folder: Path) -> Iterator[Head]:
    started = Head(short_folder)
    try:
        started.wait()
        yield started
    finally:
        started.end()


@pytest.mark.cluster
@pytest.mark.ray
def test_a_cluster_turns_away_who_has_no_token(head: Head, short_folder: Path) -> None:
    left = short_folder / "stranger-was-here"
    jobs, job = f"{head.url}/api/jobs/", json.dumps({"entrypoint": f"touch {left}"}).encode()
    wrong = "bad0" * 16
    assert status(jobs) == 401
    assert status(jobs, job, Content_Type="application/json") == 401
    assert status(jobs, Authorization=f"Bearer {wrong}") == 403
    assert status(jobs, job, Authorization=f"Bearer {wrong}", Content_Type="application/json") == 403
    assert status(jobs, Authorization=f"Bearer {head.token}") == 200
    outcomes: dict[str, Any] = {
        "disabled": head.join(RAY_AUTH_MODE="disabled"),
        "absent": head.join(RAY_AUTH_MODE="token"),
        "wrong": head.join(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=wrong),
    }
    assert [name for name, outcome in outcomes.items() if outcome.returncode == 0] == []
    right = head.join(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=head.token)
    assert (right.returncode, right.stdout.strip()) == (0, "True"), right.stderr
    listening = [
        sock.laddr.ip
        for member in psutil.Process(head.process.pid).children(recursive=True)
        for sock in member.net_connections(kind="inet")
        if sock.status == psutil.CONN_LISTEN
    ]
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert not left.exists()
    assert holders(short_folder, [head.token]) == []  # nor does Ray write it down


SESSIONS = """
import os
from orchestrator.scheduling.session import ray_session

def local():
    with ray_session(cpus=1) as nodes:
        import ray
        address = ray.get_runtime_context().gcs_address
        print("local", len(nodes), address.partition(":")[0], flush=True)

def joined():
    with ray_session({address!r}) as nodes:
        print("joined", len(nodes), flush=True)

for session in {order}:
    session()
"""


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.ray
@pytest.mark.parametrize("order", ["local joined", "joined local"])
def test_a_process_may_have_sessions_here_and_on_a_cluster(head: Head, order: str) -> None:
    code = SESSIONS.format(address=head.address, order="[" + order.replace(" ", ", ") + "]")
    access = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": head.token, "RAY_NUM_REDIS_GET_RETRIES": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**head.known, **access}, capture_output=True, text=True, timeout=PATIENCE
    )
    expected = {"local": "local 1 127.0.0.1", "joined": "joined 1"}
    assert done.stdout.splitlines() == [expected[session] for session in order.split()], done.stderr


@pytest.mark.cluster
@pytest.mark.ray
def test_the_doctor_looks_at_a_cluster_from_afar(head: Head, tmp_path: Path) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": head.token}
    looked = run(tmp_path, "doctor", "--json", "--address", head.url, **token)
    found = json.loads(looked.stdout)["checks"]
    assert {check["node"] for check in found} > {"here", "head"}  # and the node, by its name
    assert {c["status"] for c in found if c["name"] in ("cluster", "token", "clock", "storage", "Ray")} == {"ok"}, found
    assert status(f"{head.url}/api/jobs/", Authorization=f"Bearer {head.token}") == 200
    listed = urllib.request.Request(f"{head.url}/api/jobs/", headers={"Authorization": f"Bearer {head.token}"})
    assert json.loads(urllib.request.urlopen(listed, timeout=PATIENCE).read()) == []  # its job is not left on the list
    stranger = run(tmp_path, "doctor", "--json", "--address", head.url, **{**token, "RAY_AUTH_TOKEN": "bad0" * 16})
    [refused] = [check for check in json.loads(stranger.stdout)["checks"] if check["name"] == "cluster"]
    assert refused["status"] == "failure"
    assert "rejects the token" in refused["value"]
    assert head.token not in looked.stdout + looked.stderr
