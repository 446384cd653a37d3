"""A Ray session of our own: left without harm, whatever this process still holds of Ray's."""

import subprocess
import sys

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
