"""A launch that grows: what is new is trained, what is left out stays recorded, what another has trained is taken over.

One small experiment is edited and run again and again; every run is one real launch.
"""

import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, make_dataset
from driving import driver, orchestrator, wait_for
from patience import PATIENCE
from recording import FACTS

from orchestrator.data import save_packed
from orchestrator.errors import StorageError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.scheduling.launch_file import amended, change, differences, new_content, read_all
from orchestrator.scheduling.launch_folder import LaunchFolder, newest_launch, open_launch_folder
from orchestrator.scheduling.storage import Storage
from orchestrator.scheduling.take_over import origin, take_over
from orchestrator.spec import Plan
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.read import find_launch
from orchestrator.tracking.store import connect
from orchestrator.training.device import compute_mode_here
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.verify import compare, content, kill_driver

BASE = {
    "name": "small",
    "variants": ["stride", "dilated_stride"],
    "seeds": [0, 1],
    "trainer": {"epochs": 3, "batch_size": 32},
}
SEARCH = {"samples": 4, "space": {"trainer.optimizer.lr": {"loguniform": [0.001, 0.1]}}}


def plan_of(**settings: Any) -> Plan:
    return make_plan(read_experiment({**BASE, **settings}, "x"), "d" * 64)


# --- which plans are one launch


@pytest.mark.parametrize(
    "settings",
    [
        {"seeds": [0, 1, 2]}, {"seeds": [7]}, {"variants": ["stride"]}, {"variants": ["grouped_concat", "stride"]},
        {"resources": {"gpus": 0}}, {"verdict": {"margin": 0.01}}, {"description": "other words"},
    ],
)  # fmt: skip
def test_what_changes_no_trial_amends_the_launch(settings: dict[str, Any], tmp_path: Path) -> None:
    before, after = plan_of(), plan_of(**settings)
    assert after.identity() == before.identity()
    folder, why = open_launch_folder(tmp_path, before)
    assert (open_launch_folder(tmp_path, after), why) == ((folder, ""), "")
    assert folder.amend(before, Storage(tmp_path)) == ""
    assert folder.amend(after, Storage(tmp_path)) != ""
    [(_, kept)] = read_all(tmp_path / "small")
    assert [plan["experiment"]["seeds"] for plan in kept["plans"]] == [[0, 1], list(after.experiment.seeds)]
    assert kept["experiment"] == kept["plans"][-1]["experiment"]
    assert kept["plans"][0]["time"] <= kept["plans"][1]["time"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"trainer": {"epochs": 4, "batch_size": 32}}, r"trainer\.epochs \(3 there, 4 now\)"),
        ({"trainer": {"epochs": 3}}, r"trainer\.batch_size"),
        ({"dataset": {"validation": 0.2}}, r"dataset\.validation \(0\.1 there, 0\.2 now\)"),
        ({"scheduler": {"name": "asha"}}, r"scheduler\.name \(fifo there, asha now\)"),
        ({"search": SEARCH}, r"search"),
        ({"variants": [{"name": "stride", "arguments": {"num_classes": 10}}]}, "the arguments of stride"),
    ],
)  # fmt: skip
def test_what_changes_a_trial_is_a_new_launch_that_says_what(
    settings: dict[str, Any], named: str, tmp_path: Path
) -> None:
    folder, _ = open_launch_folder(tmp_path, plan_of())
    other, why = open_launch_folder(tmp_path, plan_of(**settings))
    assert other.path != folder.path
    assert re.search(f"a new launch: launch {folder.name} differs from it in .*{named}", why)
    assert open_launch_folder(tmp_path, plan_of()) == (folder, ""), "and the first is found again"


