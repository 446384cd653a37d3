"""A complete launch is recognised by its settings, data, sources and store, and by nothing less."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from recording import FACTS, record

from orchestrator.errors import ResourceError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Status
from orchestrator.scheduling.launch_folder import LaunchFolder, newest_launch, open_launch_folder
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import Experiment, Published
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.runs import LaunchRuns
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.workflow.completed_launch import completed_launch, fingerprint, mark_complete
from orchestrator.workflow.display import Display
from orchestrator.workflow.results import Results
from orchestrator.workflow.run import run

URI = "sqlite:///a.db"


@pytest.fixture
def experiment(network_file: Path, packed: Path) -> Experiment:
    plain = {"name": "small", "variants": [f"{network_file}:Tiny"], "dataset": {"name": str(packed)}}
    return read_experiment(plain, "small.yaml")


class Completed:
    """A storage folder with launches of an experiment, of which some are marked as complete; nothing is trained."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.storage = folder, Storage(folder / "storage")

    def open(self, experiment: Experiment, again: bool = False) -> LaunchFolder:
        """As a command that works on it opens it: it is given the plan of ``experiment``."""
        plan = make_plan(experiment)
        folder, _ = open_launch_folder(self.storage.root, plan, again)
        folder.amend(plan, self.storage)
        return folder

    def complete(self, experiment: Experiment, again: bool = False) -> LaunchFolder:
        folder = self.open(experiment, again)
        mark_complete(folder, self.storage, fingerprint(experiment, self.folder, URI), folder.name)
        return folder

    def found(self, experiment: Experiment, folder: LaunchFolder | None = None, uri: str = URI) -> str | None:
        found = completed_launch(self.storage, experiment, self.folder, uri, folder)
        return None if found is None else found.name


@pytest.fixture
def completed(tmp_path: Path) -> Completed:
    return Completed(tmp_path)


def test_the_same_again_is_complete(experiment: Experiment, completed: Completed) -> None:
    assert completed.found(experiment) is None
    folder = completed.complete(experiment)
    assert completed.found(experiment) == folder.name
    assert completed.found(experiment, uri="sqlite:///b.db") is None
    assert completed.found(replace(experiment, seeds=(0, 1))) is None


def test_a_launch_whose_published_curve_was_corrected_is_not_complete(
    experiment: Experiment, completed: Completed, tmp_path: Path
) -> None:
    curve = tmp_path / "curve.csv"
    curve.write_text("epoch,test_accuracy\n1,50\n")
    drawn = replace(experiment, published=Published(curve=str(curve)))
    folder = completed.complete(drawn)
    assert completed.found(drawn) == folder.name
    curve.write_text("epoch,test_accuracy\n1,55\n")
    assert completed.found(drawn) is None
    curve.write_text("epoch,test_accuracy\n1,50\n")
    assert completed.found(drawn) == folder.name
    curve.unlink()
    assert completed.found(drawn) is None


def test_a_launch_that_has_moved_on_is_not_complete_by_its_first_file(
    experiment: Experiment, completed: Completed
) -> None:
    grown = replace(experiment, seeds=(0, 1))
    folder = completed.complete(experiment)
    assert completed.open(grown) == folder
    assert completed.found(experiment) is None, "its comparison has the second seed"
    assert completed.found(experiment, folder) is None
    completed.open(experiment)
    assert completed.found(experiment) is None, "the second seed is taken out, and that is not recorded yet"
    assert completed.complete(experiment) == folder
    assert completed.found(experiment) == completed.found(experiment, folder) == folder.name
    assert completed.found(grown) is None


def test_of_two_equal_launches_the_newest_is_found_or_the_one_that_is_asked_for(
    experiment: Experiment, completed: Completed
) -> None:
    folders = [completed.complete(experiment, again) for again in (False, True, True)]
    assert completed.found(experiment) == folders[-1].name
    assert [completed.found(experiment, folder) for folder in folders] == [folder.name for folder in folders]
    (folders[1].path / "complete.json").unlink()
    assert completed.found(experiment, folders[1]) is None
    assert completed.found(experiment) == folders[-1].name


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_what_was_begun_again_and_broken_off_is_resumed_by_the_file_alone(
    experiment: Experiment, completed: Completed, seeds: tuple[int, ...]
) -> None:
    first = completed.complete(experiment)
    newer = completed.open(replace(experiment, seeds=seeds), again=True)
    assert completed.found(experiment) is None
    assert completed.open(experiment) == newer
    assert completed.found(experiment, first) == first.name, "the older one is complete, if it is asked for"
    assert completed.complete(experiment) == newer
    assert completed.found(experiment) == newer.name


def test_a_newer_launch_of_another_recipe_hides_nothing(experiment: Experiment, completed: Completed) -> None:
    first = completed.complete(experiment)
    other = completed.open(replace(experiment, trainer=replace(experiment.trainer, epochs=2)))
    assert other != first
    assert completed.found(experiment) == first.name


def test_the_launch_last_worked_on_is_the_newest_though_the_clock_was_set_back(
    experiment: Experiment, completed: Completed
) -> None:
    first = completed.open(experiment)
    ahead = {**first.content(), "opened": first.opened + 1e6}
    (first.path / "launch.json").write_text(json.dumps(ahead))
    second = completed.open(replace(experiment, trainer=replace(experiment.trainer, epochs=2)))
    assert second != first
    assert newest_launch(completed.storage.root, experiment.name)[0] == second
    assert completed.open(experiment) == first
    assert newest_launch(completed.storage.root, experiment.name)[0] == first


