"""Whatever a user hands over, damaged in any way: read, or refused in words that name the file; never a traceback."""

import contextlib
import copy
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.cli.main import main as orchestrator_main
from orchestrator.data import load_dataset
from orchestrator.errors import (
    CheckpointError,
    DataError,
    ExperimentError,
    OrchestratorError,
    RequestError,
    StorageError,
)
from orchestrator.experiment.overrides import apply_overrides
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment, read_file
from orchestrator.records import Record, Status
from orchestrator.reporting.published import read_curve
from orchestrator.scheduling.storage import newest_launch, open_launch_folder
from orchestrator.spec import DatasetSpec, TrialSpec
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder
from orchestrator.trial.__main__ import main as trial_main

FILES = sorted((Path(__file__).parents[1] / "experiments").rglob("*.yaml"))
TREES = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in FILES]
SMALL = {"name": "small", "variants": ["stride"]}
DEEP = "[" * 200_000

_SCALARS = (
    st.sampled_from([None, True, -1, 0, 2**31, 2**63, 10**400, float("nan"), float("inf"), 1e308, "", "a\0b", "\ud800"])
    | st.sampled_from(["../x", "/etc/x", "a/b", "..", "~nobody", "x.py:Net", "literal[x", "é\n", "9" * 5000, "=", "<<"])
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
)
_KEYS = st.sampled_from(["name", "uniform", "choice", "constrained-x", "literal[x", "lr", "arguments", "a\nb"])
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | _KEYS, inner, max_size=3),
    max_leaves=6,
)


def names(folder: Path) -> list[str]:
    """What lies in ``folder``."""
    return sorted(path.name for path in folder.iterdir())


