"""What is no network, and what fails: one line that says what it is, where, and what to do, and nothing beside it."""

import json
import py_compile
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from driving import QUIET_ENVIRONMENT, orchestrator

from orchestrator.architectures import build_network, load_network
from orchestrator.architectures import crash as crash_module
from orchestrator.architectures.crash import crash, is_users
from orchestrator.architectures.importing import apart, importable
from orchestrator.errors import VariantError
from orchestrator.spec import TrialSpec

NET = """
from torch import nn
class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.head = nn.Linear({features}, num_classes)
        {within}
    def forward(self, x):
        {forward}
        return self.head(x.mean((2, 3)))
{end}
"""


def write(folder: Path, features: int = 3, within: str = "pass", forward: str = "pass", end: str = "") -> str:
    (folder / "net.py").write_text(NET.format(features=features, within=within, forward=forward, end=end))
    return f"{folder / 'net.py'}:Net"


def refusal(variant: str) -> str:
    with pytest.raises(VariantError) as problem:
        build_network(variant)
    assert "\n" not in str(problem.value)
    return str(problem.value)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: paths below it are short in messages."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_script_that_reads_its_command_line_when_imported(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    parser = (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', required=True)\nargs = p.parse_args()"
    )
    said = refusal(write(here, end=parser))
    assert "is a script that ends the program when it is imported (net.py:14)" in said
    assert 'put its command line and whatever runs under `if __name__ == "__main__":`' in said
    assert capfd.readouterr() == ("", "")


def test_the_same_by_the_commands(here: Path) -> None:
    variant = write(here, end="import argparse\nargparse.ArgumentParser().parse_args()")
    for command in (["inspect", variant], ["train", variant, "--dataset", "digits"]):
        done = orchestrator(*command, cwd=here)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "usage" not in done.stderr
        assert "is a script that ends the program when it is imported (net.py:12)" in done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net.ipynb:Net", r"net.ipynb is a notebook; write the network's cell to a file .*pass the class itself"),
        ("./net.ipynb:Net", "is a notebook"),
        ("net.ipynb", "is a notebook"),
        ("exp.yaml:Net", "exp.yaml is a YAML file, not a network; .* orchestrator run exp.yaml"),
        ("exp.yaml", "orchestrator run exp.yaml"),
        ("models/:Net", "models is a folder; name a file in it: models/small.py:Class"),
        ("./models:Net", "models is a folder; name a file in it: models/small.py:Class"),
        ("models:Net", "models is a folder; name a file in it: models/small.py:Class"),
        ("models", "models is a folder"),
        ("net.pyc:Net", "net.pyc is compiled Python; name its source"),
        ("weights.pt:Net", "weights.pt is not a Python file"),
        ("net.py", "net.py is a file; name the class or function in it, too: net.py:Class"),
        ("absent.py:Net", "there is no readable file"),
        ("absent:Net", "there is no module absent, neither installed nor in the current folder"),
        ("models.absent:Net", "there is no module models.absent"),
        ("nets.py:Net", "there is no readable file"),
    ],
)
def test_names_of_something_else(name: str, words: str, here: Path) -> None:
    write(here)
    (here / "models").mkdir()
    (here / "models" / "small.py").write_text("")
    for file in ("net.ipynb", "exp.yaml", "weights.pt"):
        (here / file).write_text("{}")
    py_compile.compile(str(here / "net.py"), str(here / "net.pyc"))
    TrialSpec(variant=name)  # may be asked for: only loading it can tell what it is
    with pytest.raises(VariantError, match=words) as problem:
        load_network(name)
    assert "\n" not in str(problem.value)