def test_a_mark_whose_launch_the_store_lacks_is_not_used(experiment: Experiment, completed: Completed) -> None:
    """What would be done instead is seen by where it fails: nobody is at this address."""
    folder = completed.complete(experiment)
    uri = f"sqlite:///{completed.folder / 'mlflow.db'}"
    mark_complete(folder, completed.storage, fingerprint(experiment, completed.folder, uri), folder.name)
    assert completed.found(experiment, uri=uri) == folder.name

    def start(of: LaunchFolder | None = None) -> Results:
        return run(
            experiment, data_dir=completed.folder, storage=completed.storage, display=Display(), tracking_uri=uri,
            address="127.0.0.1:1", folder=of,
        )  # fmt: skip

    def is_delivered_again() -> bool:
        with pytest.raises(ResourceError, match="no Ray cluster answers"):
            start()
        with pytest.raises(ResourceError, match="no Ray cluster answers"):
            start(folder)
        return True

    assert is_delivered_again(), "there is no store"
    connect(uri)
    assert is_delivered_again(), "it has no such experiment"
    plan = make_plan(experiment)
    other = open_launch(connect(uri), uri, folder.name, plan, FACTS, {}, {}, None, "b" * 32)
    record_ends(other)
    assert is_delivered_again(), "it has the launch of another folder under this name"
    other.client.delete_run(other.parent_run_id)
    assert is_delivered_again(), "it has no such launch"
    mine = open_launch(connect(uri), uri, folder.name, plan, FACTS, {}, {}, None, folder.id, folder.opened)
    assert is_delivered_again(), "it has no trial"
    record_ends(mine)
    assert start().complete
    assert start(folder).parent_run_id == mine.parent_run_id


def test_a_store_restored_from_an_older_backup_is_not_complete(experiment: Experiment, completed: Completed) -> None:
    database = completed.folder / "mlflow.db"
    uri = f"sqlite:///{database}"

    def start(of: Experiment) -> Results:
        return run(
            of, data_dir=completed.folder, storage=completed.storage, display=Display(), tracking_uri=uri,
            address="127.0.0.1:1",
        )  # fmt: skip

    def complete(of: Experiment) -> None:
        folder = completed.open(of)
        plan = make_plan(of)
        record_ends(open_launch(connect(uri), uri, folder.name, plan, FACTS, {}, {}, None, folder.id, folder.opened))
        mark_complete(folder, completed.storage, fingerprint(of, completed.folder, uri), folder.name)

    amended = replace(experiment, seeds=(0, 1), verdict=replace(experiment.verdict, margin=0.02))
    complete(experiment)
    with closing(sqlite3.connect(database)) as now, closing(sqlite3.connect(f"{database}.backup")) as backup:
        now.backup(backup)
    complete(amended)
    assert start(amended).judging.verdict.margin == 0.02
    with closing(sqlite3.connect(database)) as now, closing(sqlite3.connect(f"{database}.backup")) as backup:
        backup.backup(now)
    with pytest.raises(ResourceError, match="no Ray cluster answers"):
        start(amended)


def record_ends(runs: LaunchRuns) -> None:
    sink = Sink(runs)
    for spec in runs.plan.trials:
        sink.on_record(spec.name, record(1))
        sink.on_record(spec.name, record(1, final=True))
        sink.on_end(Outcome(spec.name, Status.COMPLETE))
    sink.close(Status.COMPLETE)


@pytest.mark.parametrize("touched", ["networks.py", "tiny.pt"])
def test_an_edited_file_is_noticed(experiment: Experiment, tmp_path: Path, touched: str) -> None:
    before = fingerprint(experiment, tmp_path, URI)
    file = tmp_path / touched
    file.write_bytes(file.read_bytes() + b"\n")
    assert fingerprint(experiment, tmp_path, URI) != before
    (tmp_path / touched).unlink()
    assert fingerprint(experiment, tmp_path, URI) is None


def test_a_damaged_mark_is_no_mark(experiment: Experiment, completed: Completed) -> None:
    folder = completed.complete(experiment)
    mark = folder.path / "complete.json"
    earlier = json.loads(mark.read_text())
    del earlier["plans"]
    for content in ("", "[]", "{}", "{", json.dumps(earlier)):
        mark.write_text(content)
        assert completed.found(experiment) is None


HEAVY = ("torch", "ray", "matplotlib", "sklearn", "scipy.stats", "scipy.optimize")


@pytest.mark.parametrize(
    "module",
    [
        "orchestrator.cli.compare", "orchestrator.cli.variants", "orchestrator.architectures.table",
        "orchestrator.workflow.results", "orchestrator.workflow.completed_launch", "orchestrator.cli.status",
        "orchestrator.cli.resume", "orchestrator.scheduling.launch_folder", "orchestrator.tracking.ui",
    ],
)  # fmt: skip
def test_what_reads_only_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert found.stdout.strip() == "[]"


def test_checking_the_digits_imports_neither_scikit_learn_nor_torchs_compiler() -> None:
    code = (
        "import sys; from pathlib import Path; from orchestrator.workflow.check import check_experiment;"
        "from orchestrator.experiment.reader import read_experiment;"
        "check_experiment(read_experiment({'name': 'x', 'variants': ['stride']}, 'x'), Path('data'), lambda _: None);"
        "print([name for name in ('sklearn', 'torch._dynamo', 'sympy', 'albumentations') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert found.stdout.strip() == "[]"