def places(tree: Any, where: tuple = ()) -> list[tuple]:
    """The path of everything inside ``tree``."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [p for key, value in pairs for p in ((*where, key), *places(value, (*where, key)))]


@st.composite
def changed(draw: st.DrawFn, trees: list[dict]) -> Any:
    """One of ``trees`` with things removed, replaced or added at random places."""
    tree = copy.deepcopy(draw(st.sampled_from(trees)))
    for _ in range(draw(st.integers(1, 3))):
        if not (found := places(tree)):
            break
        *parents, last = draw(st.sampled_from(found))
        inside = tree
        for key in parents:
            inside = inside[key]
        match draw(st.sampled_from(["remove", "replace", "add"])):
            case "remove":
                del inside[last]
            case "replace":
                inside[last] = draw(_VALUES)
            case _ if isinstance(inside, dict):
                inside[draw(st.text(max_size=6) | _KEYS)] = draw(_VALUES)
    return tree


@st.composite
def damaged(draw: st.DrawFn, length: int) -> Callable[[bytes], bytes]:
    """A way to cut ``length`` bytes short or to flip one bit of them."""
    place = draw(st.integers(0, length - 1))
    bit = draw(st.none() | st.integers(0, 7))

    def damage(content: bytes) -> bytes:
        if bit is None:
            return content[:place]
        return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]

    return damage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad")


def refused(action: Callable[[], Any], path: Path | str, kind: type[OrchestratorError]) -> Any:
    """What ``action`` gives; or None where it was refused by ``kind``, in one line that names ``path``."""
    try:
        return action()
    except kind as problem:
        refusal = problem
    lines = str(refusal).splitlines()
    problems = refusal.problems if isinstance(refusal, ExperimentError) else ()
    assert str(path) in lines[0]
    assert lines[1:] == [f"  - {line}" for line in problems]
    return None


# --- experiment files


def read_and_plan(file: Path) -> None:
    experiment = refused(lambda: read_file(file), file, ExperimentError)
    if experiment is not None and (experiment.search is None or experiment.search.samples < 20):
        with contextlib.suppress(RequestError):  # a searched path, a variant that does not exist
            for trial in make_plan(experiment).trials:
                assert ".." not in trial.name.split("/")
                assert TrialSpec.from_json(json.loads(json.dumps(trial.to_json()))) == trial


@settings(max_examples=150)
@given(tree=changed(TREES))
def test_a_changed_experiment_is_read_or_refused(folder: Path, tree: Any) -> None:
    file = folder / "changed.yaml"
    file.write_text(yaml.safe_dump(tree, allow_unicode=False), encoding="utf-8")
    read_and_plan(file)


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_experiment_file_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    content = data.draw(st.sampled_from(FILES)).read_bytes()
    if data.draw(st.booleans()):
        content = data.draw(damaged(len(content)))(content)
    else:
        place = data.draw(st.integers(0, len(content)))
        odd = st.text("[]{}:-,&*!|>'\"#%@`?= \n\t0x_1e.:<", max_size=6) | st.text(max_size=6)
        content = content[:place] + data.draw(odd).encode("utf-8", "surrogatepass") + content[place:]
    (folder / "damaged.yaml").write_bytes(content)
    read_and_plan(folder / "damaged.yaml")


@given(text=st.text())
def test_any_text_is_read_or_refused(folder: Path, text: str) -> None:
    (folder / "text.yaml").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    read_and_plan(folder / "text.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: !!python/object/apply:os.system ['touch MARKER']\n", "line 1, column 7: YAML tags"),
        ("name: !!binary aGVsbG8=\n", "line 1, column 7: YAML tags"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "line 1, column 4: YAML anchors"),
        (DEEP, "line 1, column 33: nested more than 32 deep"),
        ("a: " * 50, "line 1"),
        ("\n".join(" " * i + "a:" for i in range(100)), "line 33, column 33: nested more than 32 deep"),
        ("name: a\nseeds: [2026-13-45]\n", "line 2, column 9: month must be"),
        ("name: a\nvariants: [stride]\nseeds: [0x_]\n", "line 3, column 9"),
        ("name: a\nvariants: [stride]\nseeds: [0x" + "f" * 5000 + "]\n", "seeds.0: a whole number with more than 64"),
        ("name: a\nvariants: [{name: stride, arguments: {w: 2026-01-01}}]\n", "variants.0.arguments.w: .* not date"),
        ('name: a\nvariants: [{name: stride, arguments: {w: "\\ud800"}}]\n', "arguments.w: text must not hold"),
        ('name: a\nvariants: [stride]\npublished_curve: "a\\0b"\n', "published_curve: text must not hold"),
        (f"name: a\nvariants: [stride]\npublished_curve: {'b' * 5000}\n", "published_curve: .*too long"),
        ("name: a\nvariants: [stride]\nliteral[x: 1\n", r"literal\[x: unknown key"),
        ('name: a\nvariants: [stride]\n"a\\nb": 1\n', r"a\\nb: unknown key"),
        ("name: a\n\0", "line 2: unacceptable character"),
        ("name: a\nname: b\n", "line 2, column 1: 'name' is given twice"),
        ("#" * 1_000_001, "larger than"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_hostile_yaml_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ExperimentError, match=words) as refusal:
        read_file(file)
    assert refusal.value.exit_code == 2
    assert str(file) in str(refusal.value)
    assert names(tmp_path) == ["x.yaml"]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: a\ndescription: caf\xe9\n")
    for path, words in (
        (tmp_path, "directory"),
        (tmp_path / "absent.yaml", "No such file"),
        (tmp_path / ("a" * 5000), "too long"),
        (tmp_path / "latin.yaml", "line 2: not UTF-8"),
        (Path("/dev/zero"), "larger than"),
    ):
        with pytest.raises(ExperimentError, match=words) as refusal:
            read_file(path)
        assert str(refusal.value).startswith(f"{path}: ")


_PATHS = st.sampled_from(
    ["name", "seeds.0", "seeds.\u0663", "trainer.epochs", "trainer.optimizer.lr", "search.space.a", "variants.0.name"]
)


@settings(max_examples=300)
@given(st.lists(st.builds("{}={}".format, _PATHS | st.text(max_size=8), _VALUES.map(json.dumps)) | st.text()))
@example([f"trainer.epochs={DEEP}"])
@example(["description=" + "[" * 500 + "]" * 500])
@example([".".join("a" * 5000) + "=1"])
@example(["trainer.optimizer.lr=1" + "0" * 400])
@example(["trainer.epochs=" + "9" * 5000])
def test_any_override_is_applied_or_refused(overrides: list[str]) -> None:
    tree = {**SMALL, "seeds": [0], "trainer": {}}
    refused(lambda: read_experiment(apply_overrides(tree, overrides), "command line"), "command line", ExperimentError)


@given(content=st.binary(max_size=100) | st.text("0123456789,.\n\"-e'", max_size=40).map(lambda t: t.encode()))
def test_any_published_curve_is_read_or_refused(folder: Path, content: bytes) -> None:
    file = folder / "curve.csv"
    file.write_bytes(b"epoch,test_accuracy\n" + content)
    refused(lambda: read_curve(file), file, RequestError)


@given(name=st.text(min_size=1) | st.sampled_from(["~nobody/x", "a" * 5000, "a\0b", "\ud800"]))
def test_any_data_set_name_is_found_or_refused(folder: Path, name: str) -> None:
    if name not in ("digits", "cifar10"):
        with contextlib.suppress(DataError):
            load_dataset(DatasetSpec(name=name), folder / "empty")


# --- names that would leave the storage folder


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", ".", "", "a\0b", "a\\b", "a\nb", "-x", "n" * 300])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExperimentError, match=r"name: "):
        read_experiment({**SMALL, "name": name}, "x")
    with pytest.raises(StorageError, match="no experiment's name"):
        newest_launch(tmp_path / "storage", name)


@pytest.mark.parametrize("variant", ["../x", "net.py:../../x", "net.py:..", "net.py:/etc/x", "..x:Net", "a:b\\c", ".."])
def test_a_variant_that_is_no_folder_is_refused(variant: str) -> None:
    with pytest.raises(ExperimentError, match=r"variants\.0"):
        read_experiment({**SMALL, "variants": [variant]}, "x")
    with pytest.raises(ValueError, match=r"variant: .* names no class"):
        TrialSpec.from_json({"variant": variant})


# --- what a trial leaves


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    """A finished trial folder, behind a link."""
    real = tmp_path_factory.mktemp("trial")
    (real.parent / f"{real.name}-link").symlink_to(real)
    made = TrialFolder.create(
        real.parent / f"{real.name}-link", TrialSpec(variant="stride", arguments={"dropout": 0.5})
    )
    for epoch in (1, 2):
        made.append(Record(epoch, 1.5, {"lr": 0.1}))
        made.save_checkpoint({"epoch": epoch, "network": {"weight": torch.arange(5.0)}})
    made.save_best({"weight": torch.arange(5.0)}, 2)
    made.save_predictions(torch.arange(6.0).reshape(2, 3))
    made.save_facts({"parameters": 3, "machine": {"cpus": 1}})
    made.finish(Status.COMPLETE, "done")
    return made


@contextlib.contextmanager
def holding(path: Path, content: bytes) -> Any:
    """``path`` holding ``content`` for a while; what it held before comes back, and nothing else may be left there."""
    whole, before = path.read_bytes(), sorted(path.parent.iterdir())
    path.write_bytes(content)
    try:
        yield
        assert sorted(path.parent.iterdir()) == before
        assert path.read_bytes() == content
    finally:
        path.write_bytes(whole)


READERS: dict[str, Callable[[TrialFolder], Any]] = {
    "spec.json": lambda t: (t.spec().identity(), t.spec().name),
    "records.jsonl": lambda t: [record.to_json() for record in t.records()],
    "outcome.json": TrialFolder.outcome,
    "facts.json": TrialFolder.facts,
}


@pytest.mark.parametrize("name", READERS)
def test_a_trials_files_cut_anywhere_are_read_or_refused(trial: TrialFolder, name: str) -> None:
    path = trial.path / name
    whole = path.read_bytes()
    for length in range(len(whole)):
        with holding(path, whole[:length]):
            found = refused(lambda: READERS[name](trial), path, StorageError)
        if name == "records.jsonl":  # the line that was cut off is left out, whole ones stay
            assert len(found) == whole[:length].count(b"\n")
        elif length < len(whole) - 1:
            assert found is None


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_a_trials_files_with_a_flipped_bit_are_read_or_refused(trial: TrialFolder, name: str, data: Any) -> None:
    path = trial.path / name
    whole = path.read_bytes()
    with holding(path, data.draw(damaged(len(whole)))(whole)):
        refused(lambda: READERS[name](trial), path, StorageError)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_other_json_in_a_trials_files_is_read_or_refused(trial: TrialFolder, name: str, data: Any) -> None:
    path = trial.path / name
    line = path.read_text(encoding="utf-8").splitlines()[0] if name == "records.jsonl" else path.read_text("utf-8")
    value = data.draw(_VALUES | changed([json.loads(line)]))
    with holding(path, json.dumps(value).encode() + b"\n"):
        refused(lambda: READERS[name](trial), path, StorageError)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", [DEEP.encode(), b"\xff\xfe", b"{}\n", b"[]\n", b"null\n", b"1e999\n"])
def test_hostile_json_in_a_trials_files_is_refused(trial: TrialFolder, name: str, content: bytes) -> None:
    path = trial.path / name
    with holding(path, content + b"\n"):
        assert not refused(lambda: READERS[name](trial), path, StorageError)


# --- launches


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launch.json of a storage folder with one launch."""
    plan = make_plan(read_experiment(SMALL, "x"))
    return open_launch_folder(tmp_path_factory.mktemp("storage"), plan).path / "launch.json"


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_launch_is_read_or_refused(launch: Path, data: st.DataObject) -> None:
    whole = launch.read_bytes()
    if data.draw(st.booleans()):
        content = data.draw(damaged(len(whole)))(whole)
    else:
        content = json.dumps(data.draw(_VALUES | changed([json.loads(whole)]))).encode()
    with holding(launch, content):
        if (found := refused(lambda: newest_launch(launch.parents[2], "small"), launch, StorageError)) is not None:
            experiment = refused(lambda: read_experiment(found[1], str(launch)), launch, ExperimentError)
            assert experiment is None or experiment.name == "small"


