"""What commands print: names whole in every terminal, no blanks at ends of piped lines, counts and sizes."""

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, make_dataset
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.architectures import VARIANTS
from orchestrator.cli.main import COMMANDS
from orchestrator.cli.piped import piped_output
from orchestrator.data import save_packed
from orchestrator.records import Record
from orchestrator.reporting.terminal import View
from orchestrator.reporting.terminal_table import bare_table, terminal_table
from orchestrator.spec import TrialSpec
from orchestrator.spec.differences import differences, of_trials
from orchestrator.text import counted, large

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LONG = "depthwise_separable_with_a_long_name"


def in_terminal(columns: int, *arguments: str, cwd: Path) -> list[str]:
    """The lines that a command prints in a terminal of so many columns."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    command = [sys.executable, "-m", "orchestrator", *arguments]
    with subprocess.Popen(command, cwd=cwd, stdout=terminal, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(terminal)
        content = b""
        while True:
            try:
                select.select([controller], [], [])
                part = os.read(controller, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            content += part
    os.close(controller)
    assert process.returncode == 0
    return ANSI.sub("", content.decode()).splitlines()


def rendered(columns: int, *parts: object) -> list[str]:
    console = Console(file=io.StringIO(), width=columns)
    for part in parts:
        console.print(part)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One variant with a long name, one seed, one epoch, and a search with one sample."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "networks.py").write_text(TINY)
    save_packed(make_dataset(), folder / "tiny.pt")
    (folder / "x.yaml").write_text(
        f"name: x\nvariants: [{{name: networks.py:Tiny, as: {LONG}}}]\nseeds: [0]\ndataset: {{name: tiny.pt}}\n"
        "trainer: {epochs: 1, batch_size: 32}\n"
        "search: {samples: 1, space: {trainer.optimizer.lr: {choice: [0.123456, 0.2]}}}\n"
    )
    return folder


@pytest.mark.parametrize("columns", [80, pytest.param(60, marks=pytest.mark.slow)])
def test_names_are_whole_in_every_terminal(experiment: Path, columns: int) -> None:
    for arguments, names in ((["variants"], list(VARIANTS)), (["validate", "x.yaml"], [LONG])):
        lines = in_terminal(columns, *arguments, cwd=experiment)
        assert all(len(line) <= columns for line in lines)
        for name in names:
            assert any(re.match(rf"{name}( |$)", line) for line in lines), lines
        assert not any("…" in line for line in lines)
    shown = " ".join(in_terminal(columns, "variants", cwd=experiment))
    assert all(f"{variant.parameters:,}" in shown for variant in VARIANTS.values())  # what does not fit comes below


@given(
    st.lists(st.tuples(*[st.text("abc ", min_size=1, max_size=30)] * 4), min_size=1, max_size=4), st.integers(32, 90)
)
def test_a_narrow_table_loses_nothing(rows: list[tuple[str, ...]], columns: int) -> None:
    cells = [tuple(cell.strip() or "x" for cell in row) for row in rows]
    lines = rendered(columns, terminal_table("Title", ("a", "b", "c", "d"), cells, "caption"))
    assert all(len(line) <= columns for line in lines)
    whole = "".join("".join(lines).split())
    assert "…" not in whole
    for row in cells:
        assert all("".join(cell.split()) in whole for cell in row[1:]) or columns < 62
    assert [line.strip() for line in lines].count("Title") == 1


def test_a_wide_table_is_one_table() -> None:
    table = bare_table("Title")
    for name in ("variant", "parameters", "MACs"):
        table.add_column(name, no_wrap=True)
    table.add_row(LONG, "1", "2")
    assert len(rendered(80, table)) == 4
    assert len(rendered(50, table)) == 7  # two tables under one title


def test_a_live_table_goes_without_columns_rather_than_cut_a_name() -> None:
    trial = f"{LONG}/seed-0/lr=0.1"
    view = View([trial], 3, Console(file=io.StringIO(), width=72))
    view.on_start(trial)
    metrics = {"train/accuracy": 0.5, "val/accuracy": 0.25, "images_per_second": 123.0}
    view.on_record(trial, Record(1, 0.0, metrics))
    shown = rendered(72, view)
    assert any(line.startswith(trial) and "1/3" in line and "running" in line for line in shown)
    assert not any("123" in line or "…" in line for line in shown)
    wide = " ".join(rendered(140, view))
    assert "123" in wide and "25.00" in wide  # noqa: PT018


def test_no_piped_line_ends_with_blanks_and_no_count_of_one_has_a_plural(experiment: Path) -> None:
    commands = [
        ["variants"], ["validate", "x.yaml"], ["inspect", "networks.py:Tiny"], ["--help"],
        *([name, "--help"] for name in COMMANDS),
        ["train", "networks.py:Tiny", "--dataset", "tiny.pt", "--epochs", "1", "--out", "t", "--no-report"],
        ["simulate", "x.yaml", "--repeat", "1"], ["validate", "x.yaml", "--set", "search.name=tpe"],
    ]  # fmt: skip
    script = (
        "import json, sys\nfrom orchestrator.cli.main import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    try:\n        main(arguments)\n    except SystemExit as end:\n"
        "        print('ended', end.code, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)], cwd=experiment, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\nended 0\n") == len(commands), done.stderr
    assert all(f"\nUsage: orchestrator {name} " in done.stdout for name in COMMANDS)
    assert not [line for line in done.stdout.splitlines() if line != line.rstrip()]
    assert not re.findall(r"(?<![\d.,])1 (?!class\b|process\b|images/s)[a-z]+s\b.*", done.stdout + done.stderr)
    assert "1 trial of 1 epoch" in done.stdout


@given(st.lists(st.text("ab \n\t", max_size=5)))
def test_what_is_piped_is_what_was_written_without_blanks_at_line_ends(parts: list[str]) -> None:
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        with piped_output():
            for part in parts:
                sys.stdout.write(part)
                sys.stdout.flush()
        written = sys.stdout.getvalue()
    finally:
        sys.stdout = before
    whole = "".join(parts)
    assert written == re.sub(r"[ \t]+(?=\n|\Z)", "", whole)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (999, "999"), (48_680, "48.7 thousand"), (1_000, "1 thousand"), (999_960, "1 million"),
     (46_745_920, "46.7 million"), (4.91e12, "4.91 trillion"), (1.2e9, "1.2 billion"), (2.5e18, "2500 quadrillion")],
)  # fmt: skip
def test_large_numbers_have_three_digits_and_a_unit(number: float, words: str) -> None:
    assert large(number) == words


@given(st.floats(1, 1e17))
def test_a_large_number_is_said_to_three_digits(number: float) -> None:
    units = {"": 1, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "quadrillion": 1e15}
    value, _, unit = large(number).partition(" ")
    assert float(value.replace(",", "")) * units[unit] == pytest.approx(number, rel=0.0051 if number >= 100 else 0.51)


def test_counts() -> None:
    assert [counted(n, "trial") for n in (0, 1, 2, 1200)] == ["0 trials", "1 trial", "2 trials", "1,200 trials"]
    assert [counted(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


def test_what_differs_between_settings_is_said_by_path() -> None:
    before, now = {"a": {"b": 3, "c": None}, "d": "x" * 50}, {"a": {"b": 6, "c": None}, "d": "y" * 50, "e": 1}
    assert differences(before, now) == ["a.b (3 there, 6 now)", "d", "e (none there, 1 now)"]
    held = TrialSpec(variant="stride", dataset_digest="a" * 64, sample=1)
    assert of_trials(held, TrialSpec(variant="stride", dataset_digest="b" * 64, seed=2)) == (
        "seed (0 there, 2 now), the data"
    )
