"""Networks that lie in another place than when they were trained, and variants with other names: the same trials."""

import json
import shutil
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, make_dataset
from driving import orchestrator
from hypothesis import given
from hypothesis import strategies as st
from recording import FACTS, open_runs, record

from orchestrator.data import save_packed
from orchestrator.errors import VariantError
from orchestrator.experiment.moved import found_today
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Status
from orchestrator.scheduling.launch_folder import LaunchFolder, open_launch_folder
from orchestrator.scheduling.storage import Storage
from orchestrator.scheduling.take_over import origin, take_over
from orchestrator.spec import Plan, TrialSpec
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.tracking.trial_rows import read_trials
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.check import check_experiment
from orchestrator.workflow.completed_launch import fingerprint
from orchestrator.workflow.delivery import Delivery

BLOCK, LR = "arguments.block", "trainer.optimizer.lr"
# Takes the class of a layer; in a second class one that differs, in the same file.
NETWORK = (
    TINY
    + """

class Built(Tiny):
    def __init__(self, num_classes=3, block=None):
        super().__init__(num_classes)
        self.block = block and block()

    def forward(self, x):
        return self.net(x) if self.block is None else self.block(self.net(x))


class Wide(Tiny):
    def __init__(self, num_classes=3):
        super().__init__(num_classes, width=6)
"""
)
PARTS = "from torch.nn import Identity\nclass X(Identity): ...\nclass Y(Identity): ...\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a network and classes that it can be given, where the user stands."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "net.py").write_text(NETWORK)
    (home / "ay.py").write_text(PARTS)
    save_packed(make_dataset(), home / "images.pt")
    monkeypatch.chdir(home)
    return home


def searched(name: str, network: str, parts: str, **more: Any) -> Plan:
    choice = [{"class": f"{parts}:X"}, [{"class": f"{parts}:Y"}], None]
    space = {BLOCK: {"choice": choice}, LR: {"choice": [0.05, 0.1]}}
    search = {"name": name, "space": space, "samples": 5}
    tree = {"name": "small", "variants": [{"name": f"{network}:Built"}], "search": search, "trainer": {"epochs": 2}}
    return make_plan(read_experiment({**tree, **more}, "x"))


def built(network: str, **more: Any) -> Plan:
    tree = {"name": "small", "variants": [f"{network}:Tiny"], "trainer": {"epochs": 2, "batch_size": 32}, **more}
    return make_plan(read_experiment(tree, "x"))