@pytest.mark.parametrize("content", [DEEP, "[]", "{}", '"x"', '{"created": "x", "identity": "", "experiment": {}}'])
def test_a_launch_that_is_none_is_refused(launch: Path, content: str) -> None:
    plan = make_plan(read_experiment(SMALL, "x"))
    with holding(launch, content.encode()):
        for use in (
            lambda: newest_launch(launch.parents[2], "small"),
            lambda: open_launch_folder(launch.parents[2], plan),
        ):
            with pytest.raises(StorageError, match=r"launch\.json: damaged"):
                use()


# --- checkpoints

TENSORS: dict[str, Callable[[TrialFolder], Any]] = {
    "checkpoints/last.pt": lambda t: checkpoint.load(t.last),
    "checkpoints/best.pt": lambda t: checkpoint.load(t.best),
    "predictions.pt": lambda t: {"logits": t.predictions()},
}


@pytest.mark.parametrize("name", TENSORS)
@settings(max_examples=120)
@given(data=st.data())
def test_a_damaged_checkpoint_is_the_same_or_refused(trial: TrialFolder, name: str, data: Any) -> None:
    path = trial.path / name
    whole, expected = path.read_bytes(), checkpoint.content_digest(TENSORS[name](trial))
    with holding(path, data.draw(damaged(len(whole)))(whole)):
        found = refused(lambda: TENSORS[name](trial), path, CheckpointError)
    assert found is None or checkpoint.content_digest(found) == expected


