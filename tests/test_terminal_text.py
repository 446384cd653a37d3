"""What users name is printed as they wrote it: no table or sentence reads ``[red]`` as a colour, ``:cat:`` as a cat."""

import ast
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY, make_dataset
from rich.console import Console

import orchestrator
from orchestrator.checks import Finding
from orchestrator.checks.check import Level
from orchestrator.cli import doctor, status
from orchestrator.cli.main import main
from orchestrator.cli.tables import print_result
from orchestrator.cluster.job import Job
from orchestrator.data import save_packed
from orchestrator.records import CONFIRM, SEARCH, Outcome, Record, Status, TrialRow
from orchestrator.reporting.comparison.rounds import launch_rounds
from orchestrator.reporting.comparison.spending import Share
from orchestrator.reporting.comparison.variants import compare
from orchestrator.reporting.console import plain_console
from orchestrator.reporting.replication import ReplicationRow, reasons, replication_table
from orchestrator.reporting.terminal import View
from orchestrator.spec import VerdictSettings
from orchestrator.tracking.registry import Registered
from orchestrator.verdict.replication import Replication
from orchestrator.workflow.comparison import Comparison
from orchestrator.workflow.display import Terminal
from orchestrator.workflow.promote import Evidence, Registration
from orchestrator.workflow.results import Results

ODD = "qqq[red]"  # a variant, a file, a layer
SAID = "qqq[red]:cat:[/b]"  # a reason; at a closing tag that closes nothing, a reader of markup fails
LR = "trainer.optimizer.lr"
PACKAGE = Path(orchestrator.__file__).parent


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def whole(text: str, *said: str) -> int:
    """How often the odd name is in ``text``, where nothing of it is lost; all of ``said`` is there as well."""
    assert text.count("qqq") == text.count(ODD), [line for line in text.splitlines() if "qqq" in line]
    assert [words for words in (ODD, *said) if words not in text] == []
    return text.count(ODD)


def trial(variant: str, seed: int, accuracy: float | None, state: Status = Status.COMPLETE, **more: object) -> TrialRow:
    row = TrialRow(
        f"{variant}/seed-{seed}", f"{variant}-{seed}", variant, seed, state, epochs=3, parameters=1000, macs=10**6,
        seconds=2.0, val_accuracy=accuracy, test_accuracy=accuracy, planned_epochs=9, settings={LR: f"{ODD}{seed}"},
    )  # fmt: skip
    return replace(row, **more)  # type: ignore[arg-type]


def two_variants() -> list[TrialRow]:
    """Judged, searched, stopped, failed: there is something for every table."""
    pairs = [(ODD, 0.9), (f"{ODD}2", 0.8), ("plain", 0.85)]
    rows = [trial(name, seed, mean + seed / 500) for name, mean in pairs for seed in range(3)]
    drawn = [replace(row, stage=SEARCH, sample=row.seed, test_accuracy=None, seed=0) for row in rows]
    odd = [
        trial(ODD, 7, 0.5, Status.STOPPED, stage=SEARCH, sample=7),
        trial(ODD, 8, None, Status.FAILED, reason=SAID, stage=SEARCH, sample=8),
    ]
    return [*drawn, *odd, *(replace(row, stage=CONFIRM) for row in rows)]


