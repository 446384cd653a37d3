"""``~`` is the home folder in every path that a user gives, where no shell has replaced it; no folder is called so."""

import importlib
import json
from pathlib import Path

import click
import pytest
from conftest import TINY, make_dataset

import orchestrator as orc
from orchestrator.cli.main import COMMANDS, main
from orchestrator.data import save_packed
from orchestrator.files import from_user
from orchestrator.scheduling.storage import open_storage
from orchestrator.tracking.store import absolute_uri, sqlite_file, tracking_uri
from orchestrator.workflow.simulation_options import parse_files

TREE = {"name": "x", "variants": ["net.py:Tiny"], "dataset": {"name": "tiny.pt"}, "trainer": {"epochs": 1}}
ON_THE_HEAD = ("storage", "data_dir", "tracking_uri")  # of submit: refused unless absolute, since it is no path of here


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with an experiment and a dataset; the user stands elsewhere."""
    (tmp_path / "home" / "data").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "home" / "net.py").write_text(TINY)
    (tmp_path / "home" / "x.yaml").write_text(json.dumps(TREE))
    save_packed(make_dataset(), tmp_path / "home" / "data" / "tiny.pt")
    return tmp_path / "home"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_path_of_every_command_may_begin_with_it(name: str, home: Path) -> None:
    command: click.Command = importlib.import_module(f"orchestrator.cli.{name.replace('-', '_')}").command
    context = click.Context(command)
    for param in command.params:
        is_path = isinstance(param.type, click.Path) or param.name in ("storage", "data_dir")
        if is_path and not (name == "submit" and param.name in ON_THE_HEAD):
            assert str(param.type_cast_value(context, "~/a b")) == str(home / "a b"), param.name
            assert str(param.type_cast_value(context, "b~/~")) == "b~/~", param.name
            if param.name == "storage":
                assert param.type_cast_value(context, "s3://b/~/x") == "s3://b/~/x"


def test_commands_read_and_write_at_home(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["validate", "~/x.yaml", "--data-dir=~/data", "--json"],
        ["inspect", "~/net.py:Tiny", "--figure=~/figures/net.svg", "--contract=~/x.yaml", "--json"],
        ["train", "~/net.py:Tiny", "--dataset=tiny.pt", "--data-dir=~/data", "--out=~/t", "--epochs=1", "--no-report"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0, capsys.readouterr().err
    assert (home / "figures" / "net.svg").is_file()
    assert (home / "t" / "outcome.json").is_file()
    assert list(Path().iterdir()) == []


def test_python_reads_and_writes_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = orc.plan("~/x.yaml", data_dir="~/data")
    assert plan.problems == ()
    trained = orc.train("~/net.py:Tiny", dataset="tiny.pt", epochs=1, batch_size=32, out="~/t", data_dir="~/data")
    assert trained.status == "complete"
    assert (home / "t" / "outcome.json").is_file()
    monkeypatch.setenv("ORCHESTRATOR_DATA_DIR", "~/data")
    assert orc.plan("~/x.yaml").problems == ()
    orc.inspect("~/net.py:Tiny").save_figure(Path("~/figures/net.svg"))
    assert (home / "figures" / "net.svg").is_file()
    assert list(Path().iterdir()) == []


def test_a_storage_a_store_and_a_curve_may_be_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_storage("~/kept") as storage:
        assert storage.root == home / "kept"
    store = f"sqlite:///{home}/runs.db?x=1"
    assert tracking_uri("sqlite:///~/runs.db?x=1") == absolute_uri("sqlite:///~/runs.db?x=1") == store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///~/runs.db?x=1")
    assert tracking_uri() == store
    assert sqlite_file("sqlite:///~/runs.db") == home / "runs.db"
    assert tracking_uri("sqlite:///runs.db") == "sqlite:///runs.db"
    for uri in ("http://host/~/x", f"sqlite:///{home}/~/runs.db"):
        assert tracking_uri(uri) == absolute_uri(uri) == uri
    experiment = orc.plan("~/x.yaml", data_dir="~/data").experiment
    assert parse_files(["Tiny=~/curve.csv"], experiment) == {"Tiny": home / "curve.csv"}


def test_a_user_that_there_is_not_is_a_name_like_any_other() -> None:
    assert from_user("~nobody-is-called-so/x") == Path("~nobody-is-called-so/x")
