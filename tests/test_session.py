"""A Ray session of our own: left without harm, whatever this process still holds of Ray's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

LEAVING = """
import gc
from orchestrator.scheduling.session import BackgroundRay

session = BackgroundRay()
with session:
    session.nodes()
    import ray

    class Held:
        pass

    for _ in range(2_000):  # rings that only the garbage collector finds, each with an object of Ray's
        held = Held()
        held.itself, held.reference = held, ray.put(b"x")
    del held
    session.end(wait=False)
    gc.collect()
print("left")
"""


@pytest.mark.slow
@pytest.mark.ray
def test_what_is_held_of_ray_is_dropped_without_harm_when_it_ends() -> None:
    """Ray ends a process that drops one of its objects while another thread leaves the session."""
    left = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=PATIENCE)
    assert (left.returncode, left.stdout) == (0, "left\n"), left.stderr


SETTINGS = """
import os
from orchestrator.scheduling import ray_state, session

def read(local):
    with session._environment(local):
        ray = session._import_ray()
        ray_state.read_again(ray)
        from ray._raylet import AuthenticationTokenLoader, get_authentication_mode
        token = AuthenticationTokenLoader.instance().get_token_for_http_header()
        loopback = ray._private.services.get_node_ip_address() == "127.0.0.1"
        print(int(get_authentication_mode()), token.get("authorization", "none").removeprefix("Bearer ")[:6], loopback)

read({first})
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="c0ffee" * 10)
read(False)
os.environ.update(RAY_AUTH_MODE="disabled")
read(False)
read(True)
"""


def by_itself(code: str, home: Path) -> list[str]:
    """The lines that ``code`` prints in a process of its own, for which nothing of Ray is set."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**known, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("first", [True, False])
def test_each_session_of_a_process_has_its_own_token_and_address(first: bool, tmp_path: Path) -> None:
    done = by_itself(SETTINGS.replace("{first}", str(first)), tmp_path)
    began, joined, unprotected, local = [line.split() for line in done]
    assert began[:2] == (["1", local[1]] if first else ["0", "none"])
    assert joined[:2] == ["1", "c0ffee"]
    assert unprotected[:2] == ["0", "none"]
    assert local[0] == "1"
    assert local[1] not in ("none", "c0ffee")
    assert local[2] == "True"  # on loopback, whatever came before
    assert joined[2] == unprotected[2]


@pytest.mark.slow
@pytest.mark.ray
def test_a_call_for_when_ray_has_started_is_answered_or_refused() -> None:
    code = """
from orchestrator.scheduling.session import BackgroundRay
with BackgroundRay() as session:
    cores = session.then(lambda nodes: sum(node["CPU"] for node in nodes))
    assert cores.result() >= 1
    failed = session.then(lambda nodes: 1 / 0)
    assert isinstance(failed.exception(), ZeroDivisionError)
"""
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert asked.returncode == 0, asked.stderr


SECOND = """
import threading
import orchestrator as orc
import ray
from orchestrator.errors import ResourceError
from orchestrator.scheduling.session import BackgroundRay, ray_session
from ray._raylet import get_authentication_mode

def refused(call):
    try:
        call()
    except ResourceError as problem:
        return "already connected to Ray" in str(problem)

def enter():
    with ray_session(cpus=1):
        pass

@ray.remote(num_cpus=0)
class Kept:
    def answer(self):
        return 42

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
kept = Kept.remote()
assert refused(enter) and refused(BackgroundRay().begin)
assert ray.get(kept.answer.remote()) == 42
ray.shutdown()

mode, joins = int(get_authentication_mode()), ray._private.ray_constants.ENABLE_RAY_CLUSTER
with ray_session(cpus=1) as nodes:
    found = []
    other = threading.Thread(target=lambda: found.append(refused(enter)))
    other.start()
    other.join()
    assert found == [True] and ray.is_initialized()
assert int(get_authentication_mode()) == mode and ray._private.ray_constants.ENABLE_RAY_CLUSTER == joins
print("left")
"""


@pytest.mark.slow
@pytest.mark.ray
def test_another_session_of_the_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    assert by_itself(SECOND, tmp_path)[-1:] == ["left"]
