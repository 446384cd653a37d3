"""``orchestrator simulate``: what it counts, what it prints, what it refuses, and that it trains and builds nothing."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from click.testing import CliRunner, Result
from recording import open_runs
from scipy import stats
from simulating import Jagged, replayed, searched

from orchestrator import records as keys
from orchestrator.cli.main import cli
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Record, Status
from orchestrator.simulation.figures import figures
from orchestrator.simulation.laws import Law, Laws
from orchestrator.simulation.seams import undisturbed
from orchestrator.spec import Experiment, Recipe, Variant
from orchestrator.tracking.sink import Sink
from orchestrator.trial import TrialFolder

SEARCH = """
name: search
variants: [stride, grouped_concat]
trainer: {epochs: 9}
search: {samples: 9, space: {trainer.optimizer.lr: {loguniform: [0.001, 1.0]}}}
scheduler: {name: asha}
contract: {max_parameters: 10}
"""
NAMES = ("stride", "grouped_concat", "dilated_separable")


def asked(folder: Path, *arguments: str) -> Result:
    (folder / "x.yaml").write_text(SEARCH)
    return CliRunner().invoke(cli, ["simulate", str(folder / "x.yaml"), *arguments], env={"COLUMNS": "80"})


def test_the_figures_of_a_search(tmp_path: Path) -> None:
    experiment = searched(30, variants=NAMES)
    laws = Laws(Law(luck=0.0, noise=0.0, crossing=0.0), experiment)
    found = figures(replayed(tmp_path, experiment, laws), laws)
    assert found.trials == 90
    assert sum(found.stopped.values()) < 90
    assert set(found.stopped) <= {1, 3, 9}
    whole = figures(replayed(tmp_path, undisturbed(experiment), laws), laws)
    assert (whole.epochs, whole.stopped) == (90 * 27, {})
    assert all(choice.is_best for choice in whole.choices.values())  # nothing misleads a search that trains all
    assert all(choice.best_tried < (choice.best or 0.0) for choice in whole.choices.values())
    assert found.epochs < whole.epochs
    assert found.seconds < whole.seconds


def test_the_verdict_is_held_against_the_truth(tmp_path: Path) -> None:
    experiment = Experiment(
        name="x", variants=tuple(Variant(name=n) for n in NAMES), trainer=Recipe(epochs=3), seeds=tuple(range(8))
    )
    laws = Laws(Law(luck=0.0005, noise=0.0, spread=0.3), experiment)
    found = figures(replayed(tmp_path, experiment, laws), laws)
    assert found.verdict is not None
    assert found.leaders == found.best_variants
    assert found.seeds == dict.fromkeys(NAMES, 8)
    assert (found.is_decided, found.wrong, found.rounds, found.said) == (True, 0, 8, ())
    unclear = Laws(Law(luck=0.05, noise=0.0, spread=0.0), experiment)
    assert not figures(replayed(tmp_path, experiment, unclear), unclear).is_decided
    lying = replace(found, truths={name: 1 - truth for name, truth in found.truths.items()})
    assert lying.wrong == 3
    one = replace(experiment, variants=experiment.variants[:1])
    assert figures(replayed(tmp_path, one, Jagged()), Jagged()).verdict is None


def test_the_table(tmp_path: Path) -> None:
    result = asked(tmp_path, "--repeat", "3")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in result.output
    for row in (
        "search simulated: random search with 9 samples; scheduler asha (grace_period 1,",
        "Replayed 3 times (seed 0) on 8 workers",
        "trials",
        "epochs",
        "minutes, workers added up",
        "best tried is chosen",
        "regret, points",
        "mean regret, points",
        "Mean regret as planned minus all to the end",
        "to the end",
        "docs/simulating.md says which row answers which question",
    ):
        assert any(line.startswith(row) for line in lines), row
    assert "no network is built" in result.stderr


def test_the_document(tmp_path: Path) -> None:
    result = asked(
        tmp_path, "--repeat", "2", "--json", "--workers", "3", "--law", "depth=0.2", "--set", "scheduler.name=fifo"
    )
    found = json.loads(result.stdout)
    assert found["whole"] is None
    assert found["planned"]["epochs"] == {"median": 162, "low": 162, "high": 162}
    assert (found["workers"], found["law"]["depth"], len(found["replays"])) == (3, 0.2, 2)
    assert found == json.loads(
        asked(
            tmp_path, "--repeat", "2", "--json", "--workers", "3", "--law", "depth=0.2", "--set", "scheduler.name=fifo"
        ).stdout
    )
    stopping = json.loads(asked(tmp_path, "--repeat", "2", "--json").stdout)
    assert stopping["whole"]["epochs"] == found["planned"]["epochs"]
    assert stopping["planned"]["epochs"]["high"] < 162


def test_rounds_are_held_against_all_rounds_of_all_variants(tmp_path: Path) -> None:
    arguments = ["--set", "search=null", "--set", "scheduler.name=fifo", "--set", "seeds=[0,1,2]"]
    arguments += [
        "--set",
        "verdict.until_decided=true",
        "--set",
        "verdict.max_seeds=9",
        "--repeat",
        "4",
        "--law",
        "spread=0.2",
    ]
    result = asked(tmp_path, *arguments)
    assert result.exit_code == 0, result.output
    assert "In the first replay" in result.stdout
    assert "no further round: " in " ".join(result.stdout.split())
    found = json.loads(asked(tmp_path, *arguments, "--json").stdout)
    assert found["whole"]["trials"] == {"median": 18, "low": 18, "high": 18}
    assert found["planned"]["trials"]["low"] < 18
    assert "Looked at after every round" in found["replays"][0]["verdict"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--law", "dept=1"], "write NAME=NUMBER (did you mean depth?)"),
        (["--law", "depth=deep"], "'deep' is not a number"),
        (["--law", "depth=2"], "depth: must be"),
        (["--law", "tau"], "--law tau: write tau=NUMBER\n"),
        (["--law", "tau=1", "--law", "tau=2"], "tau is given twice"),
        (["--law", "tau=inf"], "tau: must be at most 10000, not inf"),
        (["--law", "crossing=nan"], "crossing: must be at least 0 and at most 10, not nan"),
        (["--law", "seconds=1e300"], "seconds: must be at most 1e+06"),
        (["--curves", "stride=x.csv", "--law", "tau=1"], "--law tau: no effect on curves of files"),
        (["--curves", "stride=x.csv", "--curves", "stride=y.csv"], "stride has a file already, x.csv"),
        (["--curves", "stride="], "write VARIANT=FILE.csv"),
        (["--from", ""], "--from needs the name of an experiment"),
        (["--curves", "x.csv"], "write VARIANT=FILE.csv; variants: stride, grouped_concat"),
        (["--curves", "stride=x.csv"], "no file for grouped_concat"),
        (["--curves", "stride=x.csv", "--curves", "grouped_concat=x.csv"], "cannot be read as a curve"),
        (["--curves", "stride=x.csv", "--from", "x"], "give --curves or --from, not both"),
        (["--from", "x", "--law", "depth=1"], "--law depth: no effect on recorded curves"),
        (["--set", "trainer.epoch=2"], "epochs"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_heavy_is_imported_and_nothing_is_left_behind(tmp_path: Path) -> None:
    done = run(tmp_path, "--repeat", "2", "--json")
    assert json.loads(done.stdout)["repeat"] == 2
    assert json.loads(done.stderr.splitlines()[-1]) == []
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own, which says at the end which of the heavy packages it has imported."""
    done = subprocess.run(command(folder, *arguments), cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done


def command(folder: Path, *arguments: str) -> list[str]:
    (folder / "x.yaml").write_text(SEARCH)
    program = (
        "import sys, json, atexit\n"
        "heavy = ('torch', 'ray', 'mlflow', 'matplotlib', 'albumentations')\n"
        "atexit.register(lambda: print(json.dumps([x for x in heavy if x in sys.modules]), file=sys.stderr))\n"
        "from orchestrator.cli.main import main\n"
        f"main({['simulate', 'x.yaml', *arguments]!r})\n"
    )
    return [sys.executable, "-c", program]


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
    while not list(scratch.glob("simulated-*/*")):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=60)
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


