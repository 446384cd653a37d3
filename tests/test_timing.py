"""`validate --time`: how long a launch would take here, from a moment of real training of every variant."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import TINY, make_dataset

from orchestrator.cli.main import cli
from orchestrator.data import save_packed
from orchestrator.sharing.measure import Throughput
from orchestrator.workflow import timing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "networks.py").write_text(TINY)
    save_packed(make_dataset(), tmp_path / "tiny.pt")
    tree = {
        "name": "small",
        "variants": [f"{tmp_path}/networks.py:Tiny"],
        "seeds": [0, 1],
        "dataset": {"name": f"{tmp_path}/tiny.pt"},
        "trainer": {"epochs": 1000, "batch_size": 8, "device": "cpu"},
        "resources": {"cpus": 1, "gpus": 0},
    }
    (tmp_path / "x.yaml").write_text(json.dumps(tree))
    return tmp_path / "x.yaml"


def validate(file: Path, *arguments: str) -> str:
    done = CliRunner().invoke(cli, ["validate", str(file), *arguments])
    assert done.exit_code == 0, done.output
    return " ".join(done.stdout.split())


def test_validate_measures_each_variant_where_it_is_asked_to(file: Path) -> None:
    plain = json.loads(validate(file, "--json"))
    assert "add --time" in validate(file)
    assert "time" not in plain  # documents stay as they are
    timed = json.loads(validate(file, "--json", "--time"))
    time = timed.pop("time")
    assert timed == plain
    assert time["seconds"] == time["variants"]["Tiny"] > 0
    assert 1 <= time["at_a_time"] <= 2
    assert not time["reasons"]


def test_minutes_are_of_all_trials_as_many_at_a_time_as_fit(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the speed is not measured: 100 images a second, of all processes together."""
    counts = []

    def side_by_side(spec: object, shape: object, classes: int, count: int, *_: object, **__: object) -> Throughput:
        counts.append(count)
        return Throughput(100.0, 0, 0)

    monkeypatch.setattr(timing, "side_by_side", side_by_side)
    images = len(make_dataset().train)
    for machine, at_a_time in (({"CPU": 8.0}, 2), ({"CPU": 1.0}, 1)):
        monkeypatch.setattr(timing, "this_machine", lambda machine=machine: machine)
        time = json.loads(validate(file, "--json", "--time"))["time"]
        assert time["at_a_time"] == at_a_time
        assert time["seconds"] == pytest.approx(2 * 1000 * images / 100)
    assert counts == [2, 1]
    alone = "each variant was measured alone on a GPU, as if trials did not slow one another down"
    words = validate(file, "--time", "--set", "resources.max_concurrent_trials=1")
    assert alone not in words
    assert "time on this machine, 1 trial at a time: about" in words
    gpus = {"CPU": 8.0, "GPU": 2.0}
    monkeypatch.setattr(timing, "this_machine", lambda: gpus)
    time = json.loads(validate(file, "--json", "--time", "--set", "resources.gpus=1"))["time"]
    assert time["seconds"] == pytest.approx(2 * 1000 * images / 200)  # one is measured, two train on GPUs of their own
    assert (time["at_a_time"], time["measured_at_a_time"]) == (2, 1)
    assert alone in " ".join(validate(file, "--time", "--set", "resources.gpus=1").split())


def test_a_variant_that_cannot_be_measured_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "side_by_side", lambda *_, **__: Throughput(0.0, 0, 1, "no epoch ended within 300 s"))
    words = validate(file, "--time")
    assert "unknown, because Tiny could not be measured (no epoch ended within 300 s)" in words
    assert json.loads(validate(file, "--time", "--json"))["time"]["seconds"] is None