def move(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project in another place, with its modules in another folder of it; the user stands there."""
    moved = home.with_name("moved")
    home.rename(moved)
    (moved / "nets").mkdir()
    for name in ("net.py", "ay.py"):
        (moved / name).rename(moved / "nets" / name)
    monkeypatch.chdir(moved)
    return moved


# --- names


@pytest.mark.parametrize("name", ["random", "grid"])
def test_a_trial_is_called_the_same_wherever_the_classes_of_its_search_lie(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = searched(name, "net.py", "ay.py")
    assert any("=_class_ay.py_X_" in spec.name for spec in before.trials), "as earlier versions called them"
    monkeypatch.chdir(home.parent)
    plans = [searched(name, "home/net.py", "home/ay.py"), searched(name, f"{home}/net.py", f"{home}/ay.py")]
    move(home, monkeypatch)
    plans.append(searched(name, "nets/net.py", "nets/ay.py"))
    for plan in plans:
        assert [spec.name for spec in plan.trials] == [spec.name for spec in before.trials]
        assert [spec.identity() for spec in plan.trials] == [spec.identity() for spec in before.trials]


def test_runs_follow_the_names_of_their_trials(uri: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = searched("grid", "net.py", "ay.py")
    runs = open_runs(uri, plan)
    sink = Sink(runs)
    for spec in plan.trials:
        sink.on_record(spec.name, record(1))
    sink.close(Status.COMPLETE)
    client = connect(uri)
    for row in read_trials(client, runs.parent_run_id):  # as an earlier version called them
        client.set_tag(row.run_id, "trial", f"{row.trial}-before")
        client.update_run(row.run_id, name=f"{row.trial}-before")
    move(home, monkeypatch)
    plan = searched("grid", "nets/net.py", "nets/ay.py")
    again = open_runs(uri, plan)
    assert again.parent_run_id == runs.parent_run_id
    rows = read_trials(client, runs.parent_run_id)
    names = [spec.name for spec in plan.trials]
    assert [row.trial for row in rows] == names
    assert [client.get_run(row.run_id).info.run_name for row in rows] == names
    assert [row.settings for row in rows] == [spec.settings for spec in plan.trials], "with the classes of today"


# --- networks in another place


def test_a_trial_goes_on_with_the_network_where_it_lies_today(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = built("net.py").trials[0]
    going = run_trial(before, make_dataset(), home / "trial")
    next(going)
    going.close()
    moved = move(home, monkeypatch)
    today = built("nets/net.py").trials[0]
    list(run_trial(today, make_dataset(), moved / "trial"))
    trial = TrialFolder(moved / "trial")
    assert trial.spec() == today
    assert trial.network(3, (3, 16, 16)) is not None
    assert [one.epoch for one in trial.records() if not one.final] == [1, 2]


def test_a_folder_says_nothing_new_of_the_same_trial(home: Path) -> None:
    spec = built("net.py", dataset={"name": "images.pt"}).trials[0]
    spec = replace(spec, dataset_digest="d" * 64)
    folder = TrialFolder.create(home / "trial", spec)
    before = (home / "trial" / "spec.json").stat()
    assert not folder.renew(spec)
    elsewhere = replace(spec, dataset=replace(spec.dataset, name="elsewhere/images.pt"))
    assert elsewhere.identity() == spec.identity()
    assert not folder.renew(elsewhere), "its checkpoints may be known by the path of the dataset"
    assert (home / "trial" / "spec.json").stat().st_ino == before.st_ino
    staged = replace(spec, stage="search", sample=3, settings={LR: 0.1})
    assert folder.renew(staged)
    assert folder.spec() == staged


class Never:
    """An executor whose calls are not made."""

    def submit(self, *_arguments: Any) -> "Future[Any]":
        return Future()


def test_what_is_delivered_later_has_its_network_where_that_lies_today(
    home: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = built("net.py", dataset={"name": "images.pt"})
    checked = check_experiment(plan.experiment, home, lambda _: None)
    folder, _ = open_launch_folder(home / "storage", checked.plan)
    list(run_trial(checked.plan.trials[0], checked.dataset, folder.trial("Tiny/seed-0")))
    moved = move(home, monkeypatch)
    checked = check_experiment(built("nets/net.py", dataset={"name": "images.pt"}).experiment, moved, lambda _: None)
    folder = LaunchFolder(moved / folder.path.relative_to(home))
    bucket = shutil.copytree(moved / "storage", home.with_name("bucket"))
    storage = Storage(moved / "storage", f"file://{bucket}")
    runs: Future[Any] = Future()
    runs.set_result(open_launch(connect(uri), uri, folder.name, checked.plan, FACTS, {}, {}, None, folder.id))
    delivery = Delivery(checked, folder, storage, runs, Never(), None, lambda _: None)  # type: ignore[arg-type]
    with pytest.raises(VariantError, match="no readable file"):
        TrialFolder(folder.trial("Tiny/seed-0")).network(3, (3, 16, 16))
    delivery.catch_up(folder.finished(checked.plan), {})
    assert TrialFolder(folder.trial("Tiny/seed-0")).network(3, (3, 16, 16)) is not None
    stored = bucket / folder.path.relative_to(storage.root) / "trials" / "Tiny" / "seed-0"
    assert TrialFolder(stored).spec() == checked.plan.trials[0]
    delivery.close(Status.COMPLETE)


def test_a_trial_is_found_where_its_experiment_is_today(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = searched("grid", "net.py", "ay.py")
    missing = built("net.py").trials[0]
    moved = move(home, monkeypatch)
    after = searched("grid", "nets/net.py", "nets/ay.py")
    assert [found_today(spec, after.experiment) for spec in before.trials] == list(after.trials)
    assert [found_today(spec, after.experiment) for spec in after.trials] == list(after.trials)
    assert [found_today(spec, before.experiment) for spec in after.trials] == list(after.trials), "there is no file"
    assert found_today(missing, after.experiment) == missing, "it is of another class"
    assert found_today(replace(before.trials[0], as_="other"), after.experiment).as_ == "other"
    wide = replace(before.trials[0], arguments={"num_classes": 4})
    assert found_today(wide, after.experiment) == wide, "that is another trial"
    (moved / "nets" / "ay.py").unlink()
    named = [spec for spec in before.trials if spec.arguments["block"]]
    assert named
    assert [found_today(spec, after.experiment) for spec in named] == named


def test_a_complete_launch_of_a_moved_project_is_looked_at_once_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = {"name": "small", "variants": ["net.py:Tiny"], "dataset": {"name": "images.pt"}}

    def mark() -> str | None:
        return fingerprint(read_experiment(tree, "x"), Path("data"), "http://server")

    before = mark()
    assert before is not None
    assert mark() == before
    moved = home.rename(home.with_name("moved"))
    monkeypatch.chdir(moved)
    assert mark() not in (before, None), "the trials' folders name networks by the places that these had"


# --- other names


@given(st.sampled_from(["stride", "net.py:Net", "timm:resnet18"]), st.sampled_from(["", "d" * 64]), st.integers(0, 3))
def test_a_name_that_the_variant_has_anyway_makes_no_other_trial(variant: str, source: str, seed: int) -> None:
    plain = TrialSpec(variant=variant, source_digest=source, seed=seed)
    named = replace(plain, as_=plain.label)
    assert named.identity() == plain.identity() == named.weights_identity()
    other = replace(plain, as_="other")
    assert other.identity() != plain.identity() == other.weights_identity()
    assert list(other.earlier_identities([])) == [other.identity()]


def test_names_count_as_ever() -> None:
    """Constants, since they are in the folders and stores of users."""
    named = TrialSpec(variant="stride", as_="wide", dataset_digest="d" * 64)
    assert named.identity() == "81cd8ff7724bd5eda4a9a2e49c9d5e309530cc7f0242c8a5055b7406f429edae"
    own = TrialSpec(variant="nets/net.py:Net", as_="wide", source_digest="5" * 64)
    assert own.identity() == "537dd8895bd856ed52104997ae1ffaaecb4adbef6424cd5fdd11ab935357783f"


def test_a_run_that_an_earlier_version_recorded_under_such_a_name_is_that_of_the_trial(uri: str, home: Path) -> None:
    class Earlier(TrialSpec):
        def identity(self) -> str:
            return next(iter(self.earlier_identities(())))

    plan = built("net.py", variants=[{"name": "net.py:Tiny", "as": "Tiny"}])
    [spec] = plan.trials
    before = Earlier(**{name: getattr(spec, name) for name in TrialSpec.__dataclass_fields__})
    assert before.identity() != spec.identity()
    runs = open_runs(uri, replace(plan, trials=(before,)))
    sink = Sink(runs)
    sink.on_record(spec.name, record(1))
    sink.on_end(Outcome(spec.name, Status.COMPLETE, "", None))
    sink.close(Status.COMPLETE)
    for today in (plan, built("net.py")):
        again = open_runs(uri, today)
        [row] = read_trials(again.client, again.parent_run_id)
        assert (row.trial, row.status, row.epochs) == ("Tiny/seed-0", "complete", 1)


class Exchanged:
    """A launch of two variants that are complete, and the plan in which they have each other's names."""

    def __init__(self, home: Path) -> None:
        self.storage = Storage(home / "storage")
        self.before, self.after = self.plan("Tiny", "Wide"), self.plan("Wide", "Tiny")
        self.folder, _ = open_launch_folder(self.storage.root, self.before)
        for spec in self.before.trials:
            list(run_trial(spec, make_dataset(), self.folder.trial(spec.name)))
        self.digests = self.predictions()
        self.version = str(TrialFolder(self.folder.trial("one/seed-0")).facts()["machine"]["torch_version"])

    def plan(self, one: str, two: str) -> Plan:
        return built(
            "net.py", variants=[{"name": f"net.py:{one}", "as": "one"}, {"name": f"net.py:{two}", "as": "two"}]
        )

    def predictions(self) -> dict[str, bytes]:
        return {s.name: (self.folder.trial(s.name) / "predictions.csv").read_bytes() for s in self.before.trials}

    def take(self, storage: Storage) -> list[str]:
        finished = self.folder.finished(self.after)
        wanted = [spec for spec in self.after.trials if spec.name not in finished]
        return sorted(take_over(self.folder, wanted, storage, self.version))


def test_variants_that_exchange_their_names_are_not_trained_again(home: Path) -> None:
    launch = Exchanged(home)
    assert launch.folder.finished(launch.after) == {}
    assert launch.take(launch.storage) == ["one/seed-0", "two/seed-0"]
    assert launch.folder.finished(launch.after).keys() == {"one/seed-0", "two/seed-0"}
    before = launch.digests
    assert launch.predictions() == {"one/seed-0": before["two/seed-0"], "two/seed-0": before["one/seed-0"]}
    for spec in launch.after.trials:
        trial = TrialFolder(launch.folder.trial(spec.name))
        assert trial.is_intact()
        assert trial.spec() == spec
        assert origin(trial.path) == f"small/{launch.folder.name}"
    assert {path.name for path in launch.folder.path.iterdir()} == {"launch.json", "trials"}, "nothing is left aside"
    assert launch.take(launch.storage) == []


class Killed(Storage):
    """A storage whose user is killed when the first trial has been put in its place."""

    def push(self, path: Path) -> None:
        raise KeyboardInterrupt(path)


def test_an_exchange_that_was_killed_half_way_is_completed(home: Path) -> None:
    launch = Exchanged(home)
    with pytest.raises(KeyboardInterrupt):
        launch.take(Killed(launch.storage.root))
    assert len(launch.folder.finished(launch.after)) == 1
    assert len(launch.take(launch.storage)) == 1
    assert launch.folder.finished(launch.after).keys() == {"one/seed-0", "two/seed-0"}
    before = launch.digests
    assert launch.predictions() == {"one/seed-0": before["two/seed-0"], "two/seed-0": before["one/seed-0"]}


def test_what_an_unfinished_exchange_has_left_replaces_nothing(home: Path) -> None:
    launch = Exchanged(home)
    left = launch.folder.path / "aside" / "one" / "seed-0"
    TrialFolder(launch.folder.trial("two/seed-0")).copy_to(left)
    again = [launch.before.trials[0]]
    assert take_over(launch.folder, again, launch.storage, launch.version) == [], "it is there already"
    assert launch.predictions() == launch.digests
    assert not left.exists()


def test_an_unfinished_trial_of_the_same_name_and_settings_stays(home: Path) -> None:
    launch = Exchanged(home)
    [first, _] = launch.before.trials
    (launch.folder.trial(first.name) / "outcome.json").unlink()
    twin = built("net.py", variants=[{"name": "net.py:Tiny", "as": "twin"}]).trials[0]
    list(run_trial(twin, make_dataset(), launch.folder.trial(twin.name)))
    assert take_over(launch.folder, [first], launch.storage, launch.version) == [], "it goes on by itself"


# --- whole launches


EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "variants": ["net.py:Built"],
    "dataset": {"name": "images.pt"},
    "trainer": {"epochs": 2, "batch_size": 32},
    "search": {
        "samples": 2,
        "space": {BLOCK: {"choice": [{"class": "ay.py:X"}, {"class": "ay.py:Y"}, None]}, LR: {"choice": [0.05, 0.1]}},
    },
    "tracking": {"reports": "all", "models": "best"},
}