def test_curves_of_an_earlier_launch(tmp_path: Path) -> None:
    tree: dict[str, Any] = {"name": "small", "variants": list(NAMES[:2]), "seeds": [0, 1], "trainer": {"epochs": 3}}
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    plan = make_plan(read_experiment(tree, "small"))
    sink = Sink(open_runs(uri, plan))
    for position, spec in enumerate(plan.trials):
        trial = TrialFolder.create(tmp_path / "trials" / str(position), spec)
        for epoch in range(1, 4):
            metrics = {keys.TRAIN_LOSS: 1.0, keys.VAL_ACCURACY: 0.1 * epoch + 0.01 * position, keys.EPOCH_SECONDS: 36.0}
            trial.append(Record(epoch, 1000.0 + epoch, metrics))
            sink.on_record(spec.name, Record(epoch, 1000.0 + epoch, metrics))
        trial.finish(Status.COMPLETE)
        sink.on_end(Outcome(spec.name, Status.COMPLETE, folder=trial.path))
    sink.close(Status.COMPLETE)
    (tmp_path / "small.yaml").write_text(json.dumps({**tree, "seeds": [0, 1, 2, 3]}))
    arguments = ["simulate", str(tmp_path / "small.yaml"), "--tracking-uri", uri, "--json", "--repeat", "2"]
    result = CliRunner().invoke(cli, [*arguments, "--from", "small"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["planned"]["work_seconds"]["median"] == 8 * 3 * 36.0
    assert found["replays"][0]["truths"] == pytest.approx({"stride": 0.31, "grouped_concat": 0.32})
    assert "small in MLflow" in found["curves"]
    assert found["law"] is None
    assert any("fewer than 3 seeds of the same settings recorded (stride: 2" in note for note in found["notes"])
    refused = CliRunner().invoke(cli, [*arguments, "--from", "other"])
    assert "no experiment 'other'" in str(refused.exception)