def test_a_crash_on_import_is_told_with_its_line(here: Path) -> None:
    write(here, end="import helper")
    (here / "helper.py").write_text("x = 1\n\ndef f():\n    return {}['width']\n\nf()\n")
    assert refusal("net.py:Net") == "net.py:Net: fails when it is imported: f, helper.py:4: KeyError: 'width'"
    (here / "helper.py").write_text("def f(:\n")
    assert ": fails when it is imported: helper.py:1: SyntaxError: invalid syntax" in refusal("net.py:Net")
    (here / "helper.py").write_text("import no_such_package.inner\n")
    assert refusal("net.py:Net").endswith(
        "helper.py:1: ModuleNotFoundError: No module named 'no_such_package'; install no_such_package"
    )
    assert "helper.py:1: ModuleNotFoundError" in refusal("net:Net")


def test_a_crash_in_the_constructor_and_in_forward_is_told_with_its_line(here: Path) -> None:
    write(here, within="1 / 0")
    assert refusal("net.py:Net") == (
        "net.py:Net: cannot be built: Net.__init__, net.py:7: ZeroDivisionError: division by zero"
    )
    write(here, features=4)
    said = refusal("net.py:Net")
    assert said.startswith("net.py:Net: does not work with 3x32x32 images: Net.forward, net.py:10: RuntimeError: mat1")
    write(here, forward="raise SystemExit(3)")
    assert "Net.forward, net.py:9: SystemExit: 3" in refusal("net.py:Net")


def test_a_crash_while_training_is_one_line_of_the_command(here: Path, packed: Path) -> None:
    write(  # a step can be taken, which is tried before training; the third cannot
        here, within="self.steps = 0", forward="self.steps += self.training; assert self.steps < 3, 'told so'"
    )
    command = ["train", "net.py:Net", "--dataset", str(packed), "--epochs", "1", "--set", "trainer.batch_size=32"]
    done = orchestrator(*command, cwd=here)
    assert done.returncode == 1, done.stdout
    assert "Net.forward, net.py:9: AssertionError: told so" in done.stderr
    assert "Traceback" not in done.stderr
    outcome = json.loads((here / "trials" / "Net" / "seed-0" / "outcome.json").read_text())
    assert outcome["reason"] == "Net.forward, net.py:9: AssertionError: told so"
    assert "Traceback" in orchestrator(*command, "--debug", cwd=here).stderr


def test_what_a_file_prints_is_not_among_results(here: Path) -> None:
    write(here, within="print('made')", forward="print('run')", end="print('imported')")
    done = orchestrator("inspect", "net.py:Net", "--json", cwd=here)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["variant"] == "net.py:Net"
    assert {"imported", "made", "run"} <= set(done.stderr.split())


def test_the_current_folder_is_in_the_path_only_as_long_as_it_is_needed(here: Path) -> None:
    (here / "package").mkdir()
    write(here / "package", within="import late; self.late = late.VALUE")
    (here / "late.py").write_text("VALUE = 5\n")
    code = (
        "import sys; sys.path = [p for p in sys.path if p]; before = list(sys.path)\n"
        "from orchestrator.architectures import build_network, source_digest\n"
        "assert build_network('package.net:Net').late == 5; assert sys.path == before, sys.path\n"
        "assert len(source_digest('package.net:Net')) == 64; assert sys.path == before"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd=here, env=QUIET_ENVIRONMENT)


def test_the_path_is_put_back_by_whoever_needs_it_last(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(here))])
    before = list(sys.path)
    first, second = importable(), importable()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.path == [str(here), *before]
    second.__exit__(None, None, None)
    assert sys.path == before


def test_what_is_printed_is_shown_unless_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with apart(), apart():
        print("to be seen")
    with suppress(ZeroDivisionError), apart():
        print("beside an error")
        print(1 / 0)
    assert capsys.readouterr() == ("", "to be seen\n")


def test_whose_code_a_file_is(tmp_path: Path) -> None:
    assert is_users(str(tmp_path / "net.py"))
    assert not is_users(json.__file__)
    assert not is_users(pytest.__file__)
    assert not is_users(crash_module.__file__)
    assert not is_users("<string>")
    assert crash(ValueError("first\nsecond")) == "ValueError: first"
