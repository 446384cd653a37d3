"""Published accuracies: what an experiment file may say, and what is said of launches recorded in a real store."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from driving import orchestrator
from recording import open_runs
from rich.console import Console

from orchestrator import records as keys
from orchestrator.errors import ExperimentError, RequestError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment, read_file, read_stored
from orchestrator.records import Outcome, Record, Status
from orchestrator.reporting.replication import reasons, replication_rows, replication_table
from orchestrator.spec import Plan, Published
from orchestrator.spec.fields import to_json
from orchestrator.tracking.published import launches_with_published
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.tracking.tags import KIND, LAUNCH, OPENED, PUBLISHED, TARGET
from orchestrator.workflow.replication import read_replications
from orchestrator.workflow.results import read_results

FILES = sorted((Path(__file__).parents[1] / "experiments" / "published").glob("*.yaml"))
AS_PUBLISHED = {"name": "again", "variants": ["stride"], "trainer": {"protocol": "published"}}
NUMBERS = {"last": 0.85, "best": 0.86, "margin": 0.01}


def plan_of(name: str, published: Any = NUMBERS, seeds: int = 3) -> Plan:
    return make_plan(
        read_experiment({**AS_PUBLISHED, "name": name, "seeds": [*range(seeds)], "published": published}, "x")
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_files_name_what_their_curves_and_first_lines_say(file: Path) -> None:
    experiment = read_file(file)
    published = experiment.published
    assert published is not None
    assert published.curve is not None
    with Path(published.curve).open(encoding="utf-8") as lines:
        curve = {int(row["epoch"]): float(row["test_accuracy"]) for row in csv.DictReader(lines)}
    assert (100 * published.last, 100 * published.best) == (
        pytest.approx(curve[max(curve)]),
        pytest.approx(max(curve.values())),
    )
    said = file.read_text(encoding="utf-8").splitlines()[0]
    assert f"published best {100 * published.best:.2f} %" in said
    assert f"last {100 * published.last:.2f} %" in said
    assert experiment.trainer.epochs == max(curve)  # the same number of epochs, of which one is the best
    assert len(experiment.seeds) >= 3


def test_what_was_published_is_no_part_of_a_launchs_identity() -> None:
    plans = [plan_of("again", published) for published in (None, NUMBERS, {"curve": "x.csv"})]
    assert len({plan.identity() for plan in plans}) == 1
    assert len({tuple(trial.identity() for trial in plan.trials) for plan in plans}) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trainer": {}}, "set trainer.protocol: published, or give the curve only"),
        ({"variants": ["stride", "dilated_stride"]}, "belong to one network"),
        (
            {"trainer": {"protocol": "published", "stop_at_accuracy": 0.8}},
            "stop_at_accuracy would choose the last epoch",
        ),
        ({"published": {}}, "give last, best or curve"),
        ({"published": {"last": 0.87, "best": 0.86}}, r"best \(0.86\) is below last \(0.87\)"),
        ({"published": {"last": 86.2}}, "published.last: must be at most 1, not 86.2"),
        ({"published": {"last": 0.8, "margn": 0.01}}, "published.margn: unknown key .did you mean margin"),
        ({"published_curve": "x.csv"}, re.escape("is now published.curve; write `published: {curve: x.csv}`")),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_way_out(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ExperimentError, match=words) as problem:
        read_experiment({**AS_PUBLISHED, "published": NUMBERS, **change}, "x")
    assert len(problem.value.problems) == 1


def test_a_curve_alone_is_drawn_whatever_the_protocol() -> None:
    experiment = read_experiment(
        {"name": "x", "variants": ["stride", "dilated_stride"], "published": {"curve": "c"}}, "x"
    )
    assert experiment.published_curve == "c"


@pytest.mark.parametrize("curve", [None, "/somewhere/curve.csv"])
def test_launches_of_earlier_versions_are_read(curve: str | None) -> None:
    now = read_experiment({**AS_PUBLISHED, "published": None if curve is None else {"curve": curve}}, "x")
    before = {key: value for key, value in to_json(now).items() if key != "published"} | {"published_curve": curve}
    assert read_stored(before, "launch.json") == now


def record_launch(uri: str, plan: Plan, by_seed: dict[int, tuple[float, float] | None]) -> str:
    """A launch whose seeds have a last and a best test accuracy; None: the trial failed after its first epoch."""
    sink = Sink(runs := open_runs(uri, plan))
    for trial in plan.trials:
        found = by_seed[trial.seed]
        sink.on_start(trial.name)
        for epoch, accuracy in enumerate((0.5, *(found[::-1] if found else ())), start=1):
            metrics = {keys.TRAIN_LOSS: 1.0, keys.TEST_ACCURACY: accuracy, keys.EPOCH_SECONDS: 1.0}
            sink.on_record(trial.name, Record(epoch, 1000.0 + epoch, metrics))
        if found:
            final = {keys.BEST_EPOCH: 3.0, keys.PUBLISHED_BEST: found[1]}
            sink.on_record(trial.name, Record(3, 1004.0, final, final=True))
        sink.on_end(Outcome(trial.name, Status.COMPLETE if found else Status.FAILED))
    sink.close(Status.COMPLETE)
    return runs.parent_run_id


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Launches that replicate, that fall behind, that have too few seeds, and one that names nothing."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('replication') / 'mlflow.db'}"
    record_launch(uri, plan_of("same"), {0: (0.8501, 0.8590), 1: (0.8509, 0.8602), 2: (0.8499, 0.8611)})
    record_launch(uri, plan_of("behind"), {0: (0.8001, 0.8850), 1: (0.8021, 0.8871), 2: (0.8011, 0.8862)})
    record_launch(uri, plan_of("few"), {0: (0.8501, 0.8590), 1: (0.8502, 0.8602), 2: None})
    record_launch(uri, plan_of("silent", None), {0: (0.8, 0.8), 1: (0.8, 0.8), 2: (0.8, 0.8)})
    return uri


def test_every_launch_that_names_published_accuracies_is_compared_with_them(store: str) -> None:
    client = connect(store)
    assert [*launches_with_published(client)] == ["behind", "few", "same"]
    rows = read_replications(client)
    decided = {(row.experiment, row.figure): (str(row.result.decision), row.result.n) for row in rows}
    assert decided == {
        ("same", "last"): ("replicated", 3), ("same", "best"): ("replicated", 3),
        ("behind", "last"): ("not replicated", 3), ("behind", "best"): ("better", 3),
        ("few", "last"): ("undecided", 2), ("few", "best"): ("undecided", 2),
    }  # fmt: skip
    [last, best] = read_replications(client, ["same"])
    assert dict(last.scores) == {0: 0.8501, 1: 0.8509, 2: 0.8499}  # of the last epoch, not of the best
    assert dict(best.scores) == {0: 0.8590, 1: 0.8602, 2: 0.8611}
    assert (last.result.published, best.result.published, last.result.margin, last.epochs) == (0.85, 0.86, 0.01, 3)
    assert last.result.mean == pytest.approx(0.8503)
    table = read_results(client, "same").replication()
    assert table.to_dict("records") == [row.to_dict() for row in (last, best)]


def test_the_best_epoch_on_the_test_split_compares_no_variants(store: str) -> None:
    results = read_results(connect(store), "behind")
    assert sorted(results.trials().test_accuracy) == [0.8001, 0.8011, 0.8021]
    assert "0.88" not in json.dumps(results.to_dict())


def test_what_is_asked_wrongly_is_answered_with_what_to_do(store: str, tmp_path: Path) -> None:
    client = connect(store)
    with pytest.raises(RequestError, match=r"silent names no published accuracy; an experiment with one variant"):
        read_replications(client, ["same", "silent"])
    with pytest.raises(RequestError, match="MLflow has no experiment 'absent'; it has: behind, few, same, silent"):
        read_replications(client, ["absent"])
    with pytest.raises(RequestError, match="name exactly one"):
        read_replications(client, ["same", "few"], "abc")
    with pytest.raises(RequestError, match="no launch in this store names a published accuracy"):
        read_replications(connect(f"sqlite:///{tmp_path / 'empty.db'}"))


def test_an_edit_of_the_file_is_recorded_when_the_launch_is_opened_again(uri: str) -> None:
    first = record_launch(uri, plan_of("edited"), dict.fromkeys(range(3), (0.85, 0.86)))
    client = connect(uri)
    open_runs(uri, plan_of("edited", {"last": 0.84}))
    [row] = read_replications(client, ["edited"])
    assert (row.parent_run_id, row.figure, row.result.published, row.result.margin) == (first, "last", 0.84, 0.005)
    open_runs(uri, plan_of("edited", {"curve": "x.csv"}))
    assert launches_with_published(client) == {}


@pytest.mark.parametrize("worked_on_last", ["naming", "silent"])
def test_the_launch_that_names_published_accuracies_is_compared_whichever_began_last(
    worked_on_last: str, uri: str
) -> None:
    """Of two launches of one experiment, beside another experiment; in the order in which they were worked on."""
    record_launch(uri, plan_of("other"), dict.fromkeys(range(3), (0.85, 0.86)))
    naming = record_launch(uri, plan_of("edited"), dict.fromkeys(range(3), (0.85, 0.86)))
    client = connect(uri)
    experiment = client.get_experiment_by_name("edited").experiment_id
    opened = float(client.get_run(naming).data.tags[OPENED]) + (-1 if worked_on_last == "naming" else 1)
    tags = {KIND: "launch", LAUNCH: "silent", TARGET: "0.85", OPENED: f"{opened:017.6f}"}
    later = client.create_run(experiment, tags=tags).info  # it began after the other one in any case
    assert later.start_time >= client.get_run(naming).info.start_time
    assert launches_with_published(client).keys() == {"edited", "other"}
    assert {row.parent_run_id for row in read_replications(client, ["edited"])} == {naming}
    assert {row.experiment for row in read_replications(client)} == {"edited", "other"}
    with pytest.raises(RequestError, match="launch silent of edited names no published accuracy"):
        read_replications(client, ["edited"], "silent")
    client.set_tag(later.run_id, PUBLISHED, client.get_run(naming).data.tags[PUBLISHED])
    last = naming if worked_on_last == "naming" else later.run_id
    for rows in (read_replications(client), read_replications(client, ["edited"])):
        assert {row.parent_run_id for row in rows if row.experiment == "edited"} == {last}


def test_the_command_prints_a_table_or_one_document(store: str, tmp_path: Path) -> None:
    given = ("replication", "--tracking-uri", store)
    shown = orchestrator(*given, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"same *\n +last +3 +85\.00 ± 1\.00 +85\.03 +84\.\d\d to 85\.\d\d +replicated", shown.stdout)
    assert "few: fewer than three seeds" in shown.stdout
    document = json.loads(orchestrator(*given, "same", "--json", cwd=tmp_path).stdout)
    assert [(row["experiment"], row["figure"], row["decision"]) for row in document["replications"]] == [
        ("same", "last", "replicated"),
        ("same", "best", "replicated"),
    ]
    refused = orchestrator(*given, "silent", cwd=tmp_path)
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)


def test_the_table_fits_eighty_columns_and_names_all(store: str) -> None:
    [row] = read_replications(connect(store), ["behind"])[:1]
    published = Published(last=row.result.published, best=1.0, margin=0.125)
    trials = read_results(connect(store), "behind").rows
    rows = replication_rows(("published-depthwise-stride-again", "abc", "r"), published, trials, {})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(replication_table(rows))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert "published-depthwise-stride-a" in text
    assert "100.00 ± 12.50" in text
    assert reasons(rows) == ["published-depthwise-stride-again: no complete seed"]
