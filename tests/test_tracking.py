"""The sink against a real SQLite store: the tree, each record once, true statuses, a model that loads back."""

import itertools
import sqlite3
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recording import FACTS, open_runs, record

from orchestrator import records as keys
from orchestrator.errors import RequestError, StorageError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Record, Status
from orchestrator.reporting.comparison.variants import compare
from orchestrator.spec import Plan
from orchestrator.tracking.artifacts import MARK, log_comparison
from orchestrator.tracking.names import flatten, storable
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.predictions import read_predictions
from orchestrator.tracking.read import find_launch, read_judging
from orchestrator.tracking.runs import LaunchRuns, TrialFacts
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import asked, connect, sqlite_file, tracking_uri
from orchestrator.tracking.tags import PARENT
from orchestrator.tracking.trial_rows import read_trials
from orchestrator.trial import TrialFolder


def test_the_tree_is_what_people_are_promised(uri: str, plan: Plan, tmp_path: Path) -> None:
    runs = open_runs(uri, plan)
    sink = Sink(runs)
    trial = plan.trials[0].name
    folder = tmp_path / "folder"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "curves.png").write_bytes(b"png")
    (folder / "spec.json").write_text("{}")
    sink.on_start(trial)
    for epoch in (1, 2, 3):
        sink.on_record(trial, record(epoch))
    sink.on_record(trial, record(3, final=True))
    sink.on_end(Outcome(trial, Status.COMPLETE, "", folder))
    sink.close(Status.COMPLETE)

    client = connect(uri)
    experiment = client.get_experiment_by_name("exp")
    assert Path(sqlite_file(uri)).parent / "mlruns" / "exp" == Path(
        experiment.artifact_location.removeprefix("file://")
    )
    parent, launch, target = find_launch(client, "exp")
    assert (launch, target) == ("abc", 0.85)
    assert client.get_run(parent).info.status == "FINISHED"
    assert client.get_run(parent).data.tags["rejected_samples"] == "0"
    [run] = client.search_runs([experiment.experiment_id], f"tags.`{PARENT}` = '{parent}'")
    assert run.info.run_name == "stride/seed-0"
    assert run.info.status == "FINISHED"
    assert run.data.params["trainer.optimizer.lr"] == "0.1"
    assert run.data.params["seed"] == "0"
    assert run.data.metrics[keys.PARAMETERS] == 192_298
    expected = {"variant": "stride", "family": "f", "seed": "0", "git_commit": "c0ffee", "status": "complete"}
    assert expected.items() <= run.data.tags.items()
    assert "report" not in run.data.tags  # it has not been made
    assert run.data.tags["spec_hash"] == plan.trials[0].identity()
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36
    history = client.get_metric_history(run.info.run_id, keys.TRAIN_LOSS)
    assert [(m.step, m.timestamp) for m in history] == [(1, 1_001_000), (2, 1_002_000), (3, 1_003_000)]
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"spec.json"}  # figures come with the report
    [row] = read_trials(client, parent)
    assert (row.variant, row.seed, row.status, row.epochs) == ("stride", 0, "complete", 3)
    assert (row.test_accuracy, row.val_accuracy, row.seconds) == (0.75, pytest.approx(0.2), 6.0)


@pytest.mark.parametrize("versions", [("2.13.0", "2.13.0"), ("2.12.1", "2.13.0"), ("2.12.1, then 2.13.0",) * 2])
def test_which_torch_has_trained_a_trial_is_read_back_and_the_verdict_says_if_it_was_not_one(
    versions: tuple[str, str], uri: str, tmp_path: Path
) -> None:
    """That of the worker which trained it, not that of the driver which began the run."""
    tree = {"name": "exp", "variants": ["stride", "dilated_stride"], "seeds": [0]}
    plan = make_plan(read_experiment(tree, "x"), "d" * 64)
    tags = {keys.TORCH_VERSION: "2.11.0"}
    sink = Sink(open_launch(connect(uri), uri, "abc", plan, FACTS, {}, tags))
    for trial, version in zip(plan.trials, versions, strict=True):
        folder = TrialFolder.create(tmp_path / trial.label, trial)
        folder.save_facts({"machine": {keys.TORCH_VERSION: version}})
        sink.on_start(trial.name)
        for one in (record(1), record(1, final=True)):
            folder.append(one)
            sink.on_record(trial.name, one)
        sink.on_end(Outcome(trial.name, Status.COMPLETE, "", folder.path))
    sink.close(Status.COMPLETE)
    rows = read_trials(connect(uri), sink.runs.parent_run_id)
    assert tuple(row.torch_version for row in rows) == versions
    assert ("one version of torch" in compare(rows, 0.85).sentence) == (versions != ("2.13.0", "2.13.0"))


