"""What ``orchestrator simulate`` says of itself: plan, notes, standard errors, progress, and an interruption."""

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path
from statistics import fmean, stdev

import pytest
from patience import PATIENCE
from scipy import stats
from simulating import NAMES, asked, command


def test_an_interruption_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    running = subprocess.Popen(
        command(tmp_path, "--repeat", "100000"),
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not list(scratch.glob("simulated-*/*")):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, errors = running.communicate(timeout=PATIENCE)
    finally:
        running.kill()
    lines = errors.splitlines()
    assert (running.returncode, out, lines[:-1]) == (
        130,
        "",
        ["interrupted: nothing was kept, start again when you like"],
    )
    assert not list(scratch.iterdir())


def test_a_terminal_shows_how_far_it_is(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        command(tmp_path, "--repeat", "3", "--json"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, check=False
    )
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "\r\x1b[Kreplayed 1 of 3\r\x1b[Kreplayed 2 of 3\r\x1b[Kreplayed 3 of 3\r\x1b[K" in shown


def test_another_seed_is_another_set_of_replays(tmp_path: Path) -> None:
    first, again, other = (
        json.loads(asked(tmp_path, "--repeat", "3", "--json", "--seed", seed).stdout)["replays"] for seed in "001"
    )
    assert first == again
    assert not [replay for replay in first if replay["truths"] in [one["truths"] for one in other]]


def test_what_was_simulated_is_said(tmp_path: Path) -> None:
    arguments = ["--repeat", "2", "--set", "resources.max_concurrent_trials=3", "--law", "noise=0.01"]
    text = " ".join(asked(tmp_path, *arguments).stdout.split())
    assert "Curves by a power law, law noise=0.01." in text
    assert "8 workers, of which at most 3 trained at the same time (resources.max_concurrent_trials is 3)" in text
    found = json.loads(asked(tmp_path, *arguments, "--json").stdout)
    assert found["plan"]["search"] == {"name": "random", "samples": 9, "per": "shared", "seed": 0, "concurrency": None}
    assert found["plan"]["scheduler"] == {"name": "asha", "grace_period": 1, "reduction_factor": 3}
    assert (found["plan"]["seeds"], found["plan"]["max_seeds"]) == ([0], None)
    assert found["planned"]["workers_used"] == {"median": 3, "low": 3, "high": 3}
    alone = " ".join(asked(tmp_path, "--repeat", "1", "--workers", "1").stdout.split())
    assert "Replayed once (seed 0) on 1 worker; nothing was trained." in alone


@pytest.mark.parametrize(
    ("assignment", "note"),
    [
        ("scheduler.grace_period=9", "scheduler asha stops no trial"),
        (
            "search={name: tpe, samples: 9, space: {trainer.optimizer.lr: {loguniform: [0.01, 1]}}}",
            "tpe draws at random",
        ),
        ("trainer.stop_at_accuracy=0.8", "about what they would reach at the last epoch"),
    ],
)
def test_what_cannot_work_is_noted(tmp_path: Path, assignment: str, note: str) -> None:
    result = asked(tmp_path, "--repeat", "1", "--json", "--set", assignment)
    assert any(note in line for line in json.loads(result.stdout)["notes"])
    assert note in result.stderr


def test_limits_and_constants_without_effect_are_said(tmp_path: Path) -> None:
    tpe = "search={name: tpe, concurrency: 1, samples: 2, space: {trainer.optimizer.lr: {loguniform: [0.01, 1]}}}"
    result = asked(tmp_path, "--repeat", "1", "--set", tpe)
    assert "at most 2 trained at the same time (search.concurrency is 1)" in " ".join(result.stdout.split())
    result = asked(tmp_path, "--repeat", "1", "--set", "search=null", "--law", "depth=0.2")
    assert "--law depth: no effect without a search" in result.stderr


def test_the_document_holds_finite_numbers_only(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("epoch,test_accuracy\n1,0\n9,100\n")
    limits = [f"--law={one}" for one in ("crossing=10", "seconds=1000000", "noise=1", "luck=1", "depth=1")]
    files = [f"--curves={name}={tmp_path / 'c.csv'}" for name in NAMES[:2]]
    for more in (["--law=tau=0.01", "--law=alpha=10"], ["--law=tau=10000", "--law=alpha=0.01"], files):
        result = asked(tmp_path, "--repeat", "2", "--json", *limits, *more)
        assert result.exit_code == 0, result.output
        json.loads(result.stdout, parse_constant=pytest.fail)


def test_regret_has_a_mean_and_the_difference_a_standard_error(tmp_path: Path) -> None:
    arguments = ["--repeat", "12", "--law", "crossing=6"]
    found = json.loads(asked(tmp_path, *arguments, "--json").stdout)
    planned = [fmean(c["best_tried"] - c["truth"] for c in one["choices"].values()) for one in found["replays"]]
    assert found["planned"]["mean_regret"] == pytest.approx(
        {"mean": fmean(planned), "standard_error": stdev(planned) / 12**0.5, "n": 12}
    )
    whole = json.loads(asked(tmp_path, *arguments, "--json", "--set", "scheduler={name: fifo}").stdout)["replays"]
    all_of = [fmean(c["best_tried"] - c["truth"] for c in one["choices"].values()) for one in whole]
    lost = [one - other for one, other in zip(planned, all_of, strict=True)]
    test = stats.ttest_1samp(lost, 0)
    assert found["lost"] == pytest.approx(
        {"mean": fmean(lost), "standard_error": stdev(lost) / 12**0.5, "n": 12, "distinguishable": test.pvalue < 0.05}
    )
    assert found["lost"]["mean"] > 0  # curves that cross this much mislead whoever looks at the first epoch
