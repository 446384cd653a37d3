"""Experiment files: every problem at once, nearest spellings, round trips, overrides, plans."""

import contextlib
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis import analyse
from orchestrator.architectures import build_network
from orchestrator.contract import ContractCheck, check_contract
from orchestrator.data import check_transforms
from orchestrator.errors import ExperimentError, RequestError
from orchestrator.experiment.overrides import apply_overrides
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import json_schema, read_experiment, read_file
from orchestrator.experiment.search_space import labels
from orchestrator.reporting.published import read_curve
from orchestrator.spec import Contract, Experiment, Optimizer, Plan, Recipe, Schedule, TrialSpec
from orchestrator.spec.fields import from_json, to_json
from orchestrator.text import short_names
from orchestrator.workflow.check import check_experiment

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "experiments").rglob("*.yaml"))
SMALL = {"name": "small", "variants": ["stride"]}


def write(folder: Path, text: str) -> Path:
    file = folder / "experiment.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_experiment_file_reads_and_plans(file: Path) -> None:
    experiment = read_file(file)
    plan = make_plan(experiment)
    samples = experiment.search.limit if experiment.search else 1
    assert len(plan.trials) == len(experiment.variants) * len(experiment.seeds) * samples
    assert len({trial.identity() for trial in plan.trials}) == len(plan.trials)
    assert len({trial.name for trial in plan.trials}) == len(plan.trials)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_experiment_file_says_what_it_is_for_and_how_to_run_it(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert lines[1].startswith(f"#   orchestrator run {file.relative_to(ROOT)}")


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
name: bad/name
variants: [stride, stride]
seeds: [0]
trainer:
  epochs: 0
  optimzer: {lr: 1}
  optimizer: {name: sdg, lr: fast}
  schedule: {name: plateau, interval: batch}
contract: {require: [dilatd]}
colour: blue
""",
    )
    with pytest.raises(ExperimentError) as refusal:
        read_file(file)
    text = str(refusal.value)
    assert text.startswith(f"{file}: ")
    for expected in (
        "trainer.epochs: must be at least 1, not 0",
        "trainer.optimzer: unknown key (did you mean optimizer?)",
        "trainer.optimizer.name: 'sdg' is not allowed (did you mean sgd?); allowed: sgd, adam, adamw, rmsprop, muon",
        "trainer.optimizer.lr: must be a number greater than 0",
        "trainer.schedule: plateau uses the accuracy",
        "contract.require.0: 'dilatd' is not allowed (did you mean dilated?)",
        "colour: unknown key",
    ):
        assert expected in text
    with pytest.raises(ExperimentError, match=r"(?s)letters, digits.*listed twice: stride"):
        read_experiment({"name": "bad/name", "variants": ["stride", "stride"]}, "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("- a\n- b\n", "not a mapping"),
        ("name: [unclosed", "line 1, column"),
        ("name: a\nname: b\n", "line 2.*duplicate key 'name'"),
        ("name: !!python/object/apply:os.system [true]\n", "line 1, column 7: YAML tags"),
        ("a: &x [1]\nb: *x\n", "anchors"),
        ("name: x\nvariants: [stride]\ntrainer: {label_smoothing: .nan}\n", "finite"),
        ("1: x\n", "keys must be text"),
    ],
)
def test_text_that_is_no_experiment_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ExperimentError, match=words):
        read_file(write(tmp_path, text))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_PLACES = ["name", "variants", "seeds", "dataset", "trainer", "search", "scheduler", "resources", "contract",
           "trainer.epochs", "trainer.optimizer", "trainer.augmentation", "search.space", "dataset.name",
           "seeds.0"]  # fmt: skip


@given(st.sampled_from(_PLACES), _JSON)
def test_any_value_anywhere_is_read_or_refused(place: str, value: object) -> None:
    tree = {**SMALL, "seeds": [0], "trainer": {}, "search": None, "dataset": {}}
    with contextlib.suppress(ExperimentError):
        changed = apply_overrides(tree, [f"{place}={json.dumps(value)}"])
        assert isinstance(read_experiment(changed, "x"), Experiment)


def test_overrides_reach_everything_and_are_told_when_wrong() -> None:
    tree = apply_overrides(
        {**SMALL, "seeds": [0, 1]},
        [
            "trainer.epochs=3",
            "seeds.1=7",
            "trainer.optimizer.lr=1e-3",
            "name=other",
            "variants=[stride, dilated_stride]",
        ],
    )
    experiment = read_experiment(tree, "x")
    assert (experiment.trainer.epochs, experiment.seeds, experiment.name) == (3, (0, 7), "other")
    assert experiment.trainer.optimizer.lr == pytest.approx(0.001)
    assert [variant.name for variant in experiment.variants] == ["stride", "dilated_stride"]
    with pytest.raises(ExperimentError, match=r"(?s)a.b=value.*not a mapping.*not an index"):
        apply_overrides({**SMALL, "seeds": [0]}, ["trainer", "name.x=1", "seeds.4=1"])


def test_exponents_without_a_dot_are_numbers(tmp_path: Path) -> None:
    file = write(tmp_path, "name: x\nvariants: [stride]\ntrainer: {optimizer: {lr: 1e-3, weight_decay: 5E-4}}\n")
    assert read_file(file).trainer.optimizer.lr == 0.001


recipes = st.builds(
    Recipe,
    epochs=st.integers(1, 500),
    batch_size=st.integers(1, 4096),
    optimizer=st.builds(
        Optimizer,
        name=st.sampled_from(["sgd", "adam", "adamw", "rmsprop", "muon"]),
        lr=st.floats(1e-6, 10),
        momentum=st.floats(0, 0.99),
    ),
    schedule=st.builds(Schedule, name=st.sampled_from(["onecycle", "cosine", "step"]), warmup=st.floats(0, 0.9)),
    label_smoothing=st.floats(0, 0.5),
    gradient_clip=st.none() | st.floats(0.1, 10),
    augmentation=st.just(({"HorizontalFlip": {"p": 0.5}},)),
)


@given(recipes, st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True))
def test_an_experiment_survives_yaml_and_a_trial_survives_json(recipe: Recipe, seeds: list[int]) -> None:
    experiment = dataclasses.replace(read_experiment(SMALL, "x"), trainer=recipe, seeds=tuple(seeds))
    again = read_experiment(yaml.safe_load(yaml.safe_dump(to_json(experiment))), "x")
    assert again == experiment
    for trial in make_plan(experiment).trials:
        back = TrialSpec.from_json(json.loads(json.dumps(trial.to_json())))
        assert back == trial
        assert back.identity() == trial.identity()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variant": 3}, "spec.variant: expected text"),
        ({"seed": True}, "spec.seed: expected an integer"),
        ({"seed": -1}, "seed: must be at least 0"),
        ({"extra": 1}, "unknown extra"),
        ({"trainer": {"optimizer": {"name": "sdg"}}}, "spec.trainer.optimizer.name: 'sdg' is not one of"),
        ({"trainer": {"augmentation": [{"A": {}, "B": {}}]}}, "one transform per entry"),
        ({"dataset": []}, "spec.dataset: expected a mapping"),
    ],
)
def test_a_spec_without_pydantic_is_as_strict(change: dict, words: str) -> None:
    plain = {**TrialSpec(variant="stride").to_json(), **change}
    with pytest.raises(ValueError, match=words):
        TrialSpec.from_json(plain)
    with pytest.raises(ValueError, match="missing variant"):
        from_json(TrialSpec, {}, "spec")


def test_both_readers_refuse_the_same_numbers() -> None:
    for change in ({"epochs": 0}, {"label_smoothing": 1.0}, {"l1": -1}, {"gradient_clip": 0}):
        with pytest.raises(ExperimentError):
            read_experiment({**SMALL, "trainer": change}, "x")
        with pytest.raises(ValueError, match="must be"):
            Recipe(**change)


def test_a_search_draws_the_same_settings_for_every_variant_and_is_repeatable() -> None:
    tree = {
        **SMALL,
        "variants": ["stride", "grouped_concat"],
        "seeds": [0, 1],
        "search": {
            "samples": 3,
            "space": {
                "trainer.optimizer.lr": {"loguniform": [0.001, 0.1]},
                "arguments.dropout": {"choice": [0.0, 0.1]},
            },
        },
    }
    plan = make_plan(read_experiment(tree, "x"))
    assert plan == make_plan(read_experiment(tree, "x"))
    assert len(plan.trials) == 12
    for sample in range(3):
        mine = [t for t in plan.trials if t.sample == sample]
        assert len({t.trainer.optimizer.lr for t in mine}) == 1
        assert all(0.001 <= t.trainer.optimizer.lr <= 0.1 for t in mine)
        lr, dropout = mine[0].trainer.optimizer.lr, mine[0].arguments["dropout"]
        assert mine[0].name == f"stride/seed-0/dropout={dropout:g},lr={lr:.4g}"
        assert mine[0].settings == {"trainer.optimizer.lr": lr, "arguments.dropout": dropout}
    assert len({t.trainer.optimizer.lr for t in plan.trials}) == 3


def test_draws_that_break_the_contract_are_drawn_again_and_counted() -> None:
    tree = {
        **SMALL,
        "variants": ["depthwise_stride"],
        "search": {"samples": 4, "space": {"arguments.width": {"uniform": [0.5, 2.0]}}},
    }

    def broken(spec: TrialSpec) -> list[ContractCheck]:
        width = spec.arguments["width"]
        return [] if width < 1.0 else [ContractCheck("max_parameters", 100, int(100 * width), False)]

    plan = make_plan(read_experiment(tree, "x"), broken=broken)
    assert all(t.arguments["width"] < 1.0 for t in plan.trials)
    assert plan.rejected_samples > 0
    tree["search"]["space"]["arguments.width"]["uniform"] = [1.2, 2.0]
    asked: list[TrialSpec] = []
    with pytest.raises(ExperimentError, match=r"50 draws in a row broke the contract") as refused:
        make_plan(read_experiment(tree, "x"), broken=lambda spec: asked.append(spec) or broken(spec))
    nearest = min(int(100 * spec.arguments["width"]) for spec in asked)
    assert len(asked) == 50
    said = f"depthwise_stride: parameters must be at most 100 and is {nearest} in the closest of 50 draws"
    assert refused.value.problems[1].startswith(said)


def test_a_searched_path_that_does_not_exist_is_refused() -> None:
    tree = {**SMALL, "search": {"samples": 1, "space": {"trainer.optimiser.lr": {"uniform": [0, 1]}}}}
    with pytest.raises(ExperimentError, match=r"search\.space.*optimiser"):
        make_plan(read_experiment(tree, "x"))


def test_identity_is_the_content_not_the_place(tmp_path: Path) -> None:
    source = "import torch.nn as nn\nclass Net(nn.Module): pass\n"
    plans = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "net.py"
        file.write_text(source)
        plans.append(make_plan(read_experiment({**SMALL, "variants": [f"{file}:Net"]}, "x")))
    assert [t.identity() for t in plans[0].trials] == [t.identity() for t in plans[1].trials]
    assert plans[0].networks() == plans[1].networks()
    (tmp_path / "b" / "net.py").write_text(source + "# edited\n")
    edited = make_plan(read_experiment({**SMALL, "variants": [f"{tmp_path / 'b' / 'net.py'}:Net"]}, "x"))
    assert edited.trials[0].identity() != plans[0].trials[0].identity()
    assert edited.networks() != plans[0].networks()


def test_the_schema_for_editors_knows_every_key() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == {field.name for field in dataclasses.fields(Experiment)}
    assert schema["additionalProperties"] is False


def test_a_contract_cannot_contradict_itself() -> None:
    with pytest.raises(ValueError, match="both required and forbidden: dilated"):
        Contract(require=("dilated",), forbid=("dilated",))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_experiment_file_can_be_run(file: Path) -> None:
    """Its networks keep its contract and its augmentation can be built, for pictures of CIFAR's size."""
    experiment = read_file(file)
    assert check_transforms(experiment.trainer.augmentation, (3, 32, 32)) == []
    for variant in experiment.variants:
        network = build_network(variant.name, variant.arguments)
        result = check_contract(analyse(network, (3, 32, 32)), experiment.contract)
        assert [check.format() for check in result.checks if not check.passed] == []


def test_a_published_curve_is_found_beside_its_experiment(tmp_path: Path) -> None:
    curve = read_curve(Path(read_file(ROOT / "experiments" / "published" / "stride.yaml").published_curve or ""))
    assert curve[0] == (1, pytest.approx(0.45))
    assert max(curve, key=lambda point: point[1]) == (47, pytest.approx(0.8636))
    file = write(tmp_path, "name: x\nvariants: [stride]\npublished: {curve: absent.csv}\n")
    with pytest.raises(ExperimentError, match="no such file"):
        read_file(file)
    (tmp_path / "bad.csv").write_text("epoch,test_accuracy\n1,many\n")
    with pytest.raises(RequestError, match=r"bad\.csv, line 2"):
        read_curve(tmp_path / "bad.csv")


def test_trials_on_the_cpu_ask_for_no_gpu() -> None:
    def gpus(**settings: object) -> object:
        return make_plan(read_experiment({**SMALL, **settings}, "x")).experiment.resources.gpus

    assert gpus() == "auto"
    assert gpus(trainer={"device": "cpu"}) == 0
    assert gpus(trainer={"device": "cpu"}, resources={"gpus": 0.5}) == 0.5
    drawn = {"samples": 8, "space": {"trainer.device": {"choice": ["cpu", "auto"]}}}
    assert gpus(trainer={"device": "cpu"}, search=drawn) == "auto"


def test_only_what_is_the_recipes_or_the_networks_own_can_be_searched() -> None:
    for path in ("seed", "variant", "dataset.image_size", "trainer", "arguments", "sample"):
        tree = {**SMALL, "search": {"samples": 2, "space": {path: {"choice": [1, 2]}}}}
        with pytest.raises(ExperimentError, match=rf"{path} cannot be searched; paths start with trainer\. or argum"):
            make_plan(read_experiment(tree, "x"))
    space = {"trainer.protocol": {"choice": ["published"]}, "seed": {"randint": [0, 9]}}
    with pytest.raises(ExperimentError, match=r"(?s)2 problems.*seed cannot.*trainer\.protocol must be the same"):
        make_plan(read_experiment({**SMALL, "search": {"space": space}}, "x"))


@pytest.mark.parametrize("way", ["networks.py", "./networks.py", "inner/../networks.py", "{}", "~/networks.py"])
@pytest.mark.parametrize("search", [None, {"samples": 2, "space": {"trainer.optimizer.lr": {"choice": [0.1, 0.2]}}}])
def test_a_network_may_be_named_in_any_way_that_finds_its_file(
    way: str, search: Any, network_file: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "inner").mkdir()
    tree = {"name": "x", "variants": [f"{way.format(network_file)}:Tiny"], "dataset": {"name": str(packed)}}
    checked = check_experiment(
        read_experiment(tree if search is None else {**tree, "search": search}, "x"), tmp_path, lambda _: None
    )
    assert {spec.variant for spec in checked.plan.trials} == {f"{network_file.resolve()}:Tiny"}
    assert checked.analyses.keys() == checked.contracts.keys() == {spec.name for spec in checked.plan.trials}
    assert all(analysis.parameters > 100 for analysis in checked.analyses.values())


def test_every_pipeline_that_was_drawn_is_checked_before_the_start(packed: Path, tmp_path: Path) -> None:
    wrong = {"trainer.augmentation.0.RandomCrop.height": {"choice": [16, 99]}}
    trainer = {"augmentation": [{"RandomCrop": {"height": 16, "width": 16}}]}
    tree = {**SMALL, "dataset": {"name": str(packed)}, "trainer": trainer, "search": {"samples": 20, "space": wrong}}
    with pytest.raises(ExperimentError, match=r"as drawn for stride/seed-0/height=99: .*a crop of 99") as refused:
        check_experiment(read_experiment(tree, "x"), tmp_path, lambda _: None)
    assert len(refused.value.problems) == 1


def searched(space: dict, samples: int, **more: object) -> Plan:
    return make_plan(read_experiment({**SMALL, **more, "search": {"samples": samples, "space": space}}, "x"))


def test_the_same_settings_are_trained_once_and_an_exhausted_space_is_said() -> None:
    """Two draws of one setting would be counted as two trials, pairwise equal to the bit."""
    plan = searched({"trainer.optimizer.lr": {"choice": [0.00001, 0.003]}}, samples=8)
    assert sorted(t.trainer.optimizer.lr for t in plan.trials if t.label == "stride") == [0.00001, 0.003]
    assert plan.notes == ("search.space has only 2 settings, not the 8 requested samples",)
    alike = searched({"trainer.optimizer.lr": {"choice": [1, 1.0, 0.5]}, "trainer.epochs": {"randint": [2, 4]}}, 9)
    assert len({t.identity() for t in alike.trials}) == len(alike.trials) == 4 * len(alike.experiment.variants)
    assert searched({"trainer.epochs": {"randint": [1, 10**9]}}, 3).notes == ()


@given(st.integers(1, 6), st.integers(0, 20), st.sampled_from(["finite", "mixed", "wide"]))
def test_more_samples_keep_the_first_ones(fewer: int, seed: int, kind: str) -> None:
    space = {
        "finite": {"trainer.optimizer.lr": {"choice": [0.1, 0.2, 0.3]}, "trainer.epochs": {"randint": [1, 4]}},
        "mixed": {"trainer.optimizer.lr": {"loguniform": [0.1, 1.0]}, "trainer.epochs": {"randint": [1, 4]}},
        "wide": {"trainer.epochs": {"randint": [1, 10**6]}},
    }[kind]

    def identities(samples: int) -> list[str]:
        search = {"samples": samples, "space": space, "seed": seed}
        return [t.identity() for t in make_plan(read_experiment({**SMALL, "search": search}, "x")).trials]

    few, many = identities(fewer), identities(fewer + 3)
    assert many[: len(few)] == few
    assert len(set(many)) == len(many)


values = st.one_of(
    st.floats(1e-9, 1.0), st.booleans(), st.none(), st.text(max_size=40), st.lists(st.integers(), max_size=30)
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["arguments.a", "arguments.b.a", "b.c"]), values), min_size=1, max_size=8)
)
def test_trials_have_names_of_their_own_that_folders_can_bear(drawn: list[dict]) -> None:
    paths = sorted(set().union(*drawn))
    named = labels([{path: sample.get(path) for path in paths} for sample in drawn])
    assert len(set(named)) == len(named)
    for label in named:
        assert re.fullmatch(r"[\w.,=+-]*", label)
        assert len(label.encode()) < 250


