"""The checks before a launch on the node of a real Ray: what passes, and which differences refuse the launch."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.checks import Level, Request, check_nodes, run_checks
from orchestrator.errors import ResourceError, StorageError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.scheduling.each_node import node_names
from orchestrator.scheduling.session import ray_session
from orchestrator.spec import Plan

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def session():
    with ray_session(cpus=1) as found:
        yield found


@pytest.fixture
def plan(network_file: Path) -> Plan:
    return make_plan(read_experiment({"name": "small", "variants": [f"{network_file}:Tiny"], "seeds": [0]}, "test"))


def test_a_node_that_can_train(plan: Plan, tmp_path: Path) -> None:
    assert check_nodes(str(tmp_path), plan) == 1
    assert list(tmp_path.glob(".probe-*")) == []


def test_a_network_opens_its_files_on_a_node_from_where_the_driver_works(
    network_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "classes.txt").write_text("3")
    network_file.write_text(network_file.read_text() + '\nCLASSES = int(Path("classes.txt").read_text())\n')
    monkeypatch.chdir(tmp_path)
    tree = {"name": "small", "variants": [f"{network_file}:Tiny"], "seeds": [0]}
    assert check_nodes(str(tmp_path), make_plan(read_experiment(tree, "test"))) == 1


def test_other_versions_refuse_the_launch(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.checks import run

    monkeypatch.setattr(run, "VERSIONS", {**run.VERSIONS, "torch": lambda: "1.0", "orchestrator": lambda: "edited"})
    with pytest.raises(ResourceError, match="not every node can train these trials") as refused:
        check_nodes(str(tmp_path), plan)
    [name] = node_names().values()
    lines = str(refused.value).splitlines()
    assert [line.partition(": ")[0] for line in lines[1:3]] == [f"  - {name}"] * 2
    assert "torch: " in lines[2]
    assert "the driver has 1.0" in lines[2]
    assert "uv sync" in lines[-1]


def test_another_source_of_a_network_refuses_the_launch(plan: Plan, tmp_path: Path) -> None:
    other = replace(plan, trials=tuple(replace(spec, source_digest="0" * 64) for spec in plan.trials))
    with pytest.raises(ResourceError, match=r"the source of .*:Tiny differs from the driver's"):
        check_nodes(str(tmp_path), other)


def test_storage_that_cannot_be_written_refuses_the_launch(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"(?s)not every node can use the storage.*Not a directory.*--storage"):
        check_nodes(str(tmp_path / "file"), plan)


def test_a_node_that_does_not_answer_is_a_finding(tmp_path: Path) -> None:
    found = run_checks(Request(str(tmp_path), nodes={"ab" * 28: "gone"}, patience=2.0), ["Python"])
    assert [(f.node, f.name, f.status) for f in found] == [
        ("here", "Python", Level.OK),
        ("gone", "node", Level.FAILURE),
    ]
    assert found[1].advice
