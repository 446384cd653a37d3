"""Launches in stages for real: a search that is confirmed, rounds until decided, and kills in between."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, make_dataset
from driving import driver, orchestrator, wait_for
from patience import PATIENCE
from test_verdict_launched import NETWORKS

import orchestrator as orc
from orchestrator import records as keys
from orchestrator.data import save_packed
from orchestrator.tracking.store import connect
from orchestrator.tracking.tags import MODEL, REPORT, STAGE
from orchestrator.trial import TrialFolder
from orchestrator.workflow.verify import compare, content, kill_driver

CONFIRMED = """
name: small
variants: ["{folder}/networks.py:Tiny", "{folder}/networks.py:Failing"]
target_accuracy: 0.5
dataset: {{name: "{folder}/tiny.pt", validation: 0.2}}
trainer: {{epochs: 3, batch_size: 32}}
search: {{samples: 3, space: {{trainer.optimizer.lr: {{choice: [0.00001, 0.03, 0.3]}}}}}}
scheduler: {{name: asha, grace_period: 1}}
confirm: {{seeds: [100, 101]}}
"""
BLIND = """

class Blind(Slow):
    def forward(self, x):
        return super().forward(0 * x)
"""
IN_ROUNDS = """
name: small
variants: ["{folder}/networks.py:Tiny", "{folder}/networks.py:Slow", "{folder}/networks.py:Blind"]
dataset: {{name: "{folder}/tiny.pt", validation: 0.2}}
trainer: {{epochs: 3, batch_size: 32}}
search: {{samples: 2, space: {{trainer.optimizer.lr: {{choice: [0.00001, 0.3]}}}}}}
confirm: {{seeds: [100, 101]}}
verdict: {{until_decided: true, max_seeds: 6}}
tracking: {{models: none, reports: none}}
"""
DIGITS = """
name: crippled
variants: ["networks.py:Wide", "networks.py:Crippled"]
seeds: [0, 1]
dataset: {name: digits}
trainer: {epochs: 2, batch_size: 64, optimizer: {lr: 0.1}}
verdict: {max_seeds: 12}
tracking: {models: none, reports: none}
"""

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "networks.py").write_text(TINY.replace("/nonexistent", str(folder / "pace")) + BLIND)
    save_packed(make_dataset(), folder / "tiny.pt")
    (folder / "confirmed.yaml").write_text(CONFIRMED.format(folder=folder))
    (folder / "rounds.yaml").write_text(IN_ROUNDS.format(folder=folder))
    return folder


@pytest.fixture(scope="module")
def confirmed(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("confirmed")
    run = orchestrator("run", str(sources / "confirmed.yaml"), "--json", cwd=folder)
    assert run.returncode == 1, run.stderr  # one variant fails
    assert "Failing is not confirmed: every trial of its search has failed" in run.stderr
    assert re.search(r"Tiny is trained afresh with lr 0\.3 \(.* % on validation\): seeds 100, 101", run.stderr)
    return folder, json.loads(run.stdout)


def test_fresh_seeds_of_the_best_settings_alone_are_measured_and_compared(
    confirmed: tuple[Path, dict[str, Any]],
) -> None:
    folder, result = confirmed
    client = connect(f"sqlite:///{folder / 'mlflow.db'}")
    by_stage: dict[str, list[Any]] = {"search": [], "confirm": []}
    for row in result["trials"]:
        by_stage[row["stage"]].append(row)
        run = client.get_run(row["run_id"])
        assert run.data.tags[STAGE] == row["stage"]
        fresh = row["stage"] == "confirm"
        assert (keys.TEST_ACCURACY in run.data.metrics) is fresh
        assert (run.data.tags.get(REPORT) == "made") is fresh
        if row["variant"] == "Tiny":
            [place] = folder.glob(f"storage/small/*/trials/{row['trial']}")
            assert TrialFolder(place).is_measured() is fresh
    assert [row["seed"] for row in by_stage["confirm"]] == [100, 101]
    assert {row["status"] for row in by_stage["confirm"]} == {"complete"}  # no scheduler stops them
    judged = [row for row in by_stage["search"] if row["variant"] == "Tiny" and row["status"] == "complete"]
    best = max(judged, key=lambda row: row["val_accuracy"])
    assert {row["sample"] for row in by_stage["confirm"]} == {best["sample"]}
    assert sum(MODEL in client.get_run(row["run_id"]).data.tags for row in by_stage["confirm"]) == 1
    assert not any(MODEL in client.get_run(row["run_id"]).data.tags for row in by_stage["search"])

    [tiny, failing] = result["verdict"]["variants"]
    assert tiny["trials"] == 2
    assert tiny["test_accuracy"] == pytest.approx(sum(row["test_accuracy"] for row in by_stage["confirm"]) / 2)
    assert tiny["search"]["trials"] == 3
    assert (tiny["search"]["confirmed"], failing["search"]["confirmed"]) == (2, 0)
    assert (failing["variant"], failing["trials"]) == ("Failing", 0)


def test_the_commands_say_what_was_chosen_and_what_it_is_judged_on(confirmed: tuple[Path, dict[str, Any]]) -> None:
    folder, result = confirmed
    shown = orchestrator("compare", "small", "--html", "page.html", cwd=folder).stdout
    for text in (" ".join(shown.split()), " ".join((folder / "page.html").read_text().split())):
        assert "judged on these fresh seeds alone" in text
        assert "Every trial of the search has failed of Failing: not confirmed." in text
    results = orc.load("small", tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    assert results.to_dict()["verdict"] == result["verdict"]
    assert results.best("Tiny").name.startswith("Tiny/seed-10")


def test_a_storage_that_fails_between_the_stages_interrupts_the_launch_and_resuming_completes_it(
    sources: Path, tmp_path: Path
) -> None:
    text = (sources / "confirmed.yaml").read_text().replace(f', "{sources}/networks.py:Failing"', "")
    (tmp_path / "small.yaml").write_text(text)
    with driver(tmp_path, "run", "small.yaml") as process:
        wait_for(tmp_path, process, "3 trials", "at a time")
        [folder] = (tmp_path / "storage" / "small").iterdir()
        log = folder / "suggestions.jsonl"
        log.mkdir()
        assert process.wait(PATIENCE) == 130
    said = (tmp_path / "output.txt").read_text()
    assert f"{log.relative_to(tmp_path)} cannot be read or written" in " ".join(said.split())
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    [experiment] = [e for e in client.search_experiments() if e.name == "small"]

    def run() -> Any:
        return client.search_runs([experiment.experiment_id], "tags.kind = 'launch'")[0]

    assert run().info.status == "KILLED"
    log.rmdir()
    resumed = orchestrator("run", "small.yaml", "--json", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    stages = [row["stage"] for row in json.loads(resumed.stdout)["trials"]]
    assert (stages.count("search"), stages.count("confirm")) == (3, 2)
    assert run().info.status == "FINISHED"


@pytest.fixture(scope="module")
def undisturbed(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run = orchestrator("run", str(sources / "rounds.yaml"), "--json", cwd=folder)
    assert run.returncode == 0, run.stderr
    return folder, json.loads(run.stdout), run.stderr


def test_rounds_follow_on_the_confirm_stage(undisturbed: tuple[Path, dict[str, Any], str]) -> None:
    folder, result, said = undisturbed
    told = result["verdict"]["until_decided"]
    fresh = [row for row in result["trials"] if row["stage"] == "confirm"]
    assert [one["seed"] for one in told["rounds"]] == sorted({row["seed"] for row in fresh})
    assert [one["seed"] for one in told["rounds"]][:3] == [100, 101, 102]
    assert f"no further round: {told['ended']}" in said
    for one in told["rounds"]:
        mine = {row["variant"] for row in fresh if row["seed"] == one["seed"]}
        assert mine == set(one["variants"])
        for variant, why in one["dropped"].items():
            assert f"{variant} gets no more seeds: {why}" in said
    assert f"No further round: {told['ended']}." in result["verdict"]["sentence"]
    page = orchestrator("compare", "small", "--html", "page.html", cwd=folder)
    assert page.returncode == 0, page.stderr
    assert ">Rounds</h2>" in (folder / "page.html").read_text()


def test_killed_in_every_stage_and_resumed_equals_undisturbed(
    sources: Path, undisturbed: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    pace = sources / "pace"
    pace.write_text("0.4")
    moments = (
        ("lr=0.3: epoch 1/3",),  # in the search
        ("is trained afresh", "seed-100/lr=0.3: epoch 2/3"),  # in the confirm stage
        ("round 3: seed 102", "Slow/seed-102/lr=0.3: epoch 1/3"),  # in a round that nobody had listed
    )
    try:
        for words in moments:
            with driver(tmp_path, "run", str(sources / "rounds.yaml")) as process:
                wait_for(tmp_path, process, *words)
                kill_driver(process)
    finally:
        pace.unlink()
    run = orchestrator("run", str(sources / "rounds.yaml"), "--json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert compare(content(undisturbed[0], "small"), content(tmp_path, "small")) == []
    ours, theirs = (r["verdict"]["until_decided"] for r in (json.loads(run.stdout), undisturbed[1]))
    assert ours == theirs


def test_the_choice_stands_when_a_failed_trial_of_the_search_is_tried_again(
    confirmed: tuple[Path, dict[str, Any]], sources: Path, tmp_path: Path
) -> None:
    """The trials of Failing are tried again and fail again; those of Tiny, whatever they would be now, are left."""
    folder, result = confirmed
    shutil.copytree(folder, tmp_path / "copy")
    [log] = (tmp_path / "copy").glob("storage/small/*/suggestions.jsonl")
    assert json.loads(log.read_text().splitlines()[0]) == {
        "confirmed": {"Tiny": next(row["sample"] for row in result["trials"] if row["stage"] == "confirm")}
    }
    run = orchestrator("run", str(sources / "confirmed.yaml"), "--json", cwd=tmp_path / "copy", timeout=PATIENCE)
    assert run.returncode == 1, run.stderr
    again = json.loads(run.stdout)
    assert [(row["trial"], row["status"]) for row in again["trials"]] == [
        (row["trial"], row["status"]) for row in result["trials"]
    ]
    assert len(log.read_text().splitlines()) == 1


def test_a_crippled_variant_ends_a_launch_long_before_the_largest_number_of_seeds(tmp_path: Path) -> None:
    (tmp_path / "networks.py").write_text(NETWORKS)
    (tmp_path / "crippled.yaml").write_text(DIGITS)
    run = orchestrator("run", "crippled.yaml", "--until-decided", "--json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    verdict = json.loads(run.stdout)["verdict"]
    told = verdict["until_decided"]
    assert 3 <= len(told["rounds"]) < 12
    assert told["ended"].startswith("decided after")
    assert told["rounds"][-1]["dropped"]["Crippled"].startswith("worse than Wide after")
    [pair] = verdict["pairs"]
    assert (pair["a"], pair["decision"]) == ("Wide", "better")
    assert pair["low"] > 0
    again = orchestrator("run", "crippled.yaml", "--until-decided", cwd=tmp_path)
    assert "already complete, nothing to train" in again.stdout
    assert "Crippled gets no more seeds" in " ".join(again.stdout.split())
