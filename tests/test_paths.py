"""Files that an experiment names, and variants with names of their own: found wherever the user stands."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, make_dataset
from driving import orchestrator
from hypothesis import given
from hypothesis import strategies as st

import orchestrator as orc
from orchestrator.data import save_packed
from orchestrator.errors import ExperimentError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment, read_file
from orchestrator.reporting.comparison.variants import compare
from orchestrator.scheduling.launch_file import amended, change, differences, new_content
from orchestrator.scheduling.launch_folder import LaunchFolder, open_launch_folder
from orchestrator.scheduling.storage import Storage
from orchestrator.scheduling.take_over import origin, take_over
from orchestrator.spec import Experiment, Plan, Variant, VerdictSettings
from orchestrator.spec.references import references
from orchestrator.tracking.store import absolute_uri
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.completed_launch import fingerprint

BLOCK = {"class": "parts/blocks.py:Block"}
NAMED = [
    {"name": "nets/net.py:Tiny", "as": "wide", "arguments": {"width": 8, "extra": [{"block": BLOCK}]}},
    {"name": "nets/net.py:Tiny", "as": "narrow", "arguments": {"width": 4}},
    {"name": "stride", "as": "plain"},
]
TREE: dict[str, Any] = {
    "name": "placed",
    "variants": NAMED,
    "seeds": [0, 1],
    "dataset": {"name": "images.pt"},
    "trainer": {"epochs": 2, "batch_size": 32},
    "verdict": {"baseline": "narrow"},
    "search": {
        "samples": 1,
        "space": {
            "arguments.width": {"choice": [4, 8], "variants": ["wide"]},
            "arguments.block": {"choice": [BLOCK], "variants": ["narrow"]},
        },
    },
    "published": {"curve": "curve.csv"},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose experiment lies in ``exp`` with all that it names beside it; the user stands in the project."""
    home = tmp_path / "project"
    for place, text in {
        "exp/nets/net.py": TINY,
        "exp/parts/blocks.py": "class Block: ...\n",
        "exp/curve.csv": "epoch,test_accuracy\n1,50\n",
        "exp/placed.yaml": json.dumps(TREE),
    }.items():
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text(text)
    save_packed(make_dataset(), home / "exp" / "images.pt")
    monkeypatch.chdir(home)
    return home


def places(experiment: Experiment) -> list[str]:
    """The real path of every file that ``experiment`` names, as this process finds it."""
    names = [variant.name for variant in experiment.variants if ":" in variant.name]
    found = [*names, *(name for variant in experiment.variants for name in references(variant.arguments))]
    assert experiment.search is not None
    found += references(experiment.search.space["arguments.block"].choice)
    files = [name.rpartition(":")[0] for name in found]
    return [os.path.realpath(file) for file in [*files, experiment.dataset.name, experiment.published_curve or ""]]


# --- where files are found