def test_other_images_and_another_source_are_a_new_launch(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(TINY)
    variants = ["stride", f"{tmp_path / 'net.py'}:Tiny"]
    before = plan_of(variants=variants)
    other = replace(before, trials=tuple(replace(spec, dataset_digest="e" * 64) for spec in before.trials))
    assert differences(new_content(before), other) == ["images and labels"]
    (tmp_path / "net.py").write_text(TINY.replace("ReLU", "GELU"))
    edited = plan_of(variants=variants)
    assert differences(new_content(before), edited) == ["the source of Tiny"]
    assert differences(new_content(before), plan_of(variants=["stride"])) == []


@pytest.mark.parametrize("source", ["{file}:", "timm:", "torchvision:", ""])
def test_another_network_of_the_same_source_and_name_is_a_new_launch(source: str, tmp_path: Path) -> None:
    """The digest of a source does not say which class in it is meant; what an earlier version wrote does all the same.

    Of a launch that has been given both, neither goes on: what it holds is of the one and of the other.
    """
    first, second = {
        "{file}:": ("Tiny", "Slow"), "timm:": ("resnet18", "resnet34"), "torchvision:": ("resnet18", "resnet34"),
        "": ("stride", "dilated_stride"),
    }[source]  # fmt: skip
    (tmp_path / "net.py").write_text(TINY)
    place = source.format(file=tmp_path / "net.py")
    plans = [plan_of(variants=[{"name": f"{place}{name}", "as": "mine"}]) for name in (first, second)]
    folder, _ = open_launch_folder(tmp_path / "storage", plans[0])
    other, why = open_launch_folder(tmp_path / "storage", plans[1])
    assert other != folder
    assert why == f"a new launch: launch {folder.name} differs from it in the network of mine " + (
        f"({first} there, {second} now)"
    )
    with pytest.raises(StorageError, match="the network of mine"):
        folder.check_plan(plans[1])
    assert open_launch_folder(tmp_path / "storage", plans[0])[0] == folder
    mixed = amended(folder.content(), plans[1])
    assert mixed is not None
    assert all("the network of mine" in differences(mixed, plan)[0] for plan in plans)


def test_without_a_search_that_draws_classes_the_file_is_as_earlier_versions_wrote_it() -> None:
    plan = plan_of(variants=["stride", {"name": "dilated_stride", "as": "mine"}])
    assert plan.networks() == {
        "stride": {"arguments": {}, "source": "stride"},
        "mine": {"arguments": {}, "source": "dilated_stride"},
    }
    assert plan_of(search=SEARCH).networks()["stride"] == {"arguments": {}, "source": "stride"}
    assert amended(as_written(plan), plan) is None


def as_written(plan: Plan) -> dict[str, Any]:
    """The content of a new launch as its file gives it back."""
    found: dict[str, Any] = json.loads(json.dumps(new_content(plan)))
    return found


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[..., Plan]:
    """A plan of a search that draws one of two classes, each from its own file."""
    (tmp_path / "net.py").write_text(TINY)
    for name, act in {"x": "ReLU", "y": "SiLU"}.items():
        (tmp_path / f"a{name}.py").write_text(f"from torch import nn\nAct = nn.{act}\n")

    def plan(samples: int, files: Sequence[str] = ("ax.py", "ay.py"), name: str = "random") -> Plan:
        choices = [{"class": f"{tmp_path / file}:Act"} for file in files]
        space = {"arguments.act": {"choice": choices}, **SEARCH["space"]}
        search = {"name": name, "samples": samples, "space": space}
        return plan_of(variants=[f"{tmp_path / 'net.py'}:Tiny"], search=search)

    return plan


@pytest.mark.parametrize("alike", [False, True])
def test_the_source_of_every_class_that_a_search_draws_counts_and_of_no_other(
    alike: bool, drawn: Callable[..., Plan], tmp_path: Path
) -> None:
    if alike:  # two files of one content are two sources
        shutil.copyfile(tmp_path / "ax.py", tmp_path / "ay.py")
    plans = {samples: drawn(samples) for samples in range(1, 9)}
    used = "".join(spec.arguments["act"]["class"][-8] for spec in plans[8].trials if spec.seed == 0)
    assert set(used) == set("xy"), used
    for few, many in itertools.product(plans, plans):  # the last sample is of one file or of the other
        assert differences(as_written(plans[few]), plans[many]) == [], (few, many)
    for edited in "xy":
        file = tmp_path / f"a{edited}.py"
        before = file.read_text()
        file.write_text(before + "# edited\n")
        after = {samples: drawn(samples) for samples in plans}
        for few, many in itertools.product(plans, plans):
            both = edited in used[:few] and edited in used[:many]
            assert differences(as_written(plans[few]), after[many]) == ["the source of Tiny"] * both, (few, many)
        file.write_text(before)


def test_with_tpe_the_source_of_every_class_counts_that_is_listed(drawn: Callable[..., Plan], tmp_path: Path) -> None:
    """Which of them it draws later is not known when the launch is opened again."""
    plan = drawn(9, name="tpe")
    one = replace(plan, trials=plan.trials[:1])  # known at first; the others depend on results
    known, content = [], as_written(one)
    earlier = as_written(one)
    earlier["plans"][0]["networks"]["Tiny"]["source"] = one.trials[0].source_digest
    for file in ("ax.py", "ay.py"):
        text = (tmp_path / file).read_text()
        (tmp_path / file).write_text(text + "# edited\n")
        other = drawn(9, name="tpe")
        assert differences(content, replace(other, trials=other.trials[:1])) == ["the source of Tiny"]
        known.append(differences(earlier, replace(other, trials=other.trials[:1])))
        (tmp_path / file).write_text(text)
    assert sorted(known) == [[], ["the source of Tiny"]], "as far as an earlier version has written it"
    assert differences(content, plan) == differences(earlier, plan) == []


def test_a_drawn_class_in_a_file_of_another_name_is_the_same_until_it_is_edited(
    drawn: Callable[..., Plan], tmp_path: Path
) -> None:
    before = as_written(drawn(8))
    (tmp_path / "ay.py").rename(tmp_path / "az.py")
    assert differences(before, drawn(8, files=("ax.py", "az.py"))) == []
    (tmp_path / "az.py").write_text("from torch import nn\nAct = nn.GELU\n")
    assert differences(before, drawn(8, files=("ax.py", "az.py"))) == ["the source of Tiny"]


@pytest.mark.parametrize("samples", [1, 8])
def test_what_earlier_versions_wrote_of_sources_is_the_same_launch(
    samples: int, drawn: Callable[..., Plan], tmp_path: Path
) -> None:
    """They kept the source of the last trial; and a plan that is no other one is not written again."""
    plan, content = drawn(samples), as_written(drawn(samples))
    [entry] = content["plans"]
    entry["networks"]["Tiny"]["source"] = plan.trials[-1].source_digest
    assert differences(content, plan) == []
    assert differences(content, drawn(9)) == []
    assert change(amended(content, plan) or content, plan) == ""
    (tmp_path / "net.py").write_text(TINY.replace("ReLU", "GELU"))
    assert differences(content, drawn(samples)) == ["the source of Tiny"]


def test_another_order_of_a_grid_is_said_to_be_one() -> None:
    space = {"trainer.optimizer.lr": {"choice": [0.1, 0.2]}, "trainer.optimizer.momentum": {"choice": [0.8, 0.9]}}
    turned = dict(reversed(space.items()))

    def why(before: Any, now: Any, name: str = "grid", **settings: Any) -> list[str]:
        plans = [plan_of(search={"name": name, "space": of, **settings}) for of in (before, now)]
        return differences(as_written(plans[0]), plans[1])

    assert why(space, turned) == ["the order of search.space"]
    assert why(space, space) == []
    assert why(space, turned, "random", samples=3) == [], "draws do not depend on it"
    one = {**space, "trainer.optimizer.momentum": {"choice": [0.8]}}
    assert why(one, dict(reversed(one.items()))) == [], "the same settings in the same order"


def test_a_new_launch_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    first, second, third = (open_launch_folder(tmp_path, plan_of(), again=True)[0] for _ in range(3))
    assert [folder.name for folder in (second, third)] == [f"{first.name}-2", f"{first.name}-3"]
    shutil.rmtree(second.path)
    (tmp_path / "small" / f"{first.name}-4").mkdir()
    names = {open_launch_folder(tmp_path, plan_of(), again=True)[0].name for _ in range(2)}
    assert names == {f"{first.name}-2", f"{first.name}-5"}


@pytest.mark.parametrize("plans", [{}, {"seeds": [0, 1, 2]}])
def test_the_launch_last_worked_on_is_resumed_whichever_was_last_given_a_plan(
    plans: dict[str, Any], tmp_path: Path, uri: str
) -> None:
    """The same one in the storage folder as in MLflow."""
    folders = [open_launch_folder(tmp_path, plan_of(), again=True)[0] for _ in range(3)]
    launches: dict[str, LaunchFolder] = {}
    for worked_on in (*folders, folders[1], folders[0]):
        plan = plan_of(**(plans if worked_on == folders[1] else {}))
        worked_on.amend(plan, Storage(tmp_path))
        runs = open_launch(connect(uri), uri, worked_on.name, plan, FACTS, {}, {}, None, worked_on.id, worked_on.opened)
        launches[runs.launch] = worked_on
        assert newest_launch(tmp_path, "small")[0] == worked_on
        assert launches[find_launch(runs.client, "small")[1]] == worked_on
        assert open_launch_folder(tmp_path, plan_of())[0] == worked_on
    for folder in folders:  # as an earlier version left them
        content = json.loads((folder.path / "launch.json").read_text())
        del content["opened"]
        (folder.path / "launch.json").write_text(json.dumps(content))
    assert newest_launch(tmp_path, "small")[0] == (folders[1] if plans else folders[2])


@pytest.mark.parametrize("per", ["shared", "variant"])
def test_that_another_name_means_other_draws_is_said_where_it_does(per: str) -> None:
    search = {**SEARCH, "per": per}
    before, after = (plan_of(search=search, variants=[{"name": "stride", "as": name}]) for name in ("a", "b"))
    weights = [{spec.weights_identity() for spec in plan.trials} for plan in (before, after)]
    assert (weights[0] == weights[1]) == (per == "shared")
    assert not differences(new_content(before), after)
    assert ("has other draws" in change(new_content(before), after)) == (per == "variant")


def test_what_tpe_suggests_does_not_tell_launches_apart() -> None:
    """Another version of Optuna may suggest otherwise; what a launch has begun with stands."""
    plan = plan_of(search={**SEARCH, "name": "tpe"})
    other = replace(plan, trials=tuple(replace(spec, settings={"trainer.optimizer.lr": 0.5}) for spec in plan.trials))
    assert differences(new_content(plan), other) == []


def test_more_samples_keep_the_first_and_amend_the_launch() -> None:
    few, many = plan_of(search=SEARCH), plan_of(search={**SEARCH, "samples": 9})
    assert differences(new_content(few), many) == []
    assert change(new_content(few), many) == "9 samples instead of 4"
    assert {spec.name for spec in few.trials} < {spec.name for spec in many.trials}
    assert differences(new_content(few), plan_of(search={**SEARCH, "seed": 1})) == ["search.seed (0 there, 1 now)"]


class Looked:
    """A launch that is given one plan after another; trials end under each."""

    def __init__(self, storage: Path) -> None:
        self.storage, self.ended = Storage(storage), 0

    def under(self, ends: int = 1, **settings: Any) -> str:
        """What the verdict must say of what was seen before, now that the plan is that of ``settings``."""
        plan = plan_of(**settings)
        folder, _ = open_launch_folder(self.storage.root, plan)
        folder.amend(plan, self.storage, self.ended)
        self.ended += ends
        return plan.caution


ROUNDS = {"until_decided": True}
GRID = {"name": "grid", "space": {"trainer.optimizer.lr": {"choice": [0.1, 0.2, 0.3]}}}
RANGE = {**GRID, "space": {"trainer.optimizer.momentum": {"quniform": [0.0, 0.9, 0.1]}}}
JUDGED_APART = {"confirm": {"seeds": [100, 101, 102]}}
THREE, FOUR = [0, 1, 2], [0, 1, 2, 3]
ONE_MORE = ["stride", "dilated_stride", "grouped_concat"]
NEW = {"seeds": [7, 8, 9]}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"seeds": [0, 1]}, {"seeds": THREE}, ""),  # two seeds decide nothing
        ({"seeds": [0, 1]}, {"seeds": [0, 1], "variants": ONE_MORE}, ""),
        ({"seeds": [0, 1]}, {"seeds": THREE, "variants": ["stride"]}, r"variants \["),  # but they can select
        ({"seeds": [0, 1]}, {"seeds": [0, 2, 3]}, r"seeds \[0, 1\], now \[0, 2, 3\]"),
        ({"seeds": [0, 1]}, {"seeds": THREE, "verdict": {"baseline": "stride"}}, "baseline none, now stride"),
        ({"seeds": THREE}, {"seeds": [2, 1, 0]}, ""),
        ({"seeds": THREE}, {"seeds": FOUR}, "^Seeds were added after a verdict on 3 seeds had been seen: .*Rounds"),
        ({"seeds": FOUR}, {"seeds": THREE}, r"seeds \[0, 1, 2, 3\], now \[0, 1, 2\]"),
        ({"seeds": THREE}, {"seeds": THREE, "variants": ONE_MORE}, "^Variants were added after .*each further look"),
        ({"seeds": THREE}, {"seeds": FOUR, "variants": ONE_MORE}, "^Seeds and variants were added after a verdict"),
        ({"seeds": THREE, "search": SEARCH}, {"seeds": THREE, "search": {**SEARCH, "samples": 9}}, "^Samples of the"),
        ({"seeds": [0], "search": SEARCH}, {"seeds": [0], "search": {**SEARCH, "samples": 9}}, ""),
        ({"search": SEARCH, "confirm": NEW}, {"search": {**SEARCH, "samples": 9}, "confirm": NEW}, ""),
        ({"seeds": [0], "search": SEARCH}, {"seeds": [0], "search": SEARCH, **JUDGED_APART}, ""),
        ({"seeds": THREE, "search": SEARCH}, {"seeds": THREE, "search": SEARCH, **JUDGED_APART}, ""),
        ({"seeds": THREE, "search": SEARCH}, {"seeds": FOUR, "search": {**SEARCH, "samples": 9}, **JUDGED_APART}, ""),
        (
            {"seeds": [0], "search": SEARCH}, {"seeds": [0], "search": {**SEARCH, "samples": 2}, **JUDGED_APART},
            r"seeds \[0\], now \[100, 101, 102\], samples 4, now 2",
        ),
        ({"search": SEARCH, **JUDGED_APART}, {"search": SEARCH}, r"\(seeds \[100, 101, 102\], now \[0, 1\]\)"),
        ({"seeds": [0], "search": {**GRID, "samples": 2}}, {"seeds": [0], "search": GRID}, ""),
        ({"seeds": THREE, "search": {**GRID, "samples": 2}}, {"seeds": THREE, "search": GRID}, "^Samples of the"),
        ({"seeds": [0], "search": GRID}, {"seeds": [0], "search": {**GRID, "samples": 2}}, r"\(samples 3, now 2\)"),
        ({"seeds": THREE, "search": GRID}, {"seeds": THREE, "search": {**GRID, "samples": 2}}, "samples 3, now 2"),
        ({"seeds": THREE, "search": GRID}, {"seeds": THREE, "search": {**GRID, "samples": 3}}, ""),
        ({"seeds": [0], "search": {**RANGE, "samples": 2}}, {"seeds": [0], "search": RANGE}, ""),
        ({"seeds": [0], "search": RANGE}, {"seeds": [0], "search": {**RANGE, "samples": 2}}, "samples all, now 2"),
        (
            {"seeds": THREE, "search": {**SEARCH, "samples": None}},
            {"seeds": THREE, "search": {**SEARCH, "samples": 8}}, "",
        ),
        ({"seeds": THREE}, {"seeds": THREE, "variants": ["stride"]}, r"variants \[stride, dilated_stride\], now \["),
        ({"seeds": THREE}, {"seeds": THREE, "verdict": {"margin": 0.01}}, r"margin none, now 0\.01"),
        ({"seeds": THREE}, {"seeds": THREE, "verdict": ROUNDS}, "until_decided no, now yes"),
        ({"verdict": ROUNDS}, {"verdict": {**ROUNDS, "max_seeds": 40}}, "max_seeds 20, now 40"),
        ({"verdict": ROUNDS}, {"verdict": ROUNDS, "seeds": FOUR}, ""),  # the same seeds in the same order
        ({"verdict": ROUNDS}, {"verdict": ROUNDS, "seeds": [1, 0]}, r"seeds \[0, 1\], now \[1, 0\]"),
        ({"verdict": ROUNDS, "seeds": FOUR}, {"verdict": ROUNDS, "seeds": [0, 1]}, ""),  # rounds count on to the others
        ({"verdict": ROUNDS}, {"verdict": ROUNDS, "seeds": [0, 1, 9]}, r"seeds \[0, 1\], now \[0, 1, 9\]"),
        ({"verdict": ROUNDS, "seeds": [7, 0, 1]}, {"verdict": ROUNDS, "seeds": [7, 0]}, r"now \[7, 0\]"),
        ({"verdict": ROUNDS}, {"verdict": ROUNDS, "variants": ONE_MORE}, "variants"),
        ({"verdict": ROUNDS}, {"seeds": THREE}, "until_decided yes, now no"),
    ],
)  # fmt: skip
def test_rules_that_are_changed_after_a_look_are_told_of(
    before: dict[str, Any], now: dict[str, Any], said: str, tmp_path: Path
) -> None:
    launch = Looked(tmp_path)
    assert launch.under(**before) == ""
    assert launch.under(**before) == ""
    found = launch.under(**now)
    assert re.search(said, found) if said else found == ""
    assert launch.under(**now) == found, "and it stays so"
    unseen = Looked(tmp_path / "unseen")
    unseen.under(ends=0, **before)
    assert unseen.under(**now) == "", "nothing had ended"