def test_short_names_tell_paths_apart() -> None:
    paths = ["trainer.optimizer.lr", "arguments.lr", "arguments.width", "lr"]
    assert list(short_names(paths).values()) == ["optimizer.lr", "arguments.lr", "width", "lr"]


def test_everything_that_cannot_be_searched_is_said_at_once() -> None:
    space = {
        "dataset.name": {"choice": ["cifar10"]},
        "trainer.optimizer": {"choice": [{}]},
        "trainer.optimizer.lr": {"uniform": [-1, 1]},
        "trainer.epochs": {"choice": [1, 2.5]},
        "trainer.batchsize": {"choice": [1]},
    }
    with pytest.raises(ExperimentError) as refused:
        searched(space, 1)
    said = "\n".join(refused.value.problems)
    for words in (
        "dataset.name cannot be searched",
        "trainer.optimizer and trainer.optimizer.lr, part of it",
        "must be greater than 0, not -1.0",
        "epochs: expected an integer, not 2.5",
        "trainer.batchsize: there is no such setting (did you mean trainer.batch_size?)",
    ):
        assert words in said
    assert len(refused.value.problems) == 5


def test_a_plan_never_has_two_trials_of_one_name() -> None:
    plan = make_plan(read_experiment(SMALL, "x"))
    with pytest.raises(ValueError, match="several trials have the same name: stride/seed-0"):
        dataclasses.replace(plan, trials=(plan.trials[0], plan.trials[0]))


def test_two_classes_of_one_name_are_told_what_to_do() -> None:
    for names, hint in ((["a/net.py:Net", "b/net.py:Net"], True), (["stride", "stride"], False)):
        with pytest.raises(ExperimentError, match="listed twice") as refused:
            read_experiment({"name": "x", "variants": names}, "x")
        assert ("name one of them with `as: ...`" in str(refused.value)) is hint
