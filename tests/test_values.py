"""Values without quotes are what people mean by them; a wrong kind of value is refused in the words of files."""

import dataclasses
import json
import re
import shlex
import subprocess
import sys
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ExperimentError, VariantError
from orchestrator.experiment.overrides import apply_overrides
from orchestrator.experiment.reader import read_experiment, read_file, read_trial
from orchestrator.experiment.scalars import number
from orchestrator.experiment.yaml_loader import parse_unclear
from orchestrator.spec import Experiment, TrialSpec
from orchestrator.spec.kinds import hint_at, members, nearest_path, paths
from orchestrator.workflow.check import check_experiment

MEANT = {
    "1e-3": 0.001, "1E-3": 0.001, ".5e-3": 0.0005, "1.e2": 100.0, ".1": 0.1, "+5": 5, "0.10": 0.1, "08.5": 8.5, "0": 0,
    "0x10": 16, "0o10": 8, "0b11": 3, "1_000": 1000, "200_000": 200_000, "1:30": "1:30", "2026-01-01": "2026-01-01",
    "2026-13-45": "2026-13-45", "12:00:00": "12:00:00", "yes": "yes", "no": "no", "On": "On", "off": "off", "y": "y",
    "true": True, "False": False, "null": None, "~": None, "=": "=", "<<": "<<", "1.2.3": "1.2.3", "e5": "e5",
}  # fmt: skip


@pytest.mark.parametrize("text", MEANT)
def test_a_value_without_quotes_is_what_people_mean(text: str) -> None:
    assert repr(parse_unclear(f"a: {text}")[0]["a"]) == repr(MEANT[text])
    assert repr(parse_unclear(f"[{text}]")[0]) == repr([MEANT[text]])


@given(st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_as_python_writes_it(value: float) -> None:
    assert number(repr(value)) == value
    assert parse_unclear(f"a: {value!r}") == ({"a": value}, [])


@pytest.mark.parametrize(
    ("text", "plain"), [("010", "10"), ("007", "7"), ("-010", "-10"), ("09", "9"), ("00", "0"), ("0_1", "1")]
)
def test_a_leading_zero_is_refused_and_says_what_to_write(tmp_path: Path, text: str, plain: str) -> None:
    words = f"{text} is octal in YAML; write {plain}, or"
    (tmp_path / "x.yaml").write_text(f"name: a\nvariants: [stride]\ntrainer: {{epochs: {text}}}\n")
    with pytest.raises(ExperimentError, match=f"line 3, column 19: {words}"):
        read_file(tmp_path / "x.yaml")
    with pytest.raises(ExperimentError, match=f"--set trainer.epochs={text}: {words}"):
        apply_overrides({}, [f"trainer.epochs={text}"])


def test_yes_and_no_are_truth_values_where_one_belongs_text_where_text_does_and_refused_between() -> None:
    tree, _ = parse_unclear("name: no\ndescription: off\nvariants: [stride]\ntrainer: {drop_last: yes, compile: off}\n")
    experiment = read_experiment(tree, "x")
    assert (experiment.name, experiment.description) == ("no", "off")
    assert (experiment.trainer.drop_last, experiment.trainer.compile) == (True, False)
    for place in ("arguments: {bias: {a: [no]}}", "choice: [no]", "points: [{trainer.compile: no}]"):
        [(_, problem)] = parse_unclear(place)[1]
        assert 'no is text or false, by the version of YAML; write false, or "n' in problem
    clear = {"arguments": {"bias": "no", "cutoff": "2026-01-01"}}
    assert parse_unclear('arguments: {bias: "no", cutoff: 2026-01-01}') == (clear, [])
    with pytest.raises(ExperimentError, match="no is text or false"):
        apply_overrides({"variants": [{"name": "stride"}]}, ["variants.0.arguments.bias=no"])


# Words, numbers and marks of YAML, alone and side by side
_FRAGMENTS = st.sampled_from(
    ["None", "null", "~", "TRUE", "no", "1e-3", "010", "x", "a: b", "#", "'", '"', "[", "]", "{", "}", ",", ":", "-",
     "?", "|", ">", "*", "&", "!", "%", "@", "`", "\\", "\n", "\t", " ", "C:\\d", ".inf", "NaN", "=", "<<", "\x85",
     "\u2028", "é"]
)  # fmt: skip
_TEXTS = st.lists(_FRAGMENTS, max_size=6).map("".join) | st.text(max_size=12) | st.sampled_from(list(MEANT))


def in_a_file(key: str, text: str) -> Any:
    """What a file has at ``key``, or ``...`` if it refuses the text."""
    try:
        tree, problems = parse_unclear(f"{key}: {text}")
    except yaml.YAMLError:
        return ...
    return tree[key] if list(tree) == [key] and not problems else ...


def by_set(path: str, text: str) -> Any:
    try:
        changed = apply_overrides({}, [f"{path}={text}"])
    except ExperimentError:
        return ...
    for name in path.split("."):
        changed = changed[name]
    return changed


@settings(max_examples=400)
@given(st.sampled_from(["a", "arguments", "a.b.arguments.c"]), _TEXTS)
def test_the_file_and_an_override_read_alike_what_both_accept(path: str, text: str) -> None:
    key = "arguments" if "arguments" in path else "a"
    expected, found = in_a_file(key, text), by_set(path, text)
    if ... not in (expected, found):
        assert repr(found) == repr(expected)
    elif found is not ... and (written := text.strip(" \t\r\n"))[:1] not in ("[", "{", '"', "'"):
        alone = in_a_file(key, written)
        assert repr(found) == repr(written if alone is ... else alone)  # only YAML would not read it


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(_SCALARS, lambda value: st.lists(value) | st.dictionaries(st.text(), value), max_leaves=6))
def test_an_override_that_is_json_is_that_value(value: object) -> None:
    for ascii_only in (True, False):
        assert repr(by_set("arguments.a", json.dumps(value, ensure_ascii=ascii_only))) == repr(value)


