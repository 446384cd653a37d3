"""What `validate` expects a launch to take: from earlier trials in a real store, and otherwise it does not know."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import TINY, make_dataset
from recording import FACTS

from orchestrator import records as keys
from orchestrator.cli.main import cli
from orchestrator.data import save_packed
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Record, Status
from orchestrator.reporting.comparison.spending import Share
from orchestrator.scheduling.launch_folder import LaunchFolder
from orchestrator.tracking.artifacts import log_comparison
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.trial import TrialFolder
from orchestrator.workflow.check import Checked, check_experiment
from orchestrator.workflow.estimate import estimate
from orchestrator.workflow.facts import trial_facts
from orchestrator.workflow.launch_metrics import launch_metrics
from orchestrator.workflow.results import read_results

SECONDS = {"Tiny": 2.0, "Slow": 6.0}  # of an epoch

FACTORS = (1.0, 1.5, 10.0)  # of three launches that took longer and longer


class Sources:
    """A folder with two networks and a dataset, and a store with three launches that trained them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, f"sqlite:///{folder / 'mlflow.db'}"
        (folder / "networks.py").write_text(TINY)
        save_packed(make_dataset(), folder / "tiny.pt")
        self.tree = {
            "name": "small",
            "variants": [f"{folder}/networks.py:Tiny", f"{folder}/networks.py:Slow"],
            "seeds": [0, 1],
            "dataset": {"name": f"{folder}/tiny.pt"},
            "trainer": {"epochs": 3, "batch_size": 32},
        }

    def check(self, **changes: object) -> Checked:
        return check_experiment(read_experiment({**self.tree, **changes}, "small"), self.folder, lambda _: None)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    made = Sources(tmp_path_factory.mktemp("earlier"))
    for factor in FACTORS:
        record_launch(made.check(), made.uri, made.folder / "trials", {"CPU": 2.0}, factor)
    return made


def record_launch(checked: Checked, uri: str, folder: Path, resources: dict[str, float] | None, factor: float) -> None:
    """A launch in MLflow, whose epochs took ``factor`` times the usual seconds; without ``resources``, it goes on."""
    facts = trial_facts(checked, LaunchFolder(folder), checked.plan.trials)
    runs = open_launch(connect(uri), uri, f"launch{factor:g}", checked.plan, FACTS, facts, {}, None, f"id{factor:g}")
    sink = Sink(runs)
    for position, spec in enumerate(checked.plan.trials):
        trial = TrialFolder.create(folder / f"{factor}-{position}", spec)
        for epoch in range(1, spec.trainer.epochs + 1):
            metrics = {keys.TRAIN_LOSS: 1.0, keys.VAL_ACCURACY: 0.5, keys.EPOCH_SECONDS: factor * SECONDS[spec.label]}
            made = Record(epoch, 1000.0 + epoch, metrics)
            trial.append(made)
            sink.on_record(spec.name, made)
        trial.finish(Status.COMPLETE)
        sink.on_end(Outcome(spec.name, Status.COMPLETE, folder=trial.path))
    sink.close(Status.COMPLETE)
    if resources is None:
        return
    result = read_results(runs.client, "small", runs.launch)
    metrics = launch_metrics(result, Share.of(resources), 1.0)
    page = folder.with_name("page")
    page.mkdir(exist_ok=True)
    (page / "comparison.html").write_text("<html></html>")
    log_comparison(runs.client, result.parent_run_id, result.comparison.sentence, page, metrics)


def test_earlier_trials_tell_time_share_and_price(sources: Sources) -> None:
    checked = sources.check(trainer={"epochs": 5, "batch_size": 32}, resources={"price_per_hour": 9.0})
    expected = estimate(checked, sources.uri)
    assert expected.variants == pytest.approx({"Tiny": 1.5 * 2 * 5 * 2.0, "Slow": 1.5 * 2 * 5 * 6.0})  # the median
    assert (expected.seconds, expected.cpu_seconds, expected.gpu_seconds) == pytest.approx((120.0, 240.0, 0.0))
    assert expected.price == pytest.approx(240 * 9 / 3600)
    assert str(expected) == (
        "estimate: 2 min of training, one trial after another, 4 min of CPU cores, price 0.6; less if trials stop "
        "early (at the speed of 12 earlier trials)"
    )
    assert estimate(sources.check(), sources.uri).price is None
    own = {"cpus": 4, "gpus": 0.5, "price_per_hour": 9.0}
    checked = sources.check(resources=own, trainer={"epochs": 3, "batch_size": 32, "threads": 1})
    assert estimate(checked, sources.uri).price == pytest.approx(72 * 0.5 * 9 / 3600)


