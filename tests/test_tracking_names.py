"""Whatever people write reaches MLflow and reads back: a real SQLite store and MLflow's file store, arbitrary text."""

import json
import posixpath
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recording import FACTS, open_runs, record

from orchestrator import records as keys
from orchestrator.errors import TrackingError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Failure, Outcome, Record, Status
from orchestrator.reporting.comparison.spending import Share
from orchestrator.spec import Plan, TrialSpec
from orchestrator.tracking.artifacts import log_comparison
from orchestrator.tracking.earlier import EarlierTrials
from orchestrator.tracking.names import (
    LONGEST_PARAM,
    escape_key,
    escape_metric,
    flatten,
    params_of,
    storable,
    unescape,
)
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.read import read_epochs
from orchestrator.tracking.runs import TrialFacts
from orchestrator.tracking.saved_view import VIEW, publish_view
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.tracking.tags import LONGEST_TAG, from_parts, in_parts
from orchestrator.tracking.trial_rows import read_trials
from orchestrator.training.metrics import EVALUATION, TRAINING
from orchestrator.trial import TrialFolder
from orchestrator.workflow.launch_metrics import launch_metrics
from orchestrator.workflow.results import read_results

ANY = st.text(st.characters(), max_size=12)  # lone surrogates and NUL too
WRITTEN = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)  # in a file
SPECIAL = st.sampled_from(
    [
        "conv(1)",
        "a:b",
        "..",
        ".",
        "a/..",
        "/",
        "//",
        "a b ",
        "_x0028_",
        "_x0028(",
        "__x28_",
        "é",
        "\n",
        "k" * 300,
        "%2F",
    ]
)
KEYS = SPECIAL | WRITTEN
VALUES = st.none() | st.booleans() | st.integers(-9, 9) | WRITTEN | st.just("v" * 7_000) | st.floats(-9, 9)
ARGUMENTS = st.recursive(
    VALUES | st.lists(VALUES, max_size=2) | st.just({"class": "torch.nn:SiLU"}),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(ANY | SPECIAL)
@example("_x0028_x0029_")
@example("(x0028_")
def test_escaped_names_read_back(name: str) -> None:
    assert unescape(escape_key(name)) == name
    if len(name) < 30:
        assert unescape(escape_metric(name)) == name
    if name:
        assert posixpath.normpath(escape_metric(name)) == escape_metric(name)
    assert len(escape_metric(name)) <= 250
    assert escape_metric(name * 99 + "a") != escape_metric(name * 99 + "b")


def test_what_needs_no_escape_stays() -> None:
    for name in ("trainer.optimizer.lr", "val/top5_accuracy", "init_xavier", "system/gpu", "größe"):
        assert escape_metric(name) == name
    assert escape_key("conv(1)") == "conv_x0028_1_x0029_"


@given(st.dictionaries(KEYS, ARGUMENTS, max_size=4))
@example({"a.b": 1, "a": {"b": 2}})
@example({"a": {"class": "x.py:B"}, "a.class": 3})
def test_no_two_settings_are_one_param_and_none_is_too_long(tree: dict[str, Any]) -> None:
    def leaves(part: Any) -> int:
        return sum(map(leaves, part.values())) if isinstance(part, dict) and part else 1

    params = flatten({"arguments": tree})
    if all(len(name) < 100 for name in params) and "k" * 300 not in str(tree):
        assert len(params) == leaves({"arguments": tree})
    assert all(len(name.encode()) <= 250 for name in params)
    assert all(value.isprintable() and len(value) <= LONGEST_PARAM for value in params.values())


def test_params_name_the_label_and_the_network() -> None:
    spec = TrialSpec(
        variant="my/net.py:Net",
        as_="wide",
        arguments={"block": {"class": "my/net.py:Block"}},
        settings={"arguments.f(1)": 3, "trainer.optimizer.lr": 0.1},
    )
    params = params_of(spec)
    assert (params["variant"], params["network"], params["arguments.block"]) == (
        "wide", "my/net.py:Net", "my/net.py:Block",
    )  # fmt: skip
    assert params["settings.trainer.optimizer.lr"] == "0.1"
    assert params["settings.arguments.f_x0028_1_x0029_"] == "3"
    assert "as" not in params


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for all examples: its tables take seconds to make."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


LABELS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8).filter(
    lambda text: text.isprintable() and not set(text) & set("/\\:") and text[0] not in "-."
)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    label=LABELS | st.sampled_from(["it's", 'a "b"', "'\"", "x" * 100]),
    arguments=st.dictionaries(KEYS, ARGUMENTS, max_size=3),
    description=WRITTEN | st.just("d" * 9_000),
    reason=ANY | st.just("r" * 9_000),
    dataset=ANY | st.just("d" * 600),
    metric=(ANY | SPECIAL).filter(bool),
    drawn=st.dictionaries(KEYS, VALUES, max_size=2),
)
@example("conv", {"a": {"b": 1}, "a.b": 2, "..": 3, "k" * 300: {"x": "\x85"}}, "", "\0\udc80", "\udcff", "/a//..", {})
@example("it's", {}, "d" * 9_000, "r" * 9_000, "d" * 600, "k" * 300, {"a" * 200: "v" * 7_000, "b(": None})
def test_whatever_is_written_is_delivered_and_read_back(
    store: str,
    tmp_path_factory: pytest.TempPathFactory,
    label: str,
    arguments: dict[str, Any],
    description: str,
    reason: str,
    dataset: str,
    metric: str,
    drawn: dict[str, Any],
) -> None:
    tree = {"name": "exp", "variants": [{"name": "stride", "as": label, "arguments": arguments}], "seeds": [0]}
    plan = make_plan(read_experiment({**tree, "description": description}, "x"))
    plan = replace(plan, trials=(replace(plan.trials[0], settings=drawn),))
    [spec] = plan.trials
    folder = tmp_path_factory.mktemp("launch")
    tags, facts = {"mlflow.source.name": reason}, {spec.name: TrialFacts({metric: 1.0}, {"family": reason})}
    runs = open_launch(connect(store), store, "abc", plan, replace(FACTS, name=dataset), facts, tags, None, folder.name)
    sink, measured = Sink(runs), replace(record(1), metrics={**record(1).metrics, f"val/{metric}": 0.5})
    outcome = Outcome(spec.name, Status.FAILED, reason, None, reason, Failure.ERROR)
    sink.on_start(spec.name)
    sink.on_record(spec.name, measured)
    sink.on_end(outcome)
    sink.close(Status.COMPLETE)

    [row] = read_trials(runs.client, runs.parent_run_id)
    assert (row.variant, row.settings, row.status) == (label, drawn, "failed")
    assert row.reason == storable(reason)
    assert read_epochs(runs.client, row.run_id)[1][unescape(escape_metric(f"val/{metric}"))] == 0.5
    assert runs.client.get_run(row.run_id).data.params == params_of(spec)
    (folder / "comparison.html").write_text("a page")
    log_comparison(runs.client, runs.parent_run_id, reason, folder, {f"best/{metric}": 1.0})
    again = open_launch(connect(store), store, "abc", plan, FACTS, facts, tags, None, folder.name)
    assert again.is_delivered(outcome)
    assert EarlierTrials(runs.client, [label], spec.dataset_digest).speed(spec, {}) is None  # a failed one