@pytest.mark.parametrize("text", MEANT)
def test_an_override_reads_a_value_without_quotes_as_the_file_does(text: str) -> None:
    assert repr(by_set("a", text)) == repr(MEANT[text])


@pytest.mark.parametrize(
    ("text", "value"),
    [("None", "None"), ("Null", None), ("TRUE", True), ("'no'", "no"), ('"no"', "no"), ("", None), (" 5 ", 5),
     ("NaN", "NaN"), ("*", "*"), ("*.png", "*.png"), ("a: b", "a: b"), ("C:", "C:"), (r"C:\data\new", r"C:\data\new"),
     ("- a", "- a"), ("@home", "@home"), ("a#b", "a#b"), ("~/data", "~/data"), ("[a, 'b']", ["a", "b"]),
     ('"😀"', "😀"), (r'"\ud83d\ude00"', "😀")],
)  # fmt: skip
def test_an_override_is_what_was_plainly_meant(text: str, value: object) -> None:
    assert repr(by_set("a", text)) == repr(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("net #5", "in YAML what stands after # is a comment; for text write --set 'a=\"net #5\"'"),
        ("#5", "in YAML what stands after # is a comment; for text write --set 'a=\"#5\"'"),
        ("one\ntwo", "in YAML lines of text are joined; for text write --set 'a=\"one\\ntwo\"'"),
        ("|", 'in YAML that is ""; for text write --set \'a="|"\''),
        ("[draft] two", "neither JSON nor YAML: "),
        ("'s Hertogenbosch", "for text write --set 'a=\"'"),
        (r'"C:\data"', "found unknown escape character 'd'; for text write --set "),
        ('{"a": 1, "a": 2}', "duplicate key 'a'"),
    ],
)
def test_an_override_that_a_file_would_cut_short_is_refused_with_how_to_quote_it(text: str, words: str) -> None:
    with pytest.raises(ExperimentError) as refused:
        apply_overrides({}, [f"a={text}"])
    (line,) = refused.value.problems
    assert words in line
    if "for text write --set " in line:  # the shell reads what is advised, and so does the command
        (advised,) = shlex.split(line.partition("for text write --set ")[2])
        assert apply_overrides({}, [advised])["a"] == (r"C:\data" if "C:" in text else text)