def test_a_search_that_was_seen_before_it_was_confirmed_says_nothing_of_later_looks(tmp_path: Path) -> None:
    launch, found = Looked(tmp_path), {"seeds": [0], "search": SEARCH}
    assert launch.under(**found) == ""
    assert launch.under(**found, **JUDGED_APART) == ""
    said = launch.under(**found, confirm={"seeds": [100, 101, 102, 103]})
    assert said.startswith("Seeds were added after a verdict on 3 seeds had been seen: ")


def test_a_baseline_in_other_words_is_no_other_rule(network_file: Path, tmp_path: Path) -> None:
    launch, file = Looked(tmp_path), f"{network_file}:Tiny"
    for baseline in ("Tiny", file):
        assert launch.under(variants=[file, "stride"], seeds=THREE, verdict={"baseline": baseline}) == ""


CONFIRMED = {"search": SEARCH, "confirm": {"seeds": [100, 101]}}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"seeds": [0], "confirm": {"seeds": [1, 2]}}, "this launch has searched with seed 1, and what was selected"),
        ({"seeds": [5], "confirm": {"seeds": [0, 1]}}, "searched with seeds 0, 1, and"),
        ({"seeds": [0], "confirm": {"seeds": [100, 102]}}, ""),
        ({"seeds": [0, 1, 2], "confirm": None}, ""),
        ({"seeds": [7], "confirm": {"seeds": [0]}, "verdict": {**ROUNDS, "max_seeds": 3}}, "seeds 0, 1, and"),
    ],
)  # fmt: skip
def test_a_seed_that_was_searched_with_is_not_confirmed_with(now: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder, _ = open_launch_folder(tmp_path, plan_of(**CONFIRMED))
    if said:
        with pytest.raises(StorageError, match=said):
            folder.check_plan(plan_of(**{**CONFIRMED, **now}))
    else:
        folder.check_plan(plan_of(**{**CONFIRMED, **now}))


def test_what_is_listed_again_is_not_called_new() -> None:
    content = new_content(plan_of())
    fewer = plan_of(variants=["stride"], seeds=[0])
    shrunk = amended(content, fewer)
    assert shrunk is not None
    assert change(content, fewer) == "without variant dilated_stride; without seed 1"
    assert change(shrunk, plan_of(seeds=THREE)) == "again variant dilated_stride; new seed 2; again seed 1"


def test_places_say_the_order_of_the_plan_whatever_it_grows_by() -> None:
    few, many = plan_of(search=SEARCH), plan_of(search={**SEARCH, "samples": 12}, seeds=[0, 1, 5])
    assert {spec.name: few.place(spec) for spec in few.trials}.items() <= {
        spec.name: many.place(spec) for spec in many.trials
    }.items()
    places = [tuple(map(int, many.place(spec).split("."))) for spec in many.trials]
    assert places == sorted(set(places))


# --- taking over


@pytest.fixture
def trained(tmp_path: Path, network_file: Path) -> tuple[Path, Plan]:
    """A storage folder in which a launch of one complete and one failed trial lies, and its plan."""
    tree = {"name": "earlier", "variants": [f"{network_file}:Tiny"], "seeds": [0, 1], "trainer": {"epochs": 2}}
    plan = make_plan(read_experiment(tree, "x"))
    launch, _ = open_launch_folder(tmp_path / "storage", plan)
    list(run_trial(plan.trials[0], make_dataset(), launch.trial(plan.trials[0].name)))
    begun = run_trial(plan.trials[1], make_dataset(), launch.trial(plan.trials[1].name))
    next(begun)
    begun.close()
    return tmp_path / "storage", plan


def version(folder: Path) -> str:
    return str(TrialFolder(folder).facts()["machine"]["torch_version"])


def taking(storage: Path, plan: Plan, torch_version: str, again: bool = False) -> tuple[Any, list[str]]:
    folder, _ = open_launch_folder(storage, plan, again)
    return folder, take_over(folder, plan.trials, Storage(storage), torch_version)


def test_a_complete_trial_of_another_launch_is_copied_and_says_where_from(trained: tuple[Path, Plan]) -> None:
    storage, plan = trained
    source = next((storage / "earlier").glob("*/trials/Tiny/seed-0"))
    mine = replace(plan, experiment=replace(plan.experiment, name="later"))
    folder, taken = taking(storage, mine, version(source))
    assert taken == ["Tiny/seed-0"], "not the one that is not complete"
    copied = TrialFolder(folder.trial("Tiny/seed-0"))
    assert origin(copied.path) == f"earlier/{source.parents[2].name}"
    assert copied.is_intact()
    assert copied.records() == TrialFolder(source).records()
    assert folder.finished(mine).keys() == {"Tiny/seed-0"}
    assert take_over(folder, mine.trials, Storage(storage), version(source)) == [], "it is there already"
    chained, taken = taking(storage, replace(mine, experiment=replace(mine.experiment, name="last")), version(source))
    assert (taken, origin(chained.trial("Tiny/seed-0"))) == (["Tiny/seed-0"], origin(copied.path))


def test_what_may_differ_is_trained_anew(trained: tuple[Path, Plan]) -> None:
    storage, plan = trained
    source = next((storage / "earlier").glob("*/trials/Tiny/seed-0"))
    mine = replace(plan, experiment=replace(plan.experiment, name="later"))
    assert taking(storage, mine, "0.1")[1] == [], "another torch may round otherwise"
    assert taking(storage, mine, version(source), again=True)[1] == [], "it was asked to train everything again"
    best = TrialFolder(source).best
    best.write_bytes(best.read_bytes()[:-20])
    named = replace(mine, experiment=replace(mine.experiment, name="latest"))
    assert taking(storage, named, version(source))[1] == [], "it is damaged"


def said_to_be_computed(folder: Path, way: str) -> None:
    trial = TrialFolder(folder)
    facts = trial.facts()
    trial.save_facts({**facts, "machine": {**facts["machine"], "computed_in": way}})


def test_what_was_computed_otherwise_is_trained_anew(trained: tuple[Path, Plan]) -> None:
    """In the precision and on the kind of device that this launch's trials will have, where that is known."""
    storage, plan = trained
    source = next((storage / "earlier").glob("*/trials/Tiny/seed-0"))
    mine = replace(plan, experiment=replace(plan.experiment, name="later"))
    folder, _ = open_launch_folder(storage, mine)

    def taken(way: str | None) -> list[str]:
        return take_over(folder, mine.trials, Storage(storage), version(source), lambda spec: way)

    here = compute_mode_here(plan.trials[0].trainer)
    assert here == TrialFolder(source).facts()["machine"]["computed_in"]
    for other in ("float16 on cuda", f"{here}, then float16 on cuda"):
        assert taken(other) == []
        said_to_be_computed(source, other)
        assert taken(here) == []
    assert taken(None) == [], "this machine cannot train it"
    facts = TrialFolder(source).facts()
    del facts["machine"]["computed_in"]  # as an earlier version wrote them
    TrialFolder(source).save_facts(facts)
    assert taken("float16 on cuda") == []
    assert taken(here) == ["Tiny/seed-0"]


def test_on_a_cluster_all_that_is_taken_over_was_computed_alike(trained: tuple[Path, Plan]) -> None:
    storage, plan = trained
    source = next((storage / "earlier").glob("*/trials/Tiny/seed-0"))
    second = source.with_name("seed-1")
    list(run_trial(plan.trials[1], make_dataset(), second))
    said_to_be_computed(source, "bfloat16 on cuda")
    said_to_be_computed(second, "float32 on cpu")

    def later(name: str) -> Plan:
        return replace(plan, experiment=replace(plan.experiment, name=name))

    assert taking(storage, later("a"), version(source))[1] == ["Tiny/seed-0"]
    folder, _ = open_launch_folder(storage, later("b"))
    list(run_trial(plan.trials[1], make_dataset(), folder.trial("Tiny/seed-1")))
    said_to_be_computed(folder.trial("Tiny/seed-1"), "float32 on cpu")
    assert take_over(folder, plan.trials[:1], Storage(storage), version(source)) == [], "its own are of another kind"
    said_to_be_computed(source, "float32 on cpu")
    assert take_over(folder, plan.trials[:1], Storage(storage), version(source)) == ["Tiny/seed-0"]


# --- real launches


class Grown:
    """A folder with an experiment file that is edited and run again."""

    def __init__(self, folder: Path, sources: Path | None = None) -> None:
        self.folder, self.sources = folder, sources or folder
        save_packed(make_dataset(), self.sources / "tiny.pt")
        (self.sources / "networks.py").write_text(TINY.replace("/nonexistent", str(self.sources / "pace")))
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"

    def edit(self, variants: list[str], seeds: list[int], name: str = "small", epochs: int = 3) -> None:
        names = [f"{self.sources / 'networks.py'}:{variant}" for variant in variants]
        tree = {
            "name": name, "variants": names, "seeds": seeds, "dataset": {"name": str(self.sources / "tiny.pt")},
            "trainer": {"epochs": epochs, "batch_size": 32}, "tracking": {"reports": "none", "models": "none"},
        }  # fmt: skip
        (self.folder / f"{name}.yaml").write_text(json.dumps(tree))

    def run(self, name: str = "small", *flags: str) -> tuple[dict[str, Any], str]:
        """The document, and what was said."""
        done = orchestrator("run", f"{name}.yaml", "--json", *flags, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr


def runs(document: dict[str, Any]) -> dict[str, str]:
    return {trial["trial"]: trial["run_id"] for trial in document["trials"]}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    return Grown(tmp_path_factory.mktemp("grown"))


@pytest.mark.slow
@pytest.mark.ray
def test_a_launch_grows_shrinks_and_grows_again(grown: Grown) -> None:
    grown.edit(["Tiny"], [0, 1])
    first, _ = grown.run()
    grown.edit(["Tiny", "Slow"], [0, 1, 2])
    second, said = grown.run()
    assert (second["launch"], second["parent_run_id"]) == (first["launch"], first["parent_run_id"])
    assert f"launch {first['launch']} is amended: new variant Slow; new seed 2" in said
    assert "Tiny/seed-0: started" not in said
    assert said.count(": started") == 4
    assert list(runs(second)) == [f"{v}/seed-{s}" for s in (0, 1, 2) for v in ("Tiny", "Slow")]
    assert runs(first).items() <= runs(second).items()

    grown.edit(["Slow"], [1])
    third, said = grown.run()
    assert "without variant Tiny; without seeds 0, 2" in said
    assert ": started" not in said
    assert runs(third) == {"Slow/seed-1": runs(second)["Slow/seed-1"]}
    assert third["left_out"] == sorted(runs(second).keys() - runs(third).keys())
    read = orchestrator("compare", "small", cwd=grown.folder)
    assert "and 1 more are no longer in the experiment file" in " ".join(read.stdout.split())

    grown.edit(["Tiny", "Slow"], [0, 1, 2])
    fourth, said = grown.run()
    assert ": started" not in said
    assert (fourth["trials"], fourth["left_out"]) == (second["trials"], [])
    statuses = {run_id: connect(grown.uri).get_run(run_id).info.status for run_id in runs(fourth).values()}
    assert set(statuses.values()) == {"FINISHED"}


@pytest.mark.slow
@pytest.mark.ray
def test_a_recipe_that_comes_back_and_another_experiment_are_not_trained_again(tmp_path: Path) -> None:
    grown = Grown(tmp_path)
    grown.edit(["Tiny"], [0])
    first, _ = grown.run()
    grown.edit(["Tiny"], [0], epochs=2)
    other, said = grown.run()
    assert other["launch"] != first["launch"]
    assert f"a new launch: launch {first['launch']} differs from it in trainer.epochs (3 there, 2 now)" in said
    grown.edit(["Tiny"], [0, 1])
    back, said = grown.run()
    assert back["launch"] == first["launch"]
    assert said.count(": started") == 1
    grown.edit(["Tiny"], [1, 0], name="elsewhere")
    taken, said = grown.run("elsewhere")
    assert f"2 trials taken over from launch small/{first['launch']}, which has trained the same" in said
    assert ": started" not in said
    assert {t["trial"]: t["test_accuracy"] for t in taken["trials"]} == {
        t["trial"]: t["test_accuracy"] for t in back["trials"]
    }
    assert {t["taken_over_from"] for t in taken["trials"]} == {f"small/{first['launch']}"}
    assert all(t["computed_in"].startswith(("float32 on", "bfloat16 on", "float16 on")) for t in taken["trials"])
    assert taken["spending"]["total"]["reused"] == 2
    assert taken["spending"]["total"]["seconds"] == 0
    anew, said = grown.run("elsewhere", "--again")
    assert said.count(": started") == 2
    assert {t["taken_over_from"] for t in anew["trials"]} == {""}


@pytest.mark.slow
@pytest.mark.ray
def test_killed_while_it_grows_it_is_what_it_would_have_been(tmp_path: Path) -> None:
    folders = []
    for name in ("undisturbed", "disturbed"):
        (tmp_path / name).mkdir()
        folders.append(Grown(tmp_path / name, tmp_path))
    undisturbed, disturbed = folders
    for grown in folders:
        grown.edit(["Slow"], [0], epochs=8)
        grown.run()
        grown.edit(["Slow", "Tiny"], [0, 1, 2], epochs=8)
    undisturbed.run()
    (tmp_path / "pace").write_text("0.1")
    for epoch in (2, 5):
        with driver(disturbed.folder, "run", "small.yaml") as process:
            wait_for(disturbed.folder, process, f"Slow/seed-1: epoch {epoch}/")
            kill_driver(process)
    (tmp_path / "pace").unlink()
    assert orchestrator("resume", "small", cwd=disturbed.folder, timeout=PATIENCE).returncode == 0
    left = [content(grown.folder, "small") for grown in folders]
    trials = {f"{variant}/seed-{seed}" for variant in ("Slow", "Tiny") for seed in (0, 1, 2)}
    assert left[0].keys() == left[1].keys() == {"the launch", *trials}
    assert compare(*left) == []


def read_elsewhere(folder: Path) -> dict[str, dict[str, Any]]:
    """What a launch has left, read by another process: this one's client stays with a store that is deleted."""
    code = (
        "import json, sys; from pathlib import Path; from orchestrator.workflow.verify import content;"
        "print(json.dumps(content(Path(sys.argv[1]), 'small')))"
    )
    read = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    found: dict[str, dict[str, Any]] = json.loads(read.stdout)
    return found


@pytest.mark.slow
@pytest.mark.ray
def test_what_mlflow_has_lost_is_delivered_again_and_what_was_taken_out_is_gone(tmp_path: Path) -> None:
    """The trial folders are the source of truth, also of a launch that is marked as complete."""
    grown = Grown(tmp_path)
    grown.edit(["Tiny"], [0, 1])
    first, _ = grown.run()
    before, experiment = read_elsewhere(tmp_path), connect(grown.uri).get_experiment_by_name("small").experiment_id
    assert "already complete, nothing to train" in grown.run()[1]

    def lose_everything() -> None:
        (tmp_path / "mlflow.db").unlink()
        shutil.rmtree(tmp_path / "mlruns")

    def lose_a_trial() -> None:
        connect(grown.uri).delete_run(first["trials"][0]["run_id"])

    def lose_the_experiment() -> None:
        connect(grown.uri).delete_experiment(experiment)

    found = first
    for lose, command in ((lose_the_experiment, "run"), (lose_a_trial, "run"), (lose_everything, "resume")):
        lose()
        done = orchestrator(command, {"run": "small.yaml", "resume": "small"}[command], "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "no trial is left to train" in done.stderr
        assert ": started" not in done.stderr
        found = json.loads(done.stdout)
        assert compare(before, read_elsewhere(tmp_path)) == []

    grown.edit(["Tiny", "Failing"], [0, 1])
    assert orchestrator("run", "small.yaml", cwd=tmp_path).returncode == 1
    grown.edit(["Tiny"], [0, 1])
    last, said = grown.run()
    assert "without variant Failing" in said
    assert ": started" not in said
    assert [variant["variant"] for variant in last["verdict"]["variants"]] == ["Tiny"]
    assert runs(last) == runs(found)
    assert "already complete, nothing to train" in grown.run()[1]
