"""Functions on free cores of a real Ray: results, failures, retries after a lost process, low priority."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import waiting
from patience import PATIENCE

from orchestrator.scheduling.ray_executor import RayExecutor
from orchestrator.scheduling.session import BackgroundRay


@pytest.fixture(scope="module")
def executor() -> Iterator[RayExecutor]:
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with pytest.MonkeyPatch.context() as patch, BackgroundRay() as ray:
        patch.setenv("PYTHONPATH", path)  # the workers find the functions of the tests
        ray.nodes()
        found = RayExecutor(2)
        yield found
        found.shutdown(wait=False)


@pytest.mark.ray
def test_results_come_back_from_another_process(executor: RayExecutor) -> None:
    shared = executor.put([1, 2, 3])
    futures = [executor.submit(sum, shared) for _ in range(5)]
    assert [future.result(PATIENCE) for future in futures] == [6] * 5
    assert executor.submit(os.getpid).result(PATIENCE) != os.getpid()


@pytest.mark.ray
def test_what_is_urgent_comes_before_all_that_waits(executor: RayExecutor) -> None:
    ended: list[str] = []
    calls = []
    for number in range(31):
        future = executor.submit(time.sleep, 0.1) if number < 30 else executor.submit_first(sum, [1, 2])
        name = f"call {number}" if number < 30 else "urgent"
        future.add_done_callback(lambda _, name=name: ended.append(name))  # at once, so that none has ended before
        calls.append(future)
    assert [future.result(PATIENCE) for future in calls] == [None] * 30 + [3]
    deadline = time.monotonic() + PATIENCE
    while len(ended) < len(calls):
        assert time.monotonic() < deadline, ended
        time.sleep(0.01)  # a callback comes after its result
    assert ended.index("urgent") < ended.index("call 29")


@pytest.mark.ray
def test_what_a_function_raises_reaches_the_future(executor: RayExecutor) -> None:
    problem = executor.submit(Path.read_text, Path("/nonexistent")).exception(PATIENCE)
    assert isinstance(problem, FileNotFoundError)


@pytest.mark.ray
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a thread its own priority")
def test_it_runs_only_when_nothing_else_wants_the_core(executor: RayExecutor) -> None:
    assert executor.submit(os.sched_getscheduler, 0).result(PATIENCE) == os.SCHED_IDLE


@pytest.mark.ray
def test_a_process_that_is_lost_again_and_again_costs_its_call_only(executor: RayExecutor) -> None:
    assert executor.submit(os._exit, 1).exception(PATIENCE) is not None
    assert executor.submit(sum, [4]).result(PATIENCE) == 4


@pytest.mark.ray
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a thread its own priority")
def test_when_nothing_trains_any_more_no_call_waits_for_an_idle_core(executor: RayExecutor) -> None:
    raised = RayExecutor(2)  # in the same Ray; for the other tests nothing is raised
    try:
        # On busy cores a call at the lowest priority makes no progress: here it waits until it has another one.
        waits = [raised.submit(waiting.wait_for_normal_priority) for _ in range(4)]
        raised.raise_priority()
        assert [future.result(PATIENCE) for future in waits] == [os.SCHED_OTHER] * 4
        assert raised.submit(os.sched_getscheduler, 0).result(PATIENCE) == os.SCHED_OTHER
    finally:
        raised.shutdown(wait=False)