def test_without_pyyaml_an_override_is_read_alike() -> None:
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "from orchestrator.experiment.overrides import apply_overrides as read\n"
        "print(read({}, [f'a.{i}={text}' for i, text in enumerate(sys.argv[1:])])['a'])"
    )
    texts = [text for text in MEANT if by_set("a", text) is not ...]
    shown = subprocess.run([sys.executable, "-c", code, *texts], capture_output=True, text=True, check=True).stdout
    assert shown == f"{dict(enumerate_texts(MEANT[text] for text in texts))}\n"


def enumerate_texts(values: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((str(place), value) for place, value in enumerate(values))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("trainer.stop_at_accuracy", "greater than 0 and at most 1, not 'None'; write null"),
        ("search", "not 'None'; write null"),
        ("trainer.epochs", "at least 1, not 'None'; None is null in a file, and this setting needs a value"),
        ("variants.0.arguments.norm", 'None is text in YAML; write null, or "None" in quotes for text'),
        ("trainer.augmentation", 'None is text in YAML; write null, or "None" in quotes for text'),
    ],
)
def test_pythons_none_is_refused_with_the_word_of_files(tmp_path: Path, path: str, words: str) -> None:
    tree = {"name": "a", "variants": [{"name": "stride"}]}
    value = "[{HorizontalFlip: {p: None}}]" if path.endswith("augmentation") else "None"
    with pytest.raises(ExperimentError) as refused:
        read_experiment(apply_overrides(tree, [f"{path}={value}"]), "x")
    assert words in refused.value.problems[0]
    *outer, key = path.removeprefix("variants.0.").split(".")
    text = f"{{{key}: {value}}}" if outer else f"{value}"
    lines = ["name: a", "variants: [stride]", f"{outer[0] if outer else key}: {text}"]
    if "arguments" in path:
        lines[1:] = [f"variants: [{{name: stride, arguments: {text}}}]"]
    (tmp_path / "x.yaml").write_text("\n".join(lines))
    with pytest.raises(ExperimentError) as refused:
        read_file(tmp_path / "x.yaml")
    assert words in refused.value.problems[0]


@pytest.mark.parametrize("text", ["inf", ".inf", "nan", "-.inf", "1e400", '"inf"'])
def test_what_is_not_finite_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(f"name: a\nvariants: [stride]\ntrainer: {{optimizer: {{lr: {text}}}}}\n")
    with pytest.raises(ExperimentError, match=r"must be a finite number|greater than 0|larger than any number"):
        read_file(tmp_path / "x.yaml")


# --- wrong kinds of values, in every setting


WRONG = ("text", 7, -1.5, [1], ["a", None], {"a": 1}, {}, [], None, True, "", [{"name": 1}])
INSIDES = re.compile(
    r"[Ii]nstance|[Tt]uple|\b[Dd]ict|dataclass|Input|valid (string|integer|number|boolean)|\bstr\b|\bint\b|\bbool\b|"
    r"Optimizer|Recipe|Variant\b|Spec\b|unable|parse|None|True\b|False\b"
)
FULL: dict[str, Any] = {
    "name": "a",
    "variants": [{"name": "stride"}],
    "search": {"space": {"trainer.optimizer.lr": {"uniform": [0.1, 0.2]}}, "points": [{"trainer.optimizer.lr": 0.1}]},
    "confirm": {"seeds": [7]},
    "trainer": {"augmentation": [{"HorizontalFlip": {"p": 0.5}}]},
    "published": {"curve": "curve.csv"},
}


