"""``orchestrator simulate``: what it counts, what it prints, what it refuses, and that it trains and builds nothing."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from recording import open_runs
from simulating import NAMES, Jagged, asked, command, replayed, searched

from orchestrator import records as keys
from orchestrator.cli.main import cli
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Record, Status
from orchestrator.simulation.figures import figures
from orchestrator.simulation.laws import Law, Laws
from orchestrator.simulation.seams import undisturbed
from orchestrator.spec import Experiment, Recipe, Variant, VerdictSettings
from orchestrator.tracking.sink import Sink
from orchestrator.trial import TrialFolder
from orchestrator.verdict import Decision


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


def test_with_a_baseline_decided_means_of_every_pair_with_it(tmp_path: Path) -> None:
    variants = tuple(Variant(name=name) for name in NAMES)
    settings = VerdictSettings(baseline=NAMES[0])
    experiment = Experiment(
        name="x", variants=variants, trainer=Recipe(epochs=3), seeds=tuple(range(5)), verdict=settings
    )
    decided = []
    for world in range(20):
        laws = Laws(Law(luck=0.01, noise=0.0, spread=0.05), experiment, str(world))
        found = figures(replayed(tmp_path, experiment, laws), laws)
        assert found.verdict is not None
        assert found.is_decided is all(pair.decision is not Decision.UNDECIDED for pair in found.verdict.pairs)
        decided.append(found.is_decided)
    assert {True, False} == set(decided)


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
