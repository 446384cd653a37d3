"""Two processes register at once, in a database and on a real server: one after the other, and never both as first."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE
from registering import record_launch
from test_tracking_server import Server

from orchestrator.errors import TrackingError
from orchestrator.tracking.registry import make_model
from orchestrator.tracking.store import connect
from orchestrator.tracking.turn import CLAIM, Turn, take_turn

MODELS = ("one", "two", "three", "four")
TURNS = 6  # of each process
REGISTER = f"""
import sys, time
from pathlib import Path
from orchestrator.tracking.store import connect
from orchestrator.tracking.turn import take_turn
from orchestrator.workflow.promote import register_best
from orchestrator.workflow.results import read_results

uri, place, me = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

def meet(event):
    (place / f"{{me}}-{{event}}").touch()
    deadline = time.monotonic() + {PATIENCE}
    while len([*place.glob(f"*-{{event}}")]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.005)

client, counter = connect(uri), place / "counter"
result = read_results(client, me)
for model in {MODELS}:
    meet(model)
    made = register_best(client, result, model)
    print(model, made.evidence.decision, made.registered.alias, made.evidence.compared_with, flush=True)
meet("counting")
for _ in range({TURNS}):
    with take_turn(client, "counted"):
        value = int(counter.read_text())
        time.sleep(0.02)  # in which the other would read the same
        counter.write_text(str(value + 1))
"""


@pytest.fixture(scope="module", params=["database", pytest.param("server", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("turns")
    if request.param == "database":
        yield f"sqlite:///{folder / 'mlflow.db'}"
        return
    server = Server(folder)
    server.start()
    yield server.uri
    server.kill()


def both(uri: str, place: Path, experiments: tuple[str, str]) -> list[dict[str, list[str]]]:
    """By process and model, what two processes that register at once say of it."""
    root = str(Path(__file__).parents[1])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", REGISTER, uri, str(place), name],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in experiments
    ]
    said = [process.communicate(timeout=PATIENCE) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    return [{line.split()[0]: line.split()[1:] for line in out.splitlines()} for out, _ in said]


@pytest.mark.slow
def test_of_two_at_once_one_is_first_and_the_other_is_compared_with_it(store: str, tmp_path: Path) -> None:
    record_launch(store, "left", {"stride": [0.801, 0.803, 0.802]})
    record_launch(store, "right", {"grouped_concat": [0.901, 0.903, 0.9022]})
    client = connect(store)
    make_model(client, "counted")
    (tmp_path / "counter").write_text("0")
    left, right = both(store, tmp_path, ("left", "right"))
    for model in MODELS:
        # Whoever was first, the better one is champion in the end, and one of them was compared with the other.
        assert [left[model], right[model]] in (
            [["first", "champion", "None"], ["better", "champion", "1"]],
            [["worse", "challenger", "1"], ["first", "champion", "None"]],
        )
        registered = client.get_registered_model(model)
        champion = client.get_model_version(model, registered.aliases["champion"])
        assert champion.tags["experiment"] == "right"
        assert len(client.search_model_versions(f"name = '{model}'")) == 2
        assert registered.tags == {}
    assert (tmp_path / "counter").read_text() == str(2 * TURNS)  # never both in a turn
    assert client.get_registered_model("counted").tags == {}


def test_the_claim_of_a_killed_process_ends(store: str) -> None:
    client: Any = connect(store)
    make_model(client, "abandoned")
    client.set_registered_model_tag("abandoned", f"{CLAIM}of_the_lost", str(time.time() + 1000))
    busy = r"another process is registering .* \(if it was killed, in \d+ seconds\)"
    with pytest.raises(TrackingError, match=busy), take_turn(client, "abandoned", patience=0):
        raise AssertionError
    assert [*client.get_registered_model("abandoned").tags] == [f"{CLAIM}of_the_lost"]  # its own is gone
    client.set_registered_model_tag("abandoned", f"{CLAIM}of_the_lost", str(time.time() - 1))
    with take_turn(client, "abandoned", patience=0) as turn:
        turn.check()
        assert turn.until - time.time() <= 90  # seconds: if this process were killed now, others would wait no longer
    assert client.get_registered_model("abandoned").tags == {}
    with pytest.raises(TrackingError, match="abandoned was not changed; try again"):
        Turn("abandoned", time.time() - 1).check()
