"""Whatever a launch left behind, damaged in any way: read, or refused in words that name the file."""

import functools
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
from damage import DEEP, VALUES, changed, damaged, holding, names, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE

from orchestrator.cli.main import main as orchestrator_main
from orchestrator.errors import (
    CheckpointError,
    ExperimentError,
    StorageError,
)
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Record, Status
from orchestrator.scheduling.launch_file import differences
from orchestrator.scheduling.launch_folder import LaunchFolder, newest_launch, open_launch_folder
from orchestrator.spec import Plan, TrialSpec
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder
from orchestrator.trial.__main__ import main as trial_main

SMALL = {"name": "small", "variants": ["stride"]}


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
    made.save_predictions(torch.arange(6.0).reshape(2, 3), torch.tensor([2, 0]))
    made.save_facts({"parameters": 3, "machine": {"cpus": 1}})
    made.finish(Status.COMPLETE, "done")
    return made


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
    value = data.draw(VALUES | changed([json.loads(line)]))
    with holding(path, json.dumps(value).encode() + b"\n"):
        refused(lambda: READERS[name](trial), path, StorageError)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", [DEEP.encode(), b"\xff\xfe", b"{}\n", b"[]\n", b"null\n", b"1e999\n"])
def test_hostile_json_in_a_trials_files_is_refused(trial: TrialFolder, name: str, content: bytes) -> None:
    path = trial.path / name
    with holding(path, content + b"\n"):
        assert not refused(lambda: READERS[name](trial), path, StorageError)


# --- launches

QUOTED = '{"id": "it\'s", "created": 1, "identity": "", "experiment": {}}'  # an id stands in questions to MLflow


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launch.json of a storage folder with one launch."""
    plan = make_plan(read_experiment(SMALL, "x"))
    return open_launch_folder(tmp_path_factory.mktemp("storage"), plan)[0].path / "launch.json"


@functools.cache
def plan_of_launch() -> Plan:
    return make_plan(read_experiment(SMALL, "x"))


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_launch_is_read_or_refused(launch: Path, data: st.DataObject) -> None:
    whole = launch.read_bytes()
    if data.draw(st.booleans()):
        content = data.draw(damaged(len(whole)))(whole)
    else:
        content = json.dumps(data.draw(VALUES | changed([json.loads(whole)]))).encode()
    with holding(launch, content):
        if (found := refused(lambda: newest_launch(launch.parents[2], "small"), launch, StorageError)) is not None:
            experiment = refused(lambda: read_experiment(found[1], str(launch)), launch, ExperimentError)
            assert experiment is None or experiment.name == "small"
            assert isinstance(differences(LaunchFolder(launch.parent).content(), plan_of_launch()), list)


@pytest.mark.parametrize(
    "content", [DEEP, "[]", "{}", '"x"', '{"created": "x", "identity": "", "experiment": {}}', QUOTED]
)
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
        b"{",
        b"[]",
        b"{\"variant\": \"stride\"",
        b'{"variant": "stride", "sead": 1}',
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
    if b"~nobody" not in content:  # which is a spec, of a dataset that is not there
        assert error.startswith(f"error: {tmp_path / 'spec.json'}")
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
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
            assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", lines), done.stderr
            assert "Traceback" not in done.stderr
    assert names(tmp_path) == ["spec.json", "x.yaml"]