@pytest.mark.slow
@pytest.mark.ray
def test_a_search_over_classes_goes_on_in_a_project_that_was_moved(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "x.yaml").write_text(json.dumps(EXPERIMENT))
    first = orchestrator("run", "x.yaml", "--json", cwd=home)
    assert first.returncode == 0, first.stderr
    shutil.copytree(home, kept := home.with_name("kept"))
    moved = move(home, monkeypatch)
    text = json.dumps(EXPERIMENT).replace("net.py:", "nets/net.py:").replace("ay.py:", "nets/ay.py:")
    (moved / "x.yaml").write_text(text)
    more = orchestrator("run", "x.yaml", "--set", "search.samples=3", "--json", cwd=moved)
    assert more.returncode == 0, more.stderr
    assert "taken over" not in more.stderr
    rows = {row["trial"]: row for row in json.loads(more.stdout)["trials"]}
    assert len(rows) == 3
    assert {row["trial"] for row in json.loads(first.stdout)["trials"]} < rows.keys()
    drawn = orchestrator("report", "small", cwd=moved)
    assert drawn.returncode == 0, drawn.stderr

    shutil.rmtree(kept / "mlruns")
    (kept / "mlflow.db").unlink()
    other = orchestrator("run", "x.yaml", "--json", cwd=kept)  # all of it is delivered to another store
    assert other.returncode == 0, other.stderr
    assert "no report" not in other.stderr
    assert "no model" not in other.stderr
    assert all(Path(file.parent / "report.html").exists() for file in kept.glob("storage/small/*/trials/**/spec.json"))
