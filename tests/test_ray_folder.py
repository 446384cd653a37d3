"""Where Ray keeps its temporary files: a short folder of a session's own, or the one that the user names, if it can."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doctoring import checks, doctor
from driving import ORCHESTRATOR
from patience import PATIENCE

from orchestrator.errors import ResourceError
from orchestrator.scheduling import ray_folder as folders
from orchestrator.scheduling.ray_folder import LONGEST_FOLDER, LONGEST_SOCKET, choose, ray_folder

SESSION = """
import os
from orchestrator.scheduling.session import BackgroundRay
with BackgroundRay() as session:
    session.nodes()
    import ray
    print(ray._private.worker._global_node.temp_dir)
"""
KILLED = """
import os, signal
from orchestrator.scheduling.ray_folder import ray_folder
with ray_folder() as folder:
    folder.path.mkdir()
    print(folder.path.parent, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path, as Ray needs one."""
    folder = Path(tempfile.mkdtemp(prefix="", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def base(short: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place for folders of our own; nothing is asked for."""
    monkeypatch.setattr(folders, "BASES", (str(short),))
    for name in folders.ASKED:
        monkeypatch.delenv(name, raising=False)
    return short


def test_every_path_that_is_allowed_is_short_enough_for_a_socket() -> None:
    longest = f"{'x' * LONGEST_FOLDER}/{folders.INSIDE}{folders.SOCKET}"
    assert len(longest) == LONGEST_SOCKET
    for place in folders.BASES:
        assert len(f"{place}/{folders.PREFIX}12345678") <= LONGEST_FOLDER


def test_what_the_user_asks_for_is_used_or_refused_in_one_line(short: Path) -> None:
    assert choose({"RAY_TMPDIR": str(short), "TMPDIR": "/nowhere"}) == (short / "ray", False)
    assert choose({"RAY_TMPDIR": str(short / "new" / "er")}) == (short / "new" / "er" / "ray", False)
    assert list(short.iterdir()) == []  # looking makes nothing
    file = short / "file"
    file.touch()
    (short / "in").mkdir()
    (short / "in" / "ray").touch()
    for asked, words in {
        "relative": "relative is no absolute path",
        str(file): f"{file} is a file",
        str(file / "below"): f"{file} is a file",
        str(short / "in"): f"{short / 'in' / 'ray'} is a file",
        f"/tmp/{'x' * 60}": f"65 bytes, {LONGEST_FOLDER} may be",
        f"/tmp/{'x' * 5_000}": "5005 bytes",
    }.items():
        with pytest.raises(ResourceError, match="RAY_TMPDIR") as refused:
            choose({"RAY_TMPDIR": asked})
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)
        if asked != str(short / "in"):  # whose own ray is nothing to a folder that we make there
            assert choose({"TMPDIR": asked}) == (Path("/tmp"), True)  # it is for all programs: another does as well
    assert choose({"TMPDIR": str(short / "new")}) == (Path("/tmp"), True), "none that nobody has made yet"
    assert choose({"TMPDIR": str(short)}) == (short, True)  # others may use it: a folder of our own, in it
    assert choose({"TMPDIR": "/tmp"}) == choose({"TMPDIR": "/tmp/"}) == (Path("/tmp"), True)
    assert choose({}) == choose({"RAY_TMPDIR": "", "TMPDIR": ""}) == (Path("/tmp"), True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_another_users_folder_is_refused_and_never_ours(short: Path) -> None:
    short.chmod(0o755)
    (short / "shared" / "ray").mkdir(parents=True)
    (short / "shared" / "ray").chmod(0o777)  # as Ray makes it, for everybody

    def as_another_user(answers: "multiprocessing.SimpleQueue[str]") -> None:
        os.setuid(65_534)
        folders.BASES = (str(short), "/tmp")
        answers.put(f"{choose({})} {choose({'TMPDIR': str(short)})}")
        for asked in (short, short / "shared"):
            try:
                choose({"RAY_TMPDIR": str(asked)})
            except ResourceError as problem:
                answers.put(str(problem))

    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=as_another_user, args=(answers,))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0, "it has put both answers, which are there now"
    assert answers.get() == f"{(Path('/tmp'), True)} {(Path('/tmp'), True)}"
    assert f"you cannot write to {short}" in answers.get()
    assert f"{short / 'shared' / 'ray'} belongs to another user" in answers.get()
    assert choose({"RAY_TMPDIR": str(short / "shared")}) == (short / "shared" / "ray", False)


