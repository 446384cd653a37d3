"""``orchestrator init``: files to begin with, which are valid, commented, run as printed, and never overwrite any."""

import re
from pathlib import Path

import pytest
from driving import orchestrator

import orchestrator as orc
from orchestrator.errors import RequestError
from orchestrator.experiment.reader import read_file
from orchestrator.workflow.init import begin


@pytest.mark.ray
@pytest.mark.slow
def test_the_printed_commands_run_as_they_are(tmp_path: Path) -> None:
    wrote = orchestrator("init", "first-look", cwd=tmp_path)
    assert wrote.returncode == 0, wrote.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"first-look.yaml", "first-look.py"}
    commands = [line.split() for line in wrote.stdout.splitlines() if line.startswith("  orchestrator ")]
    assert [command[1] for command in commands] == ["validate", "run"]
    fewer = ["--set", "trainer.epochs=2", "--set", "seeds=[0]"]
    for _, *arguments in commands:
        done = orchestrator(*arguments, *fewer, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "Network and grouped_concat are" in done.stdout or "grouped_concat and Network are" in done.stdout


def test_every_setting_is_explained_and_the_optional_ones_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment, _ = begin("mine", tmp_path)
    text = experiment.read_text()
    settings = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(settings) > 15
    assert all(" # " in line for line in settings)
    plan = orc.plan(experiment)
    assert (plan.problems, len(plan.trials)) == ((), 4)
    optional = re.findall(r"^# (\w+: \{.*)$", text, re.MULTILINE)
    assert [line.partition(":")[0] for line in optional] == ["search", "confirm", "verdict", "scheduler", "resources"]
    experiment.write_text("\n".join([text, *optional]))
    more = orc.plan(experiment)
    assert (more.problems, len(more.trials)) == ((), 16)


@pytest.mark.parametrize("name", ["2026", "1e5", "010", "0x10", "1_000", "null", "true", "yes", "2026-01-01", "plain"])
def test_whatever_the_name_looks_like_the_file_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment, network = begin(name, tmp_path)
    found = read_file(experiment)
    assert (found.name, found.variants[0].name) == (name, f"{name}.py:Network")
    assert network.name == f"{name}.py"
    assert ("name: plain #" in experiment.read_text()) == (name == "plain"), "no quotes where none are needed"


@pytest.mark.parametrize("there", [["mine.yaml"], ["mine.py"], ["mine.yaml", "mine.py"]])
def test_it_never_overwrites(there: list[str], tmp_path: Path) -> None:
    for name in there:
        (tmp_path / name).write_text("mine")
    done = orchestrator("init", "mine", cwd=tmp_path)
    assert done.returncode == 2
    assert f"error: {' and '.join(there)} already there" in done.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(there, "mine")


@pytest.mark.parametrize(("name", "said"), [("a/b", "letters, digits"), ("", "letters, digits"), ("torch", "hide")])
def test_a_name_that_cannot_be_used_is_refused(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=said):
        begin(name, tmp_path)
    assert not list(tmp_path.iterdir())