def test_trials_are_read_in_the_order_of_the_plan_whichever_began_first(uri: str, plan: Plan) -> None:
    runs = open_runs(uri, plan)
    sink = Sink(runs)
    for spec in reversed(plan.trials):
        sink.on_start(spec.name)
    sink.close(Status.INTERRUPTED)
    client = connect(uri)
    read = read_trials(client, runs.parent_run_id)
    assert [row.trial for row in read] == [spec.name for spec in plan.trials]
    for number, row in enumerate(reversed(read)):  # as an earlier version left them
        client.delete_tag(row.run_id, "place")
        client.set_tag(row.run_id, "trial_number", str(number))
    assert [row.trial for row in read_trials(client, runs.parent_run_id)] == [row.trial for row in reversed(read)]


def test_a_launch_that_has_ended_is_read_by_page_whatever_its_size(
    uri: str, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = open_runs(uri, plan)
    sink = Sink(runs)
    for position, spec in enumerate(plan.trials):
        folder = TrialFolder.create(tmp_path / str(position), spec)
        for epoch in (1, 2, 3):
            folder.append(record(epoch))
            sink.on_record(spec.name, record(epoch))
        folder.append(record(3, final=True))
        sink.on_record(spec.name, record(3, final=True))
        folder.finish(Status.COMPLETE)
        sink.on_end(Outcome(spec.name, Status.COMPLETE, folder=folder.path))
    sink.close(Status.COMPLETE)
    monkeypatch.setattr("orchestrator.tracking.runs.PAGE", 2)
    asked = []
    for name in ("search_runs", "get_run", "get_metric_history"):
        original = getattr(runs.client, name)
        monkeypatch.setattr(
            runs.client, name, lambda *a, _name=name, _call=original, **k: (asked.append(_name), _call(*a, **k))[1]
        )
    rows = read_trials(runs.client, runs.parent_run_id)
    assert [(r.epochs, r.val_accuracy, r.seconds, r.epochs_to_target) for r in rows] == [(3, 0.2, 6.0, None)] * 4
    assert Counter(asked) == {"get_run": 1, "search_runs": 2}
    asked.clear()
    assert read_trials(runs.client, runs.parent_run_id, target=plan.experiment.target_accuracy) == rows
    assert "get_metric_history" not in asked
    reached = read_trials(runs.client, runs.parent_run_id, target=0.15)
    assert [row.epochs_to_target for row in reached] == [2] * 4

    # What earlier versions recorded, without a summary, reads the same.
    for name in (keys.EPOCHS, keys.BEST_VAL_ACCURACY, keys.SECONDS):
        for row in rows:
            with sqlite3.connect(sqlite_file(uri)) as database:
                database.execute("DELETE FROM latest_metrics WHERE key = ? AND run_uuid = ?", (name, row.run_id))
    assert read_trials(runs.client, runs.parent_run_id) == rows


def end_trial(sink: Sink, folder: Path, trial: str, status: Status = Status.COMPLETE) -> Outcome:
    """A trial of three epochs with validation accuracies of 0.1, 0.2 and 0.3, recorded as one that has ended."""
    saved = TrialFolder.create(folder, sink.runs.spec(trial))
    for epoch in (1, 2, 3):
        saved.append(record(epoch))
        sink.on_record(trial, record(epoch))
    saved.finish(status)
    outcome = Outcome(trial, status, folder=folder)
    sink.on_end(outcome)
    return outcome


def with_target(plan: Plan, target: float) -> Plan:
    return replace(plan, experiment=replace(plan.experiment, target_accuracy=target))


@pytest.mark.parametrize("status", [Status.COMPLETE, Status.FAILED])
def test_epochs_are_counted_to_the_target_of_the_file_whatever_it_was_when_a_trial_ended(
    uri: str, plan: Plan, tmp_path: Path, status: Status
) -> None:
    """Of one trial that is recorded once, and of one that is recorded again, as when its report was not delivered."""
    once, twice, later = (spec.name for spec in plan.trials[:3])
    sink = Sink(open_runs(uri, with_target(plan, 0.15)))
    outcomes = [end_trial(sink, tmp_path / str(position), name, status) for position, name in enumerate((once, twice))]
    sink.close(Status.COMPLETE)
    counted = {0.15: 2, 0.25: 3, 0.05: 1, 0.9: None}
    for target in (0.25, 0.05, 0.9, 0.15):
        sink = Sink(open_runs(uri, with_target(plan, target)))
        sink.on_end(outcomes[1])
        sink.close(Status.COMPLETE)
        for wanted in (None, *counted):
            rows = read_trials(sink.runs.client, sink.runs.parent_run_id, wanted)
            expected = counted[target if wanted is None else wanted]
            assert {row.trial: row.epochs_to_target for row in rows} == {once: expected, twice: expected}
    sink = Sink(open_runs(uri, with_target(plan, 0.15)))
    run = sink.runs.find(once)
    sink.on_start(later)
    sink.on_record(later, record(1))
    sink.close(Status.INTERRUPTED)
    assert run.data.tags["target_accuracy"] == "0.15", "beside the count that MLflow shows"
    assert [row.epochs_to_target for row in read_trials(sink.runs.client, sink.runs.parent_run_id)] == [2, 2, None]
    for row in read_trials(sink.runs.client, sink.runs.parent_run_id)[:2]:  # as an earlier version left them
        sink.runs.client.delete_tag(row.run_id, "target_accuracy")
    open_runs(uri, with_target(plan, 0.05))
    assert [row.epochs_to_target for row in read_trials(sink.runs.client, sink.runs.parent_run_id)] == [1, 1, 1]


def test_carrying_on_looks_trials_up_by_page(uri: str, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Sink(open_runs(uri, plan))
    for spec in plan.trials:
        sink.on_end(Outcome(spec.name, Status.COMPLETE))
    sink.close(Status.COMPLETE)
    again = open_runs(uri, plan)
    monkeypatch.setattr(type(again.client), "search_runs", None)  # whoever asks for one more run fails
    monkeypatch.setattr(type(again.client), "get_run", None)
    for spec in plan.trials:
        assert again.is_delivered(Outcome(spec.name, Status.COMPLETE))
        assert not again.is_delivered(Outcome(spec.name, Status.FAILED))
        assert again.made(spec.name) == set()


def test_a_run_whose_creation_was_not_confirmed_is_not_created_twice(
    uri: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = open_runs(uri, plan)
    create, name = runs.client.create_run, plan.trials[0].name

    def unheard(*arguments: object, **settings: object) -> None:
        create(*arguments, **settings)
        raise TimeoutError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(runs.client, "create_run", unheard)
        with pytest.raises(TimeoutError):
            runs.create(name)
    assert (found := runs.find(name)) is not None
    assert found.data.tags["trial"] == name


def test_which_pictures_were_right_comes_back_from_the_artifacts(
    uri: str, plan: Plan, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sink = Sink(open_runs(uri, plan))
    for position, spec in enumerate(plan.trials):
        folder = TrialFolder.create(tmp_path / str(position), spec)
        labels = torch.arange(4)
        predicted = labels.clone()
        predicted[(3 + position) % 4] += 1 if position != 0 else -1  # three of four are right, each time other ones
        folder.save_predictions(torch.eye(4)[predicted], labels)
        sink.on_record(spec.name, record(1, final=True))
        sink.on_end(Outcome(spec.name, Status.COMPLETE, "", folder.path))
    sink.close(Status.COMPLETE)
    client = connect(uri)
    trials = read_trials(client, find_launch(client, "exp")[0])
    capfd.readouterr()
    predicted = read_predictions(client, trials)
    assert capfd.readouterr() == ("", "")  # no progress bars
    assert len(predicted) == len(plan.trials) == 4
    for position, trial in enumerate(trials):
        assert predicted[trial.run_id].right.tolist() == [place != (3 + position) % 4 for place in range(4)]
    compared = compare(trials, 0.85, {run: found.right for run, found in predicted.items()})
    assert compared.verdict.images == 4
    assert read_predictions(client, [*trials[1:], replace(trials[0], test_accuracy=0.5)]) == {}  # not what was measured
    file = next(tmp_path.rglob("mlruns/**/predictions.csv"))
    whole = file.read_text()
    file.write_text(whole.replace("3,", "0,", 1))  # of another test split
    assert read_predictions(client, trials) == {}
    file.write_text("label,predicted\n1,\n")
    assert read_predictions(client, trials) == {}
    file.unlink()
    assert read_predictions(client, trials) == {}
    assert compare(trials, 0.85).verdict.images is None


def test_launches_of_one_plan_from_several_folders_share_no_run(uri: str, plan: Plan) -> None:
    earlier = open_runs(uri, plan)  # by a version that gave no ids
    first, second = open_runs(uri, plan, "a" * 32), open_runs(uri, plan, "b" * 32)
    assert len({runs.parent_run_id for runs in (earlier, first, second)}) == 3
    assert (earlier.launch, first.launch, second.launch) == ("abc", "abc-aaaaaaaa", "abc-bbbbbbbb")
    for accuracy, runs in ((0.25, first), (0.5, second)):
        sink = Sink(runs)
        sink.on_record("stride/seed-0", Record(1, 1000.0, {keys.TEST_ACCURACY: accuracy, keys.BEST_EPOCH: 1.0}, True))
        sink.on_end(Outcome("stride/seed-0", Status.COMPLETE))
        sink.close(Status.COMPLETE)
    client = connect(uri)
    for accuracy, runs in ((0.25, first), (0.5, second)):
        parent, _, _ = find_launch(client, "exp", runs.launch)
        assert [row.test_accuracy for row in read_trials(client, parent)] == [accuracy]
    for again, runs in ((None, earlier), ("a" * 32, first), ("b" * 32, second)):  # each is found again
        found = open_runs(uri, plan, again)
        assert (found.parent_run_id, found.launch) == (runs.parent_run_id, runs.launch)


def test_processes_that_open_a_fresh_store_at_once_do_not_crash_one_another(uri: str) -> None:
    import subprocess
    import sys

    code = f"from orchestrator.tracking.store import connect; connect({uri!r})"
    started = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(3)]
    assert [(p.wait(), p.stderr.read()) for p in started] == [(0, b"")] * 3


def test_which_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri() == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert tracking_uri() == "http://127.0.0.1:1"
    assert tracking_uri("sqlite:///x.db") == "sqlite:///x.db"
    with pytest.raises(StorageError, match="cannot be used"):
        connect(f"sqlite:///{tmp_path}")
    with pytest.raises(StorageError, match="cannot be used"):
        connect(str(tmp_path / "a-file-store"))


def test_what_is_not_there_is_told(uri: str, plan: Plan) -> None:
    client = connect(uri)
    with pytest.raises(RequestError, match="it has: none"):
        find_launch(client, "exp")
    open_runs(uri, plan)
    with pytest.raises(RequestError, match="'other'; it has: exp"):
        find_launch(client, "other")
    with pytest.raises(RequestError, match="no launch 'zzz'"):
        find_launch(client, "exp", "zzz")
    for odd in ("it's", "a' or tags.kind != 'b", ""):
        with pytest.raises(RequestError, match="has no launch"):
            find_launch(client, "exp", odd)


def test_a_refusal_is_not_called_silence(uri: str) -> None:
    client = connect(uri)
    with pytest.raises(StorageError, match="refused: Invalid"), asked(uri):
        client.search_runs(["0"], "nonsense")


def test_params_are_the_flat_specification() -> None:
    flat = flatten({"a": {"b": 1, "c": [1, {"d": None}]}, "e": {}, "f": None})
    assert flat == {"a.b": "1", "a.c": '[1, {"d": null}]', "e": "{}", "f": "None"}


def test_an_edited_contract_is_that_of_the_trials(uri: str, plan: Plan) -> None:
    first = plan.trials[0].name

    def opened(contract: str) -> LaunchRuns:
        facts = {spec.name: TrialFacts({}, {"family": "f", "contract": contract}) for spec in plan.trials}
        return open_launch(connect(uri), uri, "abc", plan, FACTS, facts, {})

    run_id = opened("none").create(first).info.run_id
    for contract in ("passed", "none"):
        runs = opened(contract)
        assert runs.client.get_run(run_id).data.tags["contract"] == contract


def described(description: str, name: str = "exp") -> Plan:
    return make_plan(read_experiment({"name": name, "variants": ["stride"], "description": description}, "x"))


def test_an_edited_description_is_that_of_the_launch(uri: str, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    pairs = itertools.product(
        ["Why.", "Why.\n\n---\n\nHow.\n", "Long. " * 1_000, ""], ["Because.", "Long too. " * 1_000, ""]
    )
    for number, (before, now) in enumerate(pairs):
        name = f"exp-{number}"
        runs = open_runs(uri, described(before, name))
        client, parent = runs.client, runs.parent_run_id
        log_comparison(client, parent, "The verdict.", tmp_path / "page", {})
        above, _, verdict = client.get_run(parent).data.tags["mlflow.note.content"].partition(MARK)
        assert verdict.startswith("The verdict.")
        client.set_tag(parent, "mlflow.note.content", f"{above[:4_500]}{MARK}{verdict} Seen by me.")
        for _ in range(2):
            open_runs(uri, described(now, name))
            note = client.get_run(parent).data.tags["mlflow.note.content"]
            assert len(note) <= 5_000
            assert note.endswith(f"{MARK}{verdict} Seen by me.")
            assert read_judging(client, parent).description[:4_000] == now.strip()[:4_000]


def test_what_somebody_added_to_a_description_stays(uri: str) -> None:
    runs = open_runs(uri, described("Why."))
    client, parent = runs.client, runs.parent_run_id
    client.set_tag(parent, "mlflow.note.content", "Why. And by whom." + MARK + "The verdict.")
    for description, expected in (("Why.", "Why. And by whom."), ("Because.", "Because. And by whom.")):
        open_runs(uri, described(description))
        assert read_judging(client, parent).description == expected
    client.delete_tag(parent, "description")  # as an earlier version left it
    open_runs(uri, described("Therefore."))
    above = "Therefore.\n\nBecause. And by whom."
    assert client.get_run(parent).data.tags["mlflow.note.content"] == above + MARK + "The verdict."
    client.delete_tag(parent, "mlflow.note.content")
    for description in ("", "Again."):
        open_runs(uri, described(description))
        assert client.get_run(parent).data.tags.get("mlflow.note.content", "") == description


def test_a_users_own_note_on_a_launch_outlives_every_description(uri: str) -> None:
    cases: list[tuple[str | None, str, dict[str, str]]] = [  # None: an earlier version did not record it apart
        (None, "Mine.", {"": "Mine.", "Why.": "Why.\n\nMine.", " ": "Mine."}),
        (None, "Why. And mine.", {"Why.": "Why. And mine.", "How.": "How. And mine."}),
        (None, "Mine.\n\nWhy.", {"Why.": "Mine.\n\nWhy.", "How.": "Mine.\n\nHow.", "": "Mine."}),
        ("", "Mine.", {"": "Mine.", "Why.": "Why.\n\nMine.", "How.": "How.\n\nMine.", " ": "Mine."}),
        ("Why.", "Mine.\n\nWhy.\n\nMine.", {"How.": "Mine.\n\nHow.\n\nMine."}),
        ("Why.", "Other words.", {"How.": "How.\n\nOther words.", "": "Other words."}),
    ]
    for number, ((before, note, changes), verdict) in enumerate(itertools.product(cases, ("", MARK + "The verdict."))):
        name = f"exp-{number}"
        runs = open_runs(uri, described(before or "", name))
        client, parent = runs.client, runs.parent_run_id
        client.set_tag(parent, "mlflow.note.content", note + verdict)
        if before is None:
            client.delete_tag(parent, "description")
        for description, expected in changes.items():
            for _ in range(2):
                open_runs(uri, described(description, name))
                assert client.get_run(parent).data.tags["mlflow.note.content"] == expected + verdict


@pytest.mark.parametrize("description", ["Why.\n\n---\n\nHow.", "Long. " * 830, ""])
def test_the_note_of_a_launch_keeps_its_description_and_its_verdict(uri: str, description: str, tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "comparison.html").write_text("<p>a page</p>")
    plan = make_plan(read_experiment({"name": "exp", "variants": ["stride"], "description": description}, "x"))
    runs = open_runs(uri, plan)
    for position, sentence in enumerate(
        ("The first verdict.", "The second verdict. " * 50, "The last verdict.", "v" * 9_000), start=1
    ):
        log_comparison(runs.client, runs.parent_run_id, sentence, page, {"wall_seconds": 2.0, "trials/failed": 1.0})
        tags = runs.client.get_run(runs.parent_run_id).data.tags
        assert tags["verdict"] == storable(sentence)
        note = tags["mlflow.note.content"]
        assert len(note) <= 5_000
        assert note.endswith("curves, costs.")
        assert note.count("Open the comparison") == 1
        assert sentence[:4_000] in note
        metrics = runs.client.get_run(runs.parent_run_id).data.metrics
        assert metrics["trials/failed"] == 1
        assert metrics["wall_seconds"] == 2 * position, "each process adds its own"
        assert note.startswith(description[:3_500].strip() if len(sentence) < 5_000 else "")


def test_the_newest_comparison_is_shown_whatever_the_clock_said_before(uri: str, plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    runs = open_runs(uri, plan)
    ahead = int(1000 * time.time()) + 10**9
    for name, value in (("wall_seconds", 5.0), ("test_accuracy", 0.9)):
        runs.client.log_metric(runs.parent_run_id, name, value, ahead, 0)
    log_comparison(runs.client, runs.parent_run_id, "v", tmp_path / "page", {"wall_seconds": 1.0, "test_accuracy": 0.8})
    assert runs.client.get_run(runs.parent_run_id).data.metrics == {"wall_seconds": 6.0, "test_accuracy": 0.8}