def test_a_launch_that_has_not_ended_tells_the_time_and_not_the_price(sources: Sources, tmp_path: Path) -> None:
    uri, checked = f"sqlite:///{tmp_path / 'mlflow.db'}", sources.check(resources={"price_per_hour": 9.0})
    record_launch(sources.check(), uri, tmp_path / "trials", None, 1.0)
    expected = estimate(checked, uri)
    assert (expected.seconds, expected.price) == (pytest.approx(48.0), None)
    assert "48 s of training, one trial after another, price unknown, because no earlier launch" in str(expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer": {"epochs": 3, "batch_size": 16}},
        {"trainer": {"epochs": 3, "batch_size": 32, "precision": "float32"}},
        {"trainer": {"epochs": 3, "batch_size": 32, "augmentation": [{"HorizontalFlip": {"p": 0.5}}]}},
        {"trainer": {"epochs": 3, "batch_size": 32, "optimizer": {"name": "adam"}}},
        {"resources": {"cpus": 2}},  # two threads
    ],
)
def test_no_speed_is_made_up_for_other_settings(changes: dict[str, object], sources: Sources) -> None:
    expected = estimate(sources.check(**changes), sources.uri)
    assert (expected.seconds, expected.price) == (None, None)
    assert "has trained Tiny, Slow on this data with these settings" in expected.reason


def test_what_is_known_of_some_variants_is_not_the_whole(sources: Sources) -> None:
    tiny, slow = sources.tree["variants"]
    expected = estimate(sources.check(variants=[tiny, {"name": slow, "arguments": {"width": 12}}]), sources.uri)
    assert expected.seconds is None
    assert expected.variants == pytest.approx({"Tiny": 18.0, "Slow": None})
    assert "has trained Slow on" in expected.reason


def test_trials_that_may_follow_count_as_the_most_that_they_can_be(sources: Sources) -> None:
    known = estimate(sources.check(), sources.uri)
    found = estimate(sources.check(verdict={"until_decided": True, "max_seeds": 5}), sources.uri)
    assert known.seconds is not None
    assert found.seconds == pytest.approx(known.seconds / 2 * 5)  # two seeds are listed
    assert (known.trials_to_come, found.trials, found.trials_to_come) == (0, 4, 6)


def test_other_data_is_another_speed(sources: Sources, tmp_path: Path) -> None:
    save_packed(make_dataset(per_class=50), tmp_path / "larger.pt")
    assert estimate(sources.check(dataset={"name": str(tmp_path / "larger.pt")}), sources.uri).seconds is None


def test_without_a_store_nothing_is_known_and_mlflow_is_not_imported(sources: Sources, tmp_path: Path) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from orchestrator.cli.main import cli;"
        "done = CliRunner().invoke(cli, sys.argv[1:]); print(done.output);"
        "sys.exit(done.exit_code or 'mlflow' in sys.modules)"
    )
    (tmp_path / "x.yaml").write_text(json.dumps(sources.tree))
    command = ["validate", "x.yaml", "--set", "resources.price_per_hour=2"]
    ended = subprocess.run([sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "estimate: unknown, because there is no tracking store" in " ".join(ended.stdout.split())
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_validate_prints_it_when_asked(sources: Sources, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(json.dumps(sources.tree))

    def validate(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["validate", str(file), "--tracking-uri", sources.uri, *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "estimate: 72 s of training" in " ".join(validate("--estimate").split())
    priced = json.loads(validate("--set", "resources.price_per_hour=36", "--json"))["estimate"]
    assert priced["price"] == pytest.approx(144 * 36 / 3600)
    assert json.loads(validate("--json"))["estimate"] is None
    assert "estimate" not in validate()
