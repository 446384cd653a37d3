"""Output that nobody reads to its end: commands end with the exit code that they would have, and launches go on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from driving import ORCHESTRATOR, QUIET_ENVIRONMENT
from patience import PATIENCE
from rich.console import Console

from orchestrator.records import Status
from orchestrator.reporting.console import plain_console
from orchestrator.trial import TrialFolder
from orchestrator.workflow.display import Terminal
from orchestrator.workflow.watch import JobDisplay


@pytest.fixture
def unread() -> Iterator[IO[str]]:
    """The end of a pipe whose reader is gone."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as file:
        yield file


def unread_command(*arguments: str, cwd: Path, errors: bool = False) -> tuple[int, str]:
    """The exit code of a command whose stdout, and with ``errors`` stderr, nobody reads; else what stderr holds."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [ORCHESTRATOR, *arguments],
        cwd=cwd,
        env=QUIET_ENVIRONMENT,
        stdout=write,
        stderr=write if errors else subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )
    os.close(write)
    return done.returncode, "" if errors else done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0), (["variants", "--json"], 0),
        (["validate", "--schema"], 0), (["inspect", "stride"], 0), (["validate", "none.yaml"], 2), (["none"], 2),
    ],
    ids=str,
)  # fmt: skip
def test_that_nobody_reads_the_output_is_no_failure(arguments: list[str], code: int, tmp_path: Path) -> None:
    found, said = unread_command(*arguments, cwd=tmp_path)
    assert found == code
    assert "Broken" not in said
    assert "Traceback" not in said
    assert unread_command(*arguments, cwd=tmp_path, errors=True)[0] == code


def test_a_trial_that_nobody_watches_is_trained_to_its_end(packed: Path, network_file: Path, tmp_path: Path) -> None:
    arguments = ["train", f"{network_file}:Tiny", "--dataset", str(packed), "--epochs", "2", "--no-report"]
    assert unread_command(*arguments, cwd=tmp_path, errors=True)[0] == 0
    outcome = TrialFolder(tmp_path / "trials" / "Tiny" / "seed-0").outcome()
    assert outcome is not None
    assert outcome.status is Status.COMPLETE


def test_a_console_only_goes_quiet(unread: IO[str]) -> None:
    display = Terminal(plain_console(unread))
    for line in ("once", "twice"):
        display.log(line)
    assert display.console.quiet
    unread.flush()  # what it held goes nowhere


def test_a_script_that_is_piped_goes_on(tmp_path: Path) -> None:
    script = (
        "from orchestrator.workflow.display import Terminal\n"
        "display = Terminal()\n"
        "for n in range(3): display.log('x' * 10_000)\n"
        "open('done', 'w').close()\n"
    )
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, cwd=tmp_path, stdout=write, timeout=PATIENCE, check=False).returncode == 0
    os.close(write)
    assert (tmp_path / "done").exists()


def test_a_job_is_not_followed_for_nobody(unread: IO[str]) -> None:
    with JobDisplay(plain_console(unread)) as display, pytest.raises(BrokenPipeError):
        display.show("a line of the log")
    assert isinstance(display.console, Console)


@pytest.mark.parametrize("raised", ["BrokenPipeError", "BrokenPipeError(errno.EPIPE, 'a pipe of its own')"])
def test_a_broken_pipe_that_is_not_our_output_is_told(raised: str, packed: Path, tmp_path: Path) -> None:
    network = "import errno\nfrom torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        raise "
    (tmp_path / "piping.py").write_text(network + raised)
    arguments = ["inspect", "piping.py:Net"]
    done = subprocess.run(
        [ORCHESTRATOR, *arguments],
        cwd=tmp_path,
        env=QUIET_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode != 0
    assert "BrokenPipeError" in done.stderr