@pytest.mark.parametrize("baseline", [None, ODD])
@pytest.mark.parametrize("until_decided", [False, True])
def test_a_result_names_its_variants_as_they_are_called(
    baseline: str | None, until_decided: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = VerdictSettings(baseline=baseline, until_decided=until_decided, max_seeds=3 if until_decided else 20)
    rows = two_variants()
    rounds = launch_rounds(rows, settings)
    compared = Comparison.of(compare(rows, 0.8, settings=settings, rounds=rounds), trials=tuple(rows))
    result = Results(
        "x", "abc", "run", rows, compared, Share(1, 0, 2.0), left_out_rows=(replace(rows[0], trial=f"{ODD}/seed-9"),)
    )
    registered = Registered(ODD, "champion", "1", f"{ODD}/seed-0", "run")
    print_result(result, as_json=False, registered=Registration(registered, Evidence("first", SAID)))
    shown = capsys.readouterr().out
    assert whole(shown, SAID) > 20
    titles = "Comparison", "Cost", "Best settings", "searched", "spent", "Stopped early", "Incomplete trials"
    assert [title for title in titles if title not in shown] == []


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path(f"{ODD}.py").write_text(TINY)
    save_packed(make_dataset(), tmp_path / f"{ODD}.pt")
    tree = {
        "name": "x",
        "variants": [{"name": f"{ODD}.py:Tiny", "as": f"{ODD}{size}", "arguments": {"width": size}} for size in (4, 8)],
        "seeds": [0, 1, 2],
        "dataset": {"name": f"{ODD}.pt"},
        "trainer": {"epochs": 1, "batch_size": 32},
        "search": {"samples": 2, "space": {LR: {"choice": [0.1, 0.2]}}, "per": "variant"},
        "confirm": {"seeds": [5, 6, 7]},
        "verdict": {"baseline": f"{ODD}4"},
    }  # fmt: skip
    Path("x.yaml").write_text(json.dumps(tree))
    return tmp_path


@pytest.mark.parametrize("command", [["validate", "x.yaml"], ["simulate", "x.yaml", "--repeat", "1"]])
@pytest.mark.usefixtures("experiment")
def test_commands_that_train_nothing_name_everything_as_it_is_called(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command)
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    assert whole(said.out) >= 3


def test_a_layer_may_have_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self, num_classes=10):\n"
        "        super().__init__()\n        self.parts = nn.ModuleDict({'qqq[red]': nn.Conv2d(3, 4, 3)})\n"
        "        self.end = nn.Linear(4, num_classes)\n\n"
        "    def forward(self, x):\n        return self.end(self.parts['qqq[red]'](x).mean((2, 3)))\n"
    )
    with pytest.raises(SystemExit):
        main(["inspect", f"{file}:Net"])
    whole(capsys.readouterr().out)


def test_findings_and_jobs_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    doctor._print_table([Finding(f"{ODD}{node}", ODD, Level.WARNING, SAID, SAID) for node in range(2)])
    assert whole(capsys.readouterr().out.replace("\n", ""), SAID) >= 3
    job = Job(ODD, "complete", 0, 1.0, 2.0, SAID, {"trials": "2", "experiment": ODD})
    status._print_jobs([job], ODD)
    status._print_jobs([], ODD)
    status._print_job(job, f" --address {ODD}")
    assert whole(capsys.readouterr().out) >= 5


def test_a_replication_is_shown_as_it_is() -> None:
    row = ReplicationRow(ODD, ODD, "run", ODD, "last", 3, {0: 0.5}, Replication(0.5, 0.01, 1, 0.5, reason=SAID))
    console = plain_console(io.StringIO())
    console.print(replication_table([row]))
    for line in reasons([row]):
        console.print(line)
    assert whole(console.file.getvalue(), SAID) >= 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", [True, False])
def test_a_launch_is_shown_as_it_is_on_any_console(given: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=300, color_system=None) if given else plain_console(file)
    display = Terminal(console)
    display.log(SAID)
    with display.waiting(SAID) as update:
        update(SAID)
    view = View([f"{ODD}/seed-{seed}" for seed in range(2)], 3, console)
    view.on_start(f"{ODD}/seed-0")
    view.on_record(f"{ODD}/seed-0", Record(1, 0.0, {"train/accuracy": 0.5, "val/accuracy": 0.5}))
    view.on_end(Outcome(f"{ODD}/seed-1", Status.FAILED, SAID))
    console.print(view)
    assert whole(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()), SAID) >= 7


def test_there_is_no_other_console() -> None:
    """Nothing in the package makes a console, or reads markup, but the one that reads none."""
    found = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "rich":
                found += [f"{file}: {alias.name}" for alias in node.names]  # rich.print, rich.get_console
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            markup = {word.arg: ast.unparse(word.value) for word in node.keywords}.get("markup")
            reads = name in ("Console", "TextColumn") and markup != "False"
            if reads or markup == "True" or name in ("from_markup", "get_console") or (
                name == "Console" and file.name != "console.py"
            ):  # fmt: skip
                found.append(f"{file}:{node.lineno}: {name}")
    assert found == []
