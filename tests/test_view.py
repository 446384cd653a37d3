"""The live view: how far a launch is, what runs and what ended last; one line a change where there is no screen."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator import records as keys
from orchestrator.records import Outcome, Record, Status
from orchestrator.reporting.terminal import View, is_state_line
from orchestrator.workflow.display import Terminal
from orchestrator.workflow.verify import _epochs_reported


def shown(view: View, height: int = 30) -> str:
    console = Console(file=io.StringIO(), width=120, height=height, force_terminal=True, color_system=None)
    view.console = console
    console.print(view)
    return console.file.getvalue()


def off_screen(trials: list[str], epochs: int = 3, **settings: object) -> tuple[View, io.StringIO]:
    out = io.StringIO()
    return View(trials, epochs, Console(file=out, width=200), **settings), out


def record(epoch: int) -> Record:
    return Record(epoch, 0.0, {keys.TRAIN_ACCURACY: 0.5, keys.VAL_ACCURACY: 0.4, keys.IMAGES_PER_SECOND: 1000.0})


def test_before_anything_trains_it_says_what_is_waited_for() -> None:
    view, _ = off_screen(["a", "b"])
    assert "starting workers" in shown(view)
    view.on_start("a")
    assert "0/2 trials" in shown(view)


def test_it_counts_and_estimates() -> None:
    view, _ = off_screen([f"t{i}" for i in range(8)])
    for i in range(6):
        view.on_start(f"t{i}")
        view.on_record(f"t{i}", record(1))
    view.on_end(Outcome("t0", Status.COMPLETE))
    view.on_end(Outcome("t1", Status.FAILED, "diverged"))
    view.on_end(Outcome("t2", Status.INTERRUPTED))
    text = shown(view)
    assert "3/8 trials, 1 interrupted, 1 failed" in text
    # Three epochs of t0, one of each other that began; what was interrupted or failed owes no more.
    assert re.search(r"\b8/20 epochs", text)
    assert "elapsed" in text
    assert "left" in text


def test_what_was_stopped_early_has_a_line_of_its_own_and_is_no_trouble() -> None:
    view, out = off_screen([f"t{i}" for i in range(4)])
    for i, accuracies in enumerate(([0.2, 0.634, 0.5], [0.3], [0.9])):
        view.on_start(f"t{i}")
        for epoch, accuracy in enumerate(accuracies, start=1):
            view.on_record(f"t{i}", Record(epoch, 0.0, {keys.TRAIN_ACCURACY: 0.5, keys.VAL_ACCURACY: accuracy}))
    for name, epoch in (("t0", 3), ("t1", 1)):
        view.on_end(Outcome(name, Status.STOPPED, f"stopped by the scheduler after epoch {epoch}"))
    text = shown(view)
    assert re.search(r"^stopped early: 2, best 63\.40 % at epoch 2 *$", text, re.MULTILINE)
    assert not re.search(r"^t[01] ", text, re.MULTILINE)
    assert re.search(r"^t2 .* running *$", text, re.MULTILINE)
    assert re.search(r"2/4 trials .*5/10 epochs", text)
    assert out.getvalue().splitlines()[-1].endswith("t1: stopped early by the scheduler after epoch 1")


def test_the_best_of_what_an_earlier_process_stopped_is_not_guessed() -> None:
    view, _ = off_screen(["a", "b"], ended=[Outcome("a", Status.STOPPED, "stopped by the scheduler after epoch 1")])
    assert re.search(r"^stopped early: 1 *$", shown(view), re.MULTILINE)


@pytest.mark.parametrize("height", [12, 60])
def test_of_thousands_it_shows_what_runs_and_what_ended_last(height: int) -> None:
    trials = [f"trial-{i:04}" for i in range(5_000)]
    view, _ = off_screen(trials)
    for name in trials[:3_000]:
        view.on_start(name)
        view.on_end(Outcome(name, Status.COMPLETE))
    view.on_start(trials[4_000])
    text = shown(view, height)
    assert len(text.splitlines()) <= 45
    assert trials[4_000] in text
    assert trials[2_999] in text
    assert trials[0] not in text
    hidden = int(re.search(r"and (\d+) more", text).group(1))
    assert hidden == 5_000 - len(re.findall(r"trial-\d+", text))
    assert "3000/5000 trials" in text


def test_what_ended_before_is_counted() -> None:
    view, _ = off_screen(["a", "b"], ended=[Outcome("a", Status.COMPLETE)])
    assert "1/2 trials" in shown(view)
    assert re.search(r"\b3/6 epochs", shown(view))


def test_off_a_screen_every_change_is_a_line() -> None:
    view, out = off_screen(["a"])
    with view:
        view.on_start("a")
        view.on_record("a", record(1))
        view.on_end(Outcome("a", Status.FAILED, "why"))
    lines = out.getvalue().splitlines()
    assert [line.partition(" ")[2] for line in lines] == [
        "a: started",
        "a: epoch 1/3, train 50.00 %, validation 40.00 %",
        "a: failed: why",
    ]
    assert all(map(is_state_line, lines))


def test_a_name_with_blanks_in_it_is_one_name(tmp_path: Path) -> None:
    view, out = off_screen(["my net (16)/seed-0", "stride/seed-0"])
    with view:
        for trial in view.lines:
            view.on_start(trial)
            for epoch in (1, 2, 2):
                view.on_record(trial, record(epoch))
            view.on_end(Outcome(trial, Status.FAILED, "why: because"))
    assert all(map(is_state_line, out.getvalue().splitlines()))
    assert not is_state_line("launch small is amended: new seed 2")
    (tmp_path / "output.txt").write_text(f"launch small: begun\n{out.getvalue()}")
    assert _epochs_reported(tmp_path) == 4


@pytest.mark.parametrize(("epoch", "said"), [(2, "at epoch 2/3"), (3, "at epoch 3/3"), (4, "after its last epoch")])
def test_a_resumed_trial_says_where(epoch: int, said: str) -> None:
    view, out = off_screen(["a"])
    with view:
        view.on_start("a", epoch)
        view.on_record("a", record(epoch - 1))  # what its new worker tells once more
        for left in range(epoch, 4):
            view.on_record("a", record(left))
    lines = [line.partition(" ")[2].partition(", ")[0] for line in out.getvalue().splitlines()]
    expected = [f"a: epoch {left}/3" for left in range(epoch, 4)]
    assert lines == [f"a: resumed {said}", f"a: resumes after epoch {epoch - 1}/3", *expected]


def test_quiet_tells_failures_only() -> None:
    view, out = off_screen(["a", "b"], quiet=True)
    with view:
        for name, status in (("a", Status.COMPLETE), ("b", Status.FAILED)):
            view.on_start(name)
            view.on_end(Outcome(name, status))
    assert [line.partition(" ")[2] for line in out.getvalue().splitlines()] == ["b: failed"]


@pytest.mark.parametrize(
    ("terminal", "quiet", "said"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_waiting_is_shown_on_a_screen_only(terminal: bool, quiet: bool, said: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=terminal)
    show = Terminal(console, quiet)
    with show.waiting("starting Ray") as progress:
        progress("making reports: 1 of 2")
    assert ("starting Ray" in out.getvalue() or "making reports: 1 of 2" in out.getvalue()) is said