class _Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("pack", [pickle.dumps, lambda value: _saved({"network": value}), lambda value: _saved(value)])
def test_a_checkpoint_that_runs_code_is_refused(trial: TrialFolder, name: str, pack: Any, tmp_path: Path) -> None:
    path = trial.path / name
    with holding(path, pack(_Hostile(tmp_path / "marker"))):
        with pytest.raises(CheckpointError, match=path.name):
            TENSORS[name](trial)
        if name == "checkpoints/last.pt":  # the one before it is whole
            assert (trial.checkpoint() or {})["epoch"] == 1
        if name == "checkpoints/best.pt":
            with pytest.raises(CheckpointError, match=path.name):
                trial.network(10, (3, 32, 32))
    assert not (tmp_path / "marker").exists()


_CIRCLE: list = []
_CIRCLE.append(_CIRCLE)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"sha256": "x"},
        {"sha256": 3, "a": torch.zeros(2)},
        {"sha256": "x", "a": torch.zeros(1).expand(2**40)},
        {"sha256": "x", "a": torch.zeros(3, device="meta")},
        {"sha256": "x", "a": torch.zeros(3).to_sparse()},
        {"sha256": "x", "a": _CIRCLE},
    ],
)
def test_a_file_of_another_kind_is_no_checkpoint(tmp_path: Path, content: Any) -> None:
    (tmp_path / "x.pt").write_bytes(_saved(content))
    assert refused(lambda: checkpoint.load(tmp_path / "x.pt"), tmp_path / "x.pt", CheckpointError) is None