def places(root: type, where: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every place of a file of ``root``, in lists and mappings as well."""
    hint = hint_at(root, where)
    for kind, _ in members(hint):
        if dataclasses.is_dataclass(kind):
            inside = [key.rpartition(".")[2] for key in paths(typing.cast(type, kind)) if "." not in key]
        else:
            inside = {tuple: ["0"], dict: ["trainer.optimizer.lr"]}.get(typing.get_origin(kind), [])
        for name in inside:
            yield (*where, name)
            yield from places(root, (*where, name))


def problems(tree: Any) -> tuple[str, ...]:
    try:
        read_experiment(tree, "the file")
    except ExperimentError as refused:
        return refused.problems
    return ()


def test_a_wrong_kind_of_value_is_refused_in_the_words_of_files() -> None:
    assert not problems(FULL)
    lines = {line for place in places(Experiment) for value in WRONG for line in problems(changed(FULL, place, value))}
    assert len(lines) > 500
    for line in lines:
        assert re.match(r"[a-z_0-9.\[\]' ]+: \S", line), line
        said = re.sub(r"not [\[{'].*|'[^']*'|built in: .*", "", line)  # what was given may say anything
        assert not INSIDES.search(said), line


def changed(tree: Any, place: tuple[str, ...], value: object) -> Any:
    """``tree`` with ``value`` at ``place``, and whatever must be there to hold it."""
    if not place:
        return value
    name, *rest = place
    if name == "0":
        return [changed(tree[0] if isinstance(tree, list) and tree else {}, tuple(rest), value)]
    base = tree if isinstance(tree, dict) else {}
    return {**base, name: changed(base.get(name, {}), tuple(rest), value)}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"variants": "stride"}, "variants: must be a list, as [stride], not 'stride'"),
        ({"trainer": {"optimizer": "adam"}}, "trainer.optimizer: must be a mapping, as {name: adam}, not 'adam'"),
        ({"trainer": {"augmentation": ["Blur"]}}, "augmentation.0: must be a mapping, as {Blur: {}}, not 'Blur'"),
        ({"seeds": 3}, "seeds: must be a list, as [3], not 3"),
        ({"trainer": {"epochs": "0"}}, "trainer.epochs: must be at least 1, not '0'"),
        ({"seeds": [-1]}, "seeds.0: must be at least 0, not -1"),
        ({"name": 2026}, 'name: must be text, as "2026", not 2026'),
        ({"resources": {"gpus": "x"}}, "resources.gpus: must be a number of at least 0 or auto, not 'x'"),
        ({"trainer": {"epochs": True}}, "trainer.epochs: must be an integer of at least 1, not true"),
        ({"search": {"space": {"trainer.l2": {"uniform": [0]}}}}, "uniform: must be a list of 2 numbers, not [0]"),
    ],
)  # fmt: skip
def test_what_is_allowed_is_shown_with_what_was_written(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ExperimentError) as refused:
        read_experiment({"name": "a", "variants": ["stride"], **more}, "x")
    assert [line for line in refused.value.problems if words in line]
    assert len(refused.value.problems) == 1


# --- nearest spelling, and everything at once


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("batch_size", "trainer.batch_size"),
        ("lr", "trainer.optimizer.lr"),
        ("optimizer.lr", "trainer.optimizer.lr"),
        ("trainer.lr", "trainer.optimizer.lr"),
        ("trainer.optimiser.lr", "trainer.optimizer.lr"),
        ("trainer.optimizer.learning", "trainer.optimizer.lr"),
        ("epoch", "trainer.epochs"),
        ("zzz", None),
    ],
)
def test_the_nearest_path_of_a_setting(path: str, near: str | None) -> None:
    assert nearest_path(path, Experiment) == ("" if near is None else f" (did you mean {near}?)")


def test_a_trial_and_an_experiment_name_the_nearest_path_of_an_unknown_key() -> None:
    for read, tree in ((read_experiment, {"name": "a", "variants": ["stride"]}), (read_trial, {"variant": "stride"})):
        with pytest.raises(ExperimentError) as refused:
            read(apply_overrides(tree, ["batch_size=1", "lr=0.1", "trainer.epochs=0"]), "x")
        assert len(refused.value.problems) == 3
        for words in ("batch_size: unknown key (did you mean trainer.batch_size?)", "lr: unknown key (did you mean tr"):
            assert words in str(refused.value)


def test_every_kind_of_problem_is_listed_at_once() -> None:
    space = {"trainer.optimiser.lr": {"uniform": [0, 1]}, "trainer.epochs": {"choice": [0]}}
    tree = {"name": "a", "variants": ["strid"], "search": {"space": space, "points": [{"x": 1}]}}
    with pytest.raises(ExperimentError) as refused:
        read_experiment(tree, "x")
    for words in (
        "trainer.optimiser.lr: there is no such setting (did you mean trainer.optimizer.lr?)",
        "trainer.epochs: must be at least 1",
        "points.0: x is not searched",
        "variants.0: there is no variant 'strid' (did you mean stride?)",
    ):
        assert words in str(refused.value)
    with pytest.raises(ExperimentError) as refused:
        read_experiment({**tree, "trainer": {"epoch": 1}}, "x")
    for words in ("trainer.epoch: unknown key", "trainer.optimiser.lr: there is no such", "no variant 'strid'"):
        assert words in str(refused.value)


def test_a_trial_is_read_as_its_json_is() -> None:
    spec = TrialSpec(variant="stride", seed=3)
    assert read_trial(spec.to_json(), "x") == spec


def test_what_is_wrong_with_networks_is_listed_with_what_is_wrong_with_augmentation(tmp_path: Path) -> None:
    tree = {
        "name": "a",
        "variants": ["strid", {"name": "stride", "arguments": {"colour": 1}}, "grouped_concat"],
        "trainer": {"augmentation": [{"HorisontalFlip": {}}]},
        "contract": {"max_parameters": 10},
    }
    expected = ("no variant 'strid'", "has no parameter colour", "parameters must be at most 10")
    with pytest.raises(ExperimentError) as refused:
        check_experiment(read_experiment(tree, "x"), tmp_path, lambda _: None)
    for words in (*expected, "did you mean HorizontalFlip?"):
        assert words in str(refused.value)
    with pytest.raises(VariantError) as unfit:
        check_experiment(read_experiment({**tree, "trainer": {}}, "x"), tmp_path, lambda _: None)
    for words in expected:
        assert words in str(unfit.value)


def test_every_unclear_value_is_listed_with_whatever_else_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "name: a b\nvariants: [{name: stride, arguments: {a: yes, choice: [no, 012]}}]\n"
        "seeds: [01]\nseeds: [1, 1]\ntrainer: {epochs: 1e999, batchsize: 2}\nverdict: {baseline: strid}\n"
    )
    with pytest.raises(ExperimentError) as caught:
        read_file(tmp_path / "x.yaml")
    starts = [problem[:24] for problem in caught.value.problems]
    assert starts == [
        "line 2, column 42: yes i",
        "line 2, column 56: no is",
        "line 2, column 60: 012 i",
        "line 3, column 9: 01 is ",
        "line 4, column 1: duplic",
        "line 5, column 19: 1e999",
        "trainer.batchsize: unkno",
        "name: letters, digits, '",
        "seeds: listed twice: 1",
        "verdict.baseline: 'strid",
    ]


def test_of_a_list_on_the_command_line_the_reason_is_one_line_and_every_value_is_named() -> None:
    with pytest.raises(ExperimentError) as caught:
        apply_overrides({}, ["seeds=[01, 02]", "seeds=[0"])
    both, open_list = caught.value.problems
    assert "01 is octal" in both
    assert "02 is octal" in both
    reason = "neither JSON nor YAML: expected ',' or ']', but got '<stream end>'"
    assert open_list == f"--set seeds=[0: {reason}; for text write --set 'seeds=\"[0\"'"


def test_a_name_of_a_variant_that_is_a_list_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"variants\.0\.as: must be text, not"):
        read_experiment({"name": "a", "variants": [{"name": "stride", "as": ["b"]}]}, "x")


def test_what_a_part_checks_itself_is_listed_line_by_line_by_its_path() -> None:
    search = {"samples": 1, "space": {"trainer.optimizer.lr": {"choice": [0.1]}}, "points": [{}, {}]}
    optimizer = {"nesterov": True, "momentum": 0}
    tree = {"name": "a", "variants": ["stride"], "search": search, "confirm": {"seeds": [1, 1]}, "seeds": [1],
            "trainer": {"optimizer": optimizer}}  # fmt: skip
    with pytest.raises(ExperimentError) as caught:
        read_experiment(tree, "x")
    assert caught.value.problems == (
        "trainer.optimizer: nesterov needs momentum greater than 0",
        "search.points: 2 are more than samples, 1",
        "search.points.0: needs at least one setting",
        "search.points.1: needs at least one setting",
        "confirm.seeds: listed twice: 1",
    )