@pytest.mark.parametrize("paths", [[f"arguments.f({number})" for number in range(999)], ["k" * 9_000], []])
def test_a_view_of_any_search_is_kept(store: str, paths: list[str]) -> None:
    client = connect(store)
    experiment = client.get_experiment_by_name("views") or client.get_experiment(client.create_experiment("views"))
    publish_view(client, experiment.experiment_id, paths)
    tags = client.get_experiment(experiment.experiment_id).tags
    columns = json.loads(tags[f"mlflow.sharedViewState.{VIEW}"])["selectedColumns"]
    assert "params.`variant`" in columns
    assert ("params.`arguments.f_x0028_0_x0029_`" in columns) is (len(paths) == 999)


@given(st.text("ab", max_size=3).map(lambda text: text * LONGEST_TAG) | st.text("ab", max_size=40))
def test_long_tags_come_in_parts(text: str) -> None:
    longer = in_parts("settings", "c" * (3 * LONGEST_TAG + 1))
    assert from_parts({**longer, **in_parts("settings", text)}, "settings") == text
    assert from_parts({}, "settings") == ""


def test_a_run_ends_even_if_the_store_refuses_its_params(uri: str, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, trial = open_runs(uri, plan), plan.trials[0].name
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.tracking.runs.params_of", lambda spec: {"conv(1)": "refused by MLflow"})
        sink = Sink(runs)
        sink.on_start(trial)
        sink.on_record(trial, record(1))
        sink.on_end(Outcome(trial, Status.COMPLETE))
        with pytest.raises(TrackingError, match=r"rejected.*(?s:.*)orchestrator resume"):
            sink.close(Status.COMPLETE)
    run = runs.client.get_run(sink.run_ids[trial])
    assert (run.info.status, run.data.tags["status"]) == ("FINISHED", "complete")
    assert run.data.metrics[keys.TRAIN_LOSS] == 1.0
    later = Sink(again := open_runs(uri, plan))
    assert not again.is_delivered(Outcome(trial, Status.COMPLETE))
    later.catch_up(trial, [record(1)])
    later.on_end(Outcome(trial, Status.COMPLETE))
    later.close(Status.COMPLETE)
    assert runs.client.get_run(sink.run_ids[trial]).data.params["seed"] == "0"


def test_a_run_lasts_as_long_as_its_trial_whenever_it_is_delivered(uri: str, plan: Plan) -> None:
    """From its first epoch to its last record, in one process, by a later one, or resumed in between."""
    late, resumed = (spec.name for spec in plan.trials[:2])

    def at(epoch: int, time: float, final: bool = False) -> Record:
        return replace(record(epoch, final), time=time)

    sink = Sink(runs := open_runs(uri, plan))
    sink.catch_up(late, [at(1, 5_000.0), at(2, 5_010.0), at(2, 5_011.0, final=True)])
    sink.on_end(Outcome(late, Status.COMPLETE))
    sink.catch_up(resumed, [at(1, 5_000.0)])
    sink.on_end(Outcome(resumed, Status.INTERRUPTED))
    sink.close(Status.INTERRUPTED)
    info = {trial: runs.client.get_run(sink.run_ids[trial]).info for trial in (late, resumed)}
    assert (info[late].start_time, info[late].end_time) == (4_998_000, 5_011_000)  # an epoch took two seconds
    assert (info[resumed].start_time, info[resumed].end_time) == (4_998_000, 5_000_000)

    again = Sink(open_runs(uri, plan))
    again.catch_up(resumed, [at(1, 5_000.0)])
    again.on_start(resumed, 2)
    again.on_record(resumed, at(2, 9_000.0))
    again.on_end(Outcome(resumed, Status.COMPLETE))
    again.close(Status.COMPLETE)
    run = runs.client.get_run(sink.run_ids[resumed])
    assert (run.info.start_time, run.info.end_time) == (4_998_000, 9_000_000)


def folders_of(names: set[str]) -> set[str]:
    return {str(folder) for name in names for folder in Path(name).parents} - {"."}


@pytest.fixture
def file_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlruns").as_uri()


@pytest.mark.filterwarnings("ignore")
def test_no_name_is_the_folder_of_another_and_a_file_store_takes_all(
    file_store: str, plan: Plan, tmp_path: Path
) -> None:
    every = {value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)}
    metrics = {name for name in every if name not in (keys.PREDICTIONS, keys.TEST, keys.SYSTEM, keys.THEN)}
    metrics |= {f"train/{name}" for name in TRAINING} | {
        f"{split}/{n}" for split in ("val", "test") for n in EVALUATION
    }
    assert not metrics & folders_of(metrics)
    client = connect(file_store)
    facts = {spec.name: TrialFacts(dict.fromkeys(metrics, 1.0), {}) for spec in plan.trials}
    runs = open_launch(client, file_store, "abc", plan, FACTS, facts, {}, (tmp_path / "artifacts").as_uri())
    sink, trial = Sink(runs), TrialFolder.create(tmp_path / "trial", plan.trials[0])
    for made in (record(1), record(2), record(2, final=True)):
        trial.append(made)
        sink.on_record(plan.trials[0].name, made)
    sink.on_end(Outcome(plan.trials[0].name, Status.COMPLETE, folder=trial.path))
    sink.close(Status.COMPLETE)
    data = client.get_run(sink.run_ids[plan.trials[0].name]).data
    assert metrics <= data.metrics.keys()
    for names in (set(data.metrics), set(data.params), set(data.tags)):
        assert not names & folders_of(names)
    [row] = [row for row in read_trials(client, runs.parent_run_id) if row.status == "complete"]
    assert (row.epochs, row.receptive_field) == (2, 1)

    result, page = read_results(client, "exp"), tmp_path / "page"
    page.mkdir()
    (page / "comparison.html").touch()
    of_launch = launch_metrics(result, Share(1.0, 0.5, 0.01), 1.0)
    log_comparison(client, runs.parent_run_id, "a verdict", page, of_launch)
    data = client.get_run(runs.parent_run_id).data
    assert of_launch.keys() <= data.metrics.keys()
    for names in (set(data.metrics), set(data.tags)):
        assert not names & folders_of(names)


def test_what_earlier_versions_called_otherwise_is_read(uri: str, plan: Plan) -> None:
    runs = open_runs(uri, plan)
    run = runs.create(plan.trials[0].name).info.run_id
    for name, value in (("receptive_field", 67.0), ("seconds", 12.0), ("epochs", 3.0)):
        runs.client.log_metric(run, name, value)
    runs.client.set_tag(run, "status", "complete")
    [row] = read_trials(runs.client, runs.parent_run_id)
    assert (row.receptive_field, row.seconds) == (67, 12.0)
