"""Two launch folders with one launch in MLflow, as when a project is copied: only one driver at a time works on it."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from recording import FACTS

from orchestrator.errors import StorageError
from orchestrator.records import Outcome, Status
from orchestrator.spec import Plan
from orchestrator.tracking.lease import close_abandoned, owner
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.runs import LaunchRuns
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.tracking.tags import LEASE, LEASE_OWNER, LEFT_OUT, PLACE


def opened(uri: str, plan: Plan, folder: Path) -> LaunchRuns:
    return open_launch(connect(uri), uri, "abc", plan, FACTS, {}, {}, None, "a" * 32, owner=owner(folder))


def test_a_copied_folder_leaves_the_launch_to_the_driver_that_works_on_it(uri: str, plan: Plan, tmp_path: Path) -> None:
    client, mine, copy = connect(uri), tmp_path / "mine", tmp_path / "copy"
    first = Sink(opened(uri, plan, mine))
    for spec in plan.trials:
        first.on_start(spec.name)
    assert first.flush()
    run_ids = [first.runs.parent_run_id, *first.run_ids.values()]
    before = [client.get_run(run_id).to_dictionary() for run_id in run_ids]
    fewer = Plan(experiment=plan.experiment, trials=plan.trials[:1])
    with pytest.raises(StorageError) as refused:
        opened(uri, fewer, copy)
    assert str(mine) in str(refused.value)
    assert str(copy) in str(refused.value)
    assert "--again" in str(refused.value)
    assert [client.get_run(run_id).to_dictionary() for run_id in run_ids] == before

    again = opened(uri, plan, mine)  # as after kill -9: its folder's lock says that no other is alive
    assert again.parent_run_id == first.runs.parent_run_id
    first.close(Status.INTERRUPTED)
    assert opened(uri, plan, copy).parent_run_id == first.runs.parent_run_id, "nobody works on it"
    assert client.get_run(first.runs.parent_run_id).data.tags[LEASE_OWNER] == owner(copy)


def test_a_driver_of_this_host_that_was_killed_is_known_to_be_lost(uri: str, plan: Plan, tmp_path: Path) -> None:
    code = "import psutil; me = psutil.Process(); print(me.pid, me.create_time())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pid, began = done.stdout.split()
    killed = {**json.loads(owner(tmp_path / "lost")), "process": int(pid), "began": float(began)}
    runs, client = opened(uri, plan, tmp_path / "lost"), connect(uri)
    client.set_tag(runs.parent_run_id, LEASE_OWNER, json.dumps(killed))
    assert opened(uri, plan, tmp_path / "elsewhere").parent_run_id == runs.parent_run_id


@pytest.mark.parametrize("is_alive", [False, True])
def test_a_driver_of_another_host_is_given_the_time_of_its_lease(
    uri: str, plan: Plan, tmp_path: Path, is_alive: bool, caplog: pytest.LogCaptureFixture
) -> None:
    runs, client = opened(uri, plan, tmp_path / "there"), connect(uri)
    there = {**json.loads(owner(tmp_path / "there")), "host": "another"}
    client.set_tag(runs.parent_run_id, LEASE_OWNER, json.dumps(there))
    client.set_tag(runs.parent_run_id, LEASE, str(time.time() + 3))
    if is_alive:
        threading.Timer(0.5, lambda: client.set_tag(runs.parent_run_id, LEASE, str(time.time() + 60))).start()
        with pytest.raises(StorageError, match=r"another driver, process \d+ on another in .*there"):
            opened(uri, plan, tmp_path / "here")
    else:
        assert opened(uri, plan, tmp_path / "here").parent_run_id == runs.parent_run_id
    assert "was last at work on another" in caplog.text


@pytest.mark.parametrize("closed", [False, True])
def test_a_lost_drivers_launch_goes_on_elsewhere_when_its_lease_has_expired(
    uri: str, plan: Plan, tmp_path: Path, closed: bool
) -> None:
    lost, client = opened(uri, plan, tmp_path / "lost"), connect(uri)
    client.set_tag(lost.parent_run_id, LEASE, str(time.time() - 1))
    if closed:
        assert close_abandoned(client, "exp") == [lost.parent_run_id]
    assert opened(uri, plan, tmp_path / "elsewhere").parent_run_id == lost.parent_run_id


def test_a_launch_of_an_earlier_version_has_no_owner(uri: str, plan: Plan, tmp_path: Path) -> None:
    earlier = open_launch(connect(uri), uri, "abc", plan, FACTS, {}, {}, None, "a" * 32)
    assert opened(uri, plan, tmp_path).parent_run_id == earlier.parent_run_id


def test_a_recorded_trial_that_joins_the_plan_later_counts_again(uri: str, plan: Plan, tmp_path: Path) -> None:
    client, last = connect(uri), plan.trials[-1]
    first = Sink(opened(uri, plan, tmp_path))
    for spec in plan.trials:
        first.on_end(Outcome(spec.name, Status.COMPLETE))
    first.close(Status.COMPLETE)
    run_id = first.run_ids[last.name]
    fewer = Plan(experiment=plan.experiment, trials=plan.trials[:-1])
    second = Sink(opened(uri, fewer, tmp_path))
    assert LEFT_OUT in client.get_run(run_id).data.tags
    client.set_tag(run_id, PLACE, "somewhere else")
    fewer.add([last])
    second.on_plan([last.name])
    second.on_end(Outcome(last.name, Status.COMPLETE))
    second.close(Status.COMPLETE)
    run = client.get_run(run_id)
    assert second.run_ids[last.name] == run_id
    assert run.info.status == "FINISHED"
    assert LEFT_OUT not in run.data.tags
    assert run.data.tags[PLACE] == plan.place(last)