def test_a_whole_checkpoint_of_another_kind_is_refused(trial: TrialFolder) -> None:
    for path, read in (
        (trial.path / "predictions.pt", trial.predictions),
        (trial.best, lambda: trial.network(10, (3, 32, 32))),
    ):
        checkpoint.save(trial.path / "other.pt", {"network": 3, "logits": [1]})
        content = (trial.path / "other.pt").read_bytes()
        (trial.path / "other.pt").unlink()
        with holding(path, content):
            assert refused(read, path, CheckpointError) is None


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


# --- the commands themselves


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{\"variant\": \"stride\"",
        b"\xff",
        b'{"variant": "../x"}',
        b'{"variant": "net.py:../../x"}',
        b'{"variant": "stride", "arguments": {"width": NaN}}',
        b'{"variant": "stride", "trainer": {"optimizer": {"lr": 1' + b"0" * 400 + b"}}}",
        b'{"variant": "stride", "a\\nb": 1}',
        b'{"variant": "stride", "dataset": {"name": "~nobody/x"}}',
    ],
)  # fmt: skip
def test_a_bad_spec_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (tmp_path / "spec.json").write_bytes(content)
    arguments = [str(tmp_path / "spec.json"), "--out", str(tmp_path / "out"), "--data-dir", str(tmp_path / "data")]
    assert trial_main(arguments) == 2
    out, error = capsys.readouterr()
    assert (out, len(error.splitlines())) == ("", 1)
    assert names(tmp_path) == ["spec.json"]


@pytest.mark.parametrize("name", ["../../etc", "/etc", "a/b", "..", "absent", "x" * 300])
def test_resume_of_no_name_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as ended:
        orchestrator_main(["resume", name, "--storage", str(tmp_path / "storage")])
    out, error = capsys.readouterr()
    assert (ended.value.code, out, len(error.splitlines())) == (2, "", 1), error
    assert names(tmp_path) == []


def test_the_real_commands_refuse_without_a_traceback(tmp_path: Path, launch: Path) -> None:
    (tmp_path / "spec.json").write_text('{"variant": 3}')
    (tmp_path / "x.yaml").write_text("name: !!python/object/apply:os.system ['touch marker']\n")
    program = str(Path(sys.executable).with_name("orchestrator"))
    with holding(launch, launch.read_bytes()[:50]):
        for command, lines in (
            ([sys.executable, "-m", "orchestrator.trial", "spec.json"], 1),
            ([program, "validate", "x.yaml"], 2),
            ([program, "resume", "small", "--storage", str(launch.parents[2])], 1),
        ):
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
            assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", lines), done.stderr
            assert "Traceback" not in done.stderr
    assert names(tmp_path) == ["spec.json", "x.yaml"]
