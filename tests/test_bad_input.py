"""Whatever a user hands over, damaged in any way: read, or refused in words that name the file; never a traceback."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from damage import DEEP, VALUES, changed, damaged, names, refused
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.data import load_dataset
from orchestrator.errors import (
    DataError,
    ExperimentError,
    RequestError,
    StorageError,
)
from orchestrator.experiment.overrides import apply_overrides
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment, read_file
from orchestrator.reporting.published import read_curve
from orchestrator.scheduling.launch_folder import newest_launch
from orchestrator.spec import DatasetSpec, TrialSpec
from orchestrator.workflow.check import check_experiment

FILES = sorted((Path(__file__).parents[1] / "experiments").rglob("*.yaml"))
TREES = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in FILES]
SMALL = {"name": "small", "variants": ["stride"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad")


# --- experiment files


def read_and_plan(file: Path) -> None:
    experiment = refused(lambda: read_file(file), file, ExperimentError)
    if experiment is not None and (experiment.search is None or experiment.search.limit < 20):
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
        ("name: a\nseeds: [2026-13-45]\n", "seeds.0: must be an integer .* not '2026-13-45'"),
        ("name: a\nvariants: [stride]\nseeds: [0x_]\n", "seeds.0: must be an integer .* not '0x_'"),
        ("name: a\nvariants: [stride]\nseeds: [0x" + "f" * 5000 + "]\n", "seeds.0: an integer with more than 64"),
        ("name: a\nvariants: [{name: stride, arguments: {w: no}}]\n", "line 2, column 42: no is text or false"),
        ('name: a\nvariants: [{name: stride, arguments: {w: "\\ud800"}}]\n', "arguments.w: text must not contain"),
        ('name: a\nvariants: [stride]\npublished: {curve: "a\\0b"}\n', "published.curve: text must not contain"),
        (f"name: a\nvariants: [stride]\npublished: {{curve: {'b' * 5000}}}\n", "published.curve: .*too long"),
        ("name: a\nvariants: [stride]\nliteral[x: 1\n", r"literal\[x: unknown key"),
        ('name: a\nvariants: [stride]\n"a\\nb": 1\n', r"a\\nb: unknown key"),
        ("name: a\n\0", "line 2: unacceptable character"),
        ("name: a\nname: b\n", "line 2, column 1: duplicate key 'name'"),
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
@given(st.lists(st.builds("{}={}".format, _PATHS | st.text(max_size=8), VALUES.map(json.dumps)) | st.text()))
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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"epoch;test_accuracy\n1;50\n", "separated by commas; its first line is 'epoch;test_accuracy'"),
        (b"epoch,accuracy\n1,50\n", "needs the columns epoch and test_accuracy"),
        (b"epoch,test_accuracy\n", "has no line"),
        (b"", "needs the columns"),
        (b"epoch,test_accuracy\n1,nan\n", "line 2: needs epoch and test_accuracy"),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
def test_a_published_curve_that_cannot_be_drawn_is_refused_before_anything_begins(
    folder: Path, content: bytes, words: str
) -> None:
    (folder / "curve.csv").write_bytes(content)
    tree = {"name": "x", "variants": ["stride"], "published": {"curve": str(folder / "curve.csv")}}
    with pytest.raises(ExperimentError, match=r"published\.curve: .*curve\.csv") as found:
        check_experiment(read_experiment(tree, "x"), folder, lambda _: None)
    assert words in str(found.value)


def test_a_published_curve_may_come_from_excel(folder: Path) -> None:
    (folder / "curve.csv").write_bytes(b"\xef\xbb\xbfepoch,test_accuracy,note\r\n1,50,a\r\n2,62.5,\r\n")
    assert read_curve(folder / "curve.csv") == [(1, 0.5), (2, 0.625)]


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
    with pytest.raises(ValueError, match=r"variant: .* does not name a class"):
        TrialSpec.from_json({"variant": variant})