def test_a_session_where_all_programs_keep_theirs_has_a_folder_of_its_own(base: Path, monkeypatch: Any) -> None:
    general = base / "t"
    general.mkdir()
    monkeypatch.setenv("TMPDIR", str(general))
    with ray_folder() as mine:
        assert mine.path.parent.parent == general
        assert mine.path.parent.stat().st_mode & 0o777 == 0o700
    assert list(base.rglob("*")) == [general]


def test_a_session_starts_where_the_folder_of_all_programs_does_not_exist_yet(base: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TMPDIR", str(base / "missing"))
    with ray_folder() as mine:
        assert mine.path.parent.parent == base
    assert list(base.iterdir()) == []


def test_sessions_at_once_have_folders_of_their_own_that_end_with_them(base: Path) -> None:
    with ray_folder() as one, ray_folder() as other:
        assert one.path != other.path
        assert one.path.parent.stat().st_mode & 0o777 == 0o700  # nobody else's business
        one.path.mkdir()
        (one.path / "log").touch()
        with ray_folder():
            pass
        assert (one.path / "log").exists()  # a living one's is left alone
    assert list(base.iterdir()) == []
    with ray_folder(debug=True) as kept:
        kept.path.mkdir()
    assert kept.path.is_dir()


def test_what_a_killed_session_left_is_removed_by_the_next(base: Path) -> None:
    code = KILLED.replace(
        "with ray", f"import orchestrator.scheduling.ray_folder as f; f.BASES = ({str(base)!r},)\nwith ray"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = Path(killed.stdout.strip())
    assert left.parent == base
    assert left.is_dir()
    somebody = base / f"{folders.PREFIX}notmine"  # neither our pattern nor a folder of ours
    somebody.mkdir()
    with ray_folder() as mine:
        assert not left.exists()
        assert {mine.path.parent, somebody} == set(base.iterdir())


def test_many_that_start_at_once_take_no_folder_from_one_another(base: Path) -> None:
    together, paths = threading.Barrier(8), []

    def start() -> None:
        together.wait(PATIENCE)
        with ray_folder() as mine:
            mine.path.mkdir()
            together.wait(PATIENCE)
            paths.append(mine.path)
            assert mine.path.is_dir()

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(set(paths)) == 8
    assert list(base.iterdir()) == []


@pytest.mark.slow
@pytest.mark.ray
def test_ray_starts_whatever_folder_other_programs_are_told_to_use(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in folders.ASKED}
    done = subprocess.run(
        [sys.executable, "-c", SESSION],
        env={**environment, "TMPDIR": str(long)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder.parent.name.startswith(folders.PREFIX)
    assert not folder.parent.exists()


def test_a_run_and_the_doctor_say_what_is_wrong_before_anything_starts(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (home / "small.yaml").write_text("name: small\nvariants: [stride]\nseeds: [0]\n")
    command = [ORCHESTRATOR, "run", "small.yaml"]
    environment = {**os.environ, "HOME": str(home), "RAY_TMPDIR": "/tmp/" + "x" * 100}
    run = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 2
    assert "RAY_TMPDIR" in run.stderr
    assert "Traceback" not in run.stderr
    assert {path.name for path in home.iterdir()} <= {"small.yaml", "mlflow.db", "mlflow.db.lock"}
    [found] = checks(doctor(home, "--json", RAY_TMPDIR="/tmp/" + "x" * 100))["Ray's folder"]
    assert (found["status"], "105 bytes" in found["value"]) == ("failure", True)
    [found] = checks(doctor(home, "--json"))["Ray's folder"]
    assert found["status"] == "ok"