@pytest.mark.parametrize("stand", ["", "exp", "exp/nets", ".."])
def test_what_lies_beside_the_file_is_found_wherever_the_user_stands(
    project: Path, stand: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_plan(read_file(Path("exp/placed.yaml")))
    monkeypatch.chdir(project / stand)
    said: list[str] = []
    experiment = read_file(project / "exp" / "placed.yaml", (), said.append)
    assert said == []
    assert all(Path(place).is_relative_to(project / "exp") and Path(place).is_file() for place in places(experiment))
    plan = make_plan(experiment)
    assert all(Path(file).is_absolute() for spec in plan.trials for file in references(spec.arguments))
    assert plan.networks() == first.networks(), "where it lies decides no network"


def test_what_lies_in_the_working_directory_is_found_as_well(project: Path) -> None:
    for place in ("nets", "parts", "images.pt", "curve.csv"):
        (project / "exp" / place).rename(project / place)
    experiment = read_file(Path("exp/placed.yaml"))
    assert not any(Path(place).is_relative_to(project / "exp") for place in places(experiment))
    assert [variant.name for variant in experiment.variants] == [variant["name"] for variant in NAMED], "as written"


def test_of_two_files_the_experiments_own_is_taken_and_that_is_said(project: Path) -> None:
    (project / "nets").mkdir()
    (project / "nets" / "net.py").write_text(TINY)
    said: list[str] = []
    experiment = read_file(Path("exp/placed.yaml"), (), said.append)
    assert experiment.variants[0].name == "exp/nets/net.py:Tiny"
    assert said[0] == f"variants.0: nets/net.py is {project}/exp/nets/net.py, and not {project}/nets/net.py"
    assert len(said) == 2, "once for each variant that names it"
    (project / "nets" / "net.py").unlink()
    (project / "nets" / "net.py").symlink_to(project / "exp" / "nets" / "net.py")
    assert read_file(Path("exp/placed.yaml"), (), said.append).variants[0].name == "nets/net.py:Tiny"
    assert len(said) == 2, "a link to the same file is no other one"


def test_what_the_command_line_says_is_meant_from_where_the_user_stands(project: Path) -> None:
    (project / "nets").mkdir()
    (project / "nets" / "net.py").write_text(TINY)
    override = 'variants=[{"name": "nets/net.py:Tiny", "as": "narrow"}, {"name": "stride", "as": "wide"}]'
    experiment = read_file(Path("exp/placed.yaml"), [override, "dataset.name=images.pt"])
    assert experiment.variants[0].name == "nets/net.py:Tiny"
    assert experiment.dataset.name == "exp/images.pt", "which is not in the working directory"


KEYS = st.sampled_from(["name", "variants", "search", "space", "dataset", "class", "as", "verdict", "baseline"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.just("x.py:Net")


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
def test_whatever_a_file_holds_is_read_or_refused_in_words(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    file = tmp_path_factory.mktemp("odd") / "odd.yaml"
    file.write_text(json.dumps({"name": "odd", "variants": tree, "search": tree, "dataset": tree, "verdict": tree}))
    with pytest.raises(ExperimentError):
        read_file(file)


# --- variants with names of their own


def test_settings_may_say_which_variant_they_mean_by_either_name() -> None:
    two = [{"name": "a.py:Net"}, {"name": "b.py:Net", "as": "other"}]
    for given_name, meant in (("b.py:Net", "other"), ("other", "other"), ("a.py:Net", "a.py:Net"), ("Net", "Net")):
        space = {"arguments.x": {"choice": [1, 2], "variants": [given_name]}}
        tree = {"name": "x", "variants": two, "verdict": {"baseline": given_name}, "search": {"space": space}}
        experiment = read_experiment(tree, "x")
        assert experiment.verdict.baseline == meant
        assert experiment.search is not None
        assert experiment.search.space["arguments.x"].variants == (meant,)
    same = [{"name": "stride", "as": "one"}, {"name": "stride", "as": "two"}]
    with pytest.raises(ExperimentError, match=r"baseline: 'stride' is none of the variants.*: one, two"):
        read_experiment({"name": "x", "variants": same, "verdict": {"baseline": "stride"}}, "x")


def test_the_same_name_twice_is_refused_and_says_what_to_do() -> None:
    twice = [{"name": "stride"}, {"name": "stride", "arguments": {"num_classes": 10}}]
    with pytest.raises(ExperimentError, match=r"variants: listed twice: stride .*`as: \.\.\.`"):
        read_experiment({"name": "x", "variants": twice}, "x")
    with pytest.raises(ExperimentError, match="longer than 100"):
        read_experiment({"name": "x", "variants": [{"name": "stride", "as": "y" * 101}]}, "x")


def test_python_takes_names_too(project: Path) -> None:
    variants = (
        Variant(name="exp/nets/net.py:Tiny", as_="wide", arguments={"width": 8}),
        Variant(name="exp/nets/net.py:Tiny", as_="narrow"),
    )
    dataset = replace(Experiment(name="x", variants=variants).dataset, name="exp/images.pt")
    plan = orc.plan(Experiment(name="x", variants=variants, dataset=dataset))
    assert plan.problems == ()
    assert [spec.name for spec in plan.trials] == ["wide/seed-0", "narrow/seed-0"]
    assert len(set(plan.table()["parameters"])) == 2


def test_train_takes_a_name_and_its_trial_is_read_from_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["exp/nets/net.py:Tiny", "--dataset", "exp/images.pt", "--epochs", "1", "--no-report"]
    trained = orchestrator("train", *arguments, "--set", "as=wide", "--json", cwd=project)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["trial"] == "wide/seed-0"
    monkeypatch.chdir(tmp_path)
    folder = TrialFolder(project / "trials" / "wide" / "seed-0")
    assert folder.network(3, (3, 16, 16)) is not None


def test_a_comparison_without_a_trial_says_so_whatever_its_baseline() -> None:
    assert "nothing to compare" in compare([], 0.85, settings=VerdictSettings(baseline="wide")).verdict.sentence


# --- launches


def plan_of(*variants: dict[str, Any], name: str = "small") -> Plan:
    tree = {"name": name, "variants": list(variants), "trainer": {"epochs": 1, "batch_size": 32}}
    return make_plan(read_experiment(tree, "x"))


def test_a_launch_from_another_folder_is_the_same_and_keeps_where_it_is_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project / "exp" / "placed.yaml"
    folder, _ = open_launch_folder(project / "storage", make_plan(read_file(file)), directory=str(project))
    assert folder.directory == project
    monkeypatch.chdir(project / "exp" / "nets")
    moved = make_plan(read_file(file, ["dataset.name=exp/images.pt"]))
    assert differences(folder.content(), moved) == []
    assert folder.amend(moved, Storage(project / "storage"), directory=str(Path.cwd())) == "", "nothing to tell of"
    assert folder.directory == Path.cwd()
    assert len(folder.content()["plans"]) == 1, "that is no other plan"
    assert folder.content()["experiment"]["variants"][0]["name"] == "net.py:Tiny"
    assert amended(folder.content(), moved, directory=str(Path.cwd())) is None


def test_a_folder_that_is_gone_or_does_not_last_is_none(tmp_path: Path) -> None:
    plan = plan_of({"name": "stride"})
    (tmp_path / "gone").mkdir()
    for given_directory in (None, str(tmp_path / "gone")):
        folder, _ = open_launch_folder(tmp_path / "storage", plan, again=True, directory=given_directory)
        (tmp_path / "gone").rename(tmp_path / "else") if given_directory else None
        assert folder.directory is None
    assert change(new_content(plan, directory="/a"), plan) == ""


def test_a_copy_of_a_project_is_a_project_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, copied = tmp_path / "home", tmp_path / "copied"
    first, _ = open_launch_folder(home / "storage", plan_of({"name": "stride"}), directory=str(home))
    shutil.copytree(home, copied)
    second = LaunchFolder(copied / first.path.relative_to(home))
    for stands, folder, expected in (
        (home, first, home),
        (tmp_path, first, home),  # in it
        (copied, first, home),
        (copied, second, None),
        (home, second, home),
    ):
        monkeypatch.chdir(stands)
        assert folder.directory == expected, (stands, folder.path)


def test_a_variant_that_gets_another_name_is_not_trained_again(project: Path) -> None:
    net = {"name": "exp/nets/net.py:Tiny", "arguments": {"width": 8}}
    before = plan_of({**net, "as": "wide"})
    folder, _ = open_launch_folder(project / "storage", before)
    list(run_trial(before.trials[0], make_dataset(), folder.trial("wide/seed-0")))
    storage, trial = Storage(project / "storage"), TrialFolder(folder.trial("wide/seed-0"))
    version = str(trial.facts()["machine"]["torch_version"])
    after = plan_of({**net, "as": "broad"}, net, {**net, "as": "other", "arguments": {"width": 5}})
    again, _ = open_launch_folder(project / "storage", after)
    assert again == folder
    assert folder.amend(after, storage) == "new variants broad, Tiny, other; without variant wide"
    assert sorted(take_over(folder, after.trials, storage, version)) == ["Tiny/seed-0", "broad/seed-0"]
    for name in ("Tiny/seed-0", "broad/seed-0"):
        taken = TrialFolder(folder.trial(name))
        assert taken.is_intact(), "its checkpoint is its own"
        assert taken.spec().name == name
        assert taken.records() == trial.records()
        assert origin(taken.path) == f"small/{folder.name}"
    assert folder.finished(after).keys() == {"Tiny/seed-0", "broad/seed-0"}
    assert len({spec.identity() for spec in after.trials[:2]}) == 2, "each has a run of its own in MLflow"
    assert LaunchFolder(folder.path).content()["again"] is False


def test_a_complete_launch_is_looked_at_again_when_what_an_argument_names_is_edited(project: Path) -> None:
    before = fingerprint(read_file(Path("exp/placed.yaml")), project, "sqlite:///x")
    assert before is not None
    assert fingerprint(read_file(Path("exp/placed.yaml")), project, "sqlite:///x") == before
    (project / "exp" / "parts" / "blocks.py").write_text("class Block:\n    width = 3\n")
    assert fingerprint(read_file(Path("exp/placed.yaml")), project, "sqlite:///x") != before


def test_the_address_of_a_store_keeps_its_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///a/b.db?x=1") == f"sqlite:///{tmp_path}/a/b.db?x=1"
    for uri in ("http://host:5000", "postgresql://host/db", f"sqlite:///{tmp_path}/b.db"):
        assert absolute_uri(uri) == uri
