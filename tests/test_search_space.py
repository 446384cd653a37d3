"""Search spaces: Ray Tune's distributions, grids, points, settings of some variants only, names that stay."""

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from driving import orchestrator
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE
from ray import tune
from scipy.stats import ks_2samp

from orchestrator.contract import ContractCheck
from orchestrator.errors import ExperimentError
from orchestrator.experiment.distributions import admitted, draw, extremes, values
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.experiment.search_space import labels, sample_settings
from orchestrator.spec import Distribution, Plan, TrialSpec

LR, EPOCHS, WIDTH = "trainer.optimizer.lr", "trainer.epochs", "arguments.width"
DRAWS = 2_000


def plan(search: dict[str, Any], broken: Any = lambda _: (), **more: Any) -> Plan:
    tree = {"name": "x", "variants": ["stride", "grouped_concat"], **more, "search": search}
    return make_plan(read_experiment(tree, "x"), broken=broken)


def refused(search: dict[str, Any], **more: Any) -> str:
    with pytest.raises(ExperimentError) as found:
        plan(search, **more)
    return "\n".join(found.value.problems)


def too_wide(spec: TrialSpec) -> list[ContractCheck]:
    width = spec.arguments.get("width", 0)
    return [] if width < 1 else [ContractCheck("max_parameters", 100, int(100 * width), False)]


KINDS = [
    ({"uniform": (0.1, 0.7)}, tune.uniform(0.1, 0.7)),
    ({"loguniform": (1e-4, 0.5)}, tune.loguniform(1e-4, 0.5)),
    ({"quniform": (0.2, 1.0, 0.2)}, tune.quniform(0.2, 1.0, 0.2)),
    ({"quniform": (-0.3, 0.3, 0.1)}, tune.quniform(-0.3, 0.3, 0.1)),
    ({"qloguniform": (0.05, 2.0, 0.05)}, tune.qloguniform(0.05, 2.0, 0.05)),
    ({"randint": (2, 9)}, tune.randint(2, 9)),
    ({"lograndint": (1, 40)}, tune.lograndint(1, 40)),
    ({"qrandint": (8, 64, 8)}, tune.qrandint(8, 64, 8)),
    ({"qrandint": (3, 20, 5)}, tune.qrandint(3, 20, 5)),
    ({"normal": (0.5, 0.1)}, tune.randn(0.5, 0.1)),
    ({"choice": (1, 2, 4)}, tune.choice([1, 2, 4])),
]


@pytest.mark.parametrize(("ours", "theirs"), KINDS, ids=lambda kind: str(kind) if isinstance(kind, dict) else "")
def test_a_distribution_is_that_of_ray_tune(ours: dict[str, Any], theirs: Any) -> None:
    """The same law, bounds and steps; what is checked before the start is what can be drawn at the ends."""
    distribution = Distribution(**ours)
    stream = random.Random(1)
    mine = [draw(distribution, stream) for _ in range(DRAWS)]
    expected = [theirs.sample(random_state=np.random.default_rng(i)) for i in range(DRAWS)]
    assert type(mine[0]) is type(expected[0])
    assert ks_2samp(np.round(mine, 9), np.round(expected, 9)).pvalue > 0.001
    assert all(admitted(distribution, value) == value for value in mine)
    low, high = min(extremes(distribution)), max(extremes(distribution))
    assert low <= min(mine) <= max(mine) <= high
    if (every := values(distribution)) is not None:
        assert {value for value, _ in every} >= set(mine)
        assert {*np.round(mine, 9)} == {*np.round(expected, 9)}
        total = sum(weight for _, weight in every)
        for value, weight in every:
            assert mine.count(value) / DRAWS == pytest.approx(weight / total, abs=0.04)


@pytest.mark.parametrize(
    ("distribution", "words"),
    [
        ({}, "give exactly one of"),
        ({"uniform": (0, 1), "choice": (1,)}, "give exactly one of"),
        ({"uniform": (1, 1)}, "lower end must be below"),
        ({"lograndint": (0, 5)}, "greater than 0"),
        ({"qloguniform": (0.0, 5.0, 1.0)}, "greater than 0"),
        ({"quniform": (0.1, 0.5, 0.2)}, "0.1 is no multiple of 0.2"),
        ({"quniform": (0.0, 0.5, 0.0)}, "q must be greater than 0"),
        ({"qrandint": (5, 7, 4)}, "no multiple of 4 lies between 5 and 7"),
        ({"qrandint": (1, 5, 1)}, r"randint: \[low, high \+ 1\]"),
        ({"normal": (0.0, 0.0)}, "standard deviation must be greater than 0"),
        ({"choice": ()}, "at least one value"),
        ({"choice": (1,), "variants": ()}, "needs at least one"),
    ],
)
def test_a_distribution_that_cannot_be_is_refused(distribution: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Distribution(**distribution)


def test_random_draws_stay_what_they_were() -> None:
    """Launches of earlier versions are resumed by their draws."""
    wide = {LR: Distribution(loguniform=(0.001, 0.5)), EPOCHS: Distribution(randint=(1, 10))}
    few = {LR: Distribution(choice=(0.1, 0.2, 0.3)), EPOCHS: Distribution(randint=(1, 3))}
    stream = sample_settings(wide, 0)
    assert [next(stream) for _ in range(2)] == [
        {EPOCHS: 7, LR: 0.1110954310066822},
        {EPOCHS: 7, LR: 0.0012860744855877685},
    ]
    drawn = [(1, 0.1), (1, 0.3), (2, 0.1), (2, 0.3), (2, 0.2), (1, 0.2)]
    assert list(sample_settings(few, 3)) == [{EPOCHS: epochs, LR: lr} for epochs, lr in drawn]


@pytest.mark.parametrize(
    "kind", [{"lograndint": (1, 9)}, {"qloguniform": (1.0, 8.0, 1.0)}, {"quniform": (0.0, 2.0, 0.5)}]
)
def test_a_small_space_is_drawn_without_repeats_and_by_its_weights(kind: dict[str, Any]) -> None:
    distribution = Distribution(**kind)
    every = dict(values(distribution) or ())
    first: Counter[float] = Counter()
    for seed in range(DRAWS):
        drawn = [sample[LR] for sample in sample_settings({LR: distribution}, seed)]
        assert sorted(drawn) == sorted(every)
        first[drawn[0]] += 1
    for value, weight in every.items():
        assert first[value] / DRAWS == pytest.approx(weight / sum(every.values()), abs=0.04)


SAMPLES = st.lists(
    st.fixed_dictionaries({LR: st.sampled_from([0.1, 0.10001, 0.1000001, 0.2]), WIDTH: st.text(max_size=90)}),
    max_size=8,
)


@given(SAMPLES, st.integers(0, 8))
def test_a_sample_is_named_by_what_came_before_it(samples: list[dict[str, Any]], count: int) -> None:
    assert labels(samples)[:count] == labels(samples[:count])
    assert len(set(labels(samples))) == len(samples)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 6), st.sampled_from(["shared", "variant"]), st.integers(0, 5))
def test_more_samples_keep_the_trials_and_their_names(fewer: int, per: str, seed: int) -> None:
    space = {LR: {"quniform": [0.2, 1.0, 0.2]}, WIDTH: {"choice": [0.5, 0.75], "variants": ["stride"]}}

    def trials(samples: int) -> list[tuple[str, str]]:
        found = plan({"space": space, "per": per, "samples": samples, "seed": seed}).trials
        return [(trial.name, trial.identity()) for trial in found]

    assert set(trials(fewer)) < set(trials(fewer + 2))


def test_a_grid_is_every_combination_in_order() -> None:
    space = {EPOCHS: {"qrandint": [2, 4, 2]}, LR: {"quniform": [0.1, 0.3, 0.1]}, WIDTH: {"choice": [0.5]}}
    found = plan({"name": "grid", "space": space}, variants=["stride"])
    every = [(epochs, lr) for epochs in (2, 4) for lr in (0.1, 0.2, 0.3)]
    assert [(t.trainer.epochs, t.trainer.optimizer.lr) for t in found.trials] == every
    assert [t.sample for t in found.trials] == list(range(6))
    first = plan({"name": "grid", "space": space, "samples": 4}, variants=["stride"])
    assert first.trials == found.trials[:4]
    assert found.notes == first.notes == ()
    more = plan({"name": "grid", "space": space, "samples": 9}, variants=["stride"])
    assert more.notes == ("search.space has only 6 settings, not the 9 requested samples",)


def test_a_grid_leaves_out_what_breaks_the_contract() -> None:
    space = {WIDTH: {"choice": [*range(1, 100), 0.5]}}
    found = plan({"name": "grid", "space": space}, broken=too_wide)
    assert [t.arguments["width"] for t in found.trials] == [0.5, 0.5]
    assert found.rejected_samples == 99
    assert found.notes == ("search.space has only 1 setting that meets the contract",)


def test_a_grid_without_an_end_is_refused_by_name() -> None:
    space = {LR: {"uniform": [0.1, 0.2]}, "trainer.l2": {"normal": [1, 0.01]}, EPOCHS: {"randint": [1, 10**8]}}
    said = refused({"name": "grid", "space": space})
    assert f"{LR}: uniform has no list of values for a grid" in said
    assert "trainer.l2: normal has no list" in said
    assert f"{EPOCHS}: more than 10,000 values" in said
    large = {LR: {"quniform": [0.001, 1, 0.001]}, EPOCHS: {"randint": [1, 1000]}}
    assert "a grid of 999,000 settings; search.samples" in refused({"name": "grid", "space": large})
    assert len(plan({"name": "grid", "space": large, "samples": 3}).trials) == 6


def test_each_variant_can_have_draws_of_its_own() -> None:
    search = {"space": {WIDTH: {"uniform": [0.1, 1.5]}}, "per": "variant", "samples": 5}

    def only_stride(spec: TrialSpec) -> list[ContractCheck]:
        return too_wide(spec) if spec.label == "stride" else []

    found = plan(search, broken=only_stride, seeds=[0, 1])
    ours, theirs = (
        {t.sample: t.settings[WIDTH] for t in found.trials if t.label == label}
        for label in ("stride", "grouped_concat")
    )
    assert list(ours) == list(theirs) == list(range(5))
    assert not set(ours.values()) & set(theirs.values())
    assert found.rejected_samples > 0
    assert max(ours.values()) < 1
    alone = plan(search, variants=["grouped_concat"], seeds=[0, 1])
    assert alone.trials == tuple(t for t in found.trials if t.label == "grouped_concat")
    assert [(t.sample, t.seed) for t in found.trials] == [(k, s) for k in range(5) for s in (0, 1) for _ in "ab"]


def test_a_setting_of_some_variants_only() -> None:
    space = {LR: {"choice": [0.1, 0.2]}, WIDTH: {"choice": [0.5, 0.75, 1.0], "variants": ["stride"]}}
    found = plan({"space": space, "samples": 6})
    mine = {label: [t for t in found.trials if t.label == label] for label in ("stride", "grouped_concat")}
    assert [set(t.settings) for t in mine["stride"]] == [{LR, WIDTH}] * 6
    assert [(t.settings, t.arguments) for t in mine["grouped_concat"]] == [
        ({LR: lr}, {}) for lr in dict.fromkeys(t.settings[LR] for t in mine["stride"])
    ]  # once each: the same settings are not trained twice
    assert found.notes == ("not every variant has all searched settings: grouped_concat with 2 of 6 different ones",)
    assert len({t.name for t in found.trials}) == len(found.trials)
    own = plan({"space": space, "samples": 4, "per": "variant"})
    assert Counter(t.label for t in own.trials) == {"stride": 4, "grouped_concat": 2}
    assert own.notes == ("search.space has only 2 settings of grouped_concat, not the 4 requested samples",)


def test_a_variant_that_is_none_is_named() -> None:
    said = refused({"space": {WIDTH: {"choice": [1], "variants": ["strid"]}}})
    assert f"search.space.{WIDTH}.variants: 'strid' is none of the variants (did you mean stride?)" in said


def test_values_are_checked_for_every_variant_concerned() -> None:
    variants = [
        {"name": "stride", "arguments": {"blocks": [1, 2]}},
        {"name": "grouped_concat", "arguments": {"blocks": [1]}},
    ]
    path = "arguments.blocks.1"
    said = refused({"space": {path: {"choice": [3]}}}, variants=variants)
    assert said == f"search.space: {path}: 1 is not an index of a list of 1 (grouped_concat)"
    found = plan({"space": {path: {"choice": [3], "variants": ["stride"]}}}, variants=variants)
    assert [t.arguments["blocks"] for t in found.trials] == [[1, 3], [1]]
    assert "must be greater than 0, not -0." in refused({"space": {LR: {"normal": [0.1, 0.05]}}})


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_points_come_first_and_change_no_draw(name: str) -> None:
    space = {LR: {"loguniform": [0.01, 1]}, WIDTH: {"uniform": [0.5, 1]}}
    search = {"name": name, "space": space, "samples": 4, **({"concurrency": 4} if name == "tpe" else {})}
    points = [{LR: 1, WIDTH: 0.75}, {WIDTH: 0.5}]
    found = plan({**search, "points": points}, variants=["stride"]).trials
    assert found[0].settings == {LR: 1.0, WIDTH: 0.75}
    assert found[1].settings[WIDTH] == 0.5
    assert len({t.settings[LR] for t in found}) == 4
    again = plan({**search, "points": points[:1]}, variants=["stride"]).trials
    assert again[0].settings == found[0].settings
    if name == "random":
        drawn = [t.settings for t in plan(search, variants=["stride"]).trials]
        assert [t.settings for t in found[2:]] == drawn[:2]


def test_points_that_cannot_be_are_refused() -> None:
    space = {LR: {"quniform": [0.1, 0.5, 0.1]}, EPOCHS: {"randint": [1, 5]}, "trainer.l1": {"choice": [0.0, 0.5]}}
    points = [{LR: 0.6}, {LR: 0.25}, {EPOCHS: 5}, {EPOCHS: 2.0}, {"trainer.epoch": 2}, {"trainer.l1": 1}, {LR: "a"}]
    said = refused({"space": space, "points": points})
    for words in (
        f"search.points.0: {LR}: 0.6 is not between 0.1 and 0.5: a point must lie within the search space",
        "0.25 is no multiple of 0.1",
        "5 is not between 1 and 4",
        "2.0 is not an integer",
        "trainer.epoch is not searched (did you mean trainer.epochs?)",
        "1 is none of 0.0, 0.5",
        "'a' is not a number",
    ):
        assert words in said
    assert admitted(Distribution(choice=(True, 1, [1, 2])), 1) == 1
    assert admitted(Distribution(choice=(True, 1, [1, 2])), 1) is not True
    assert admitted(Distribution(choice=(1.0,)), 1) == 1.0
    for search, words in (
        ({"points": [{LR: 0.2}] * 3, "samples": 2}, "points: 3 are more than samples, 2"),
        ({"points": [{}]}, "points.0: needs at least one setting"),
        ({"name": "grid", "points": [{LR: 0.2}]}, "points: not for grid"),
        ({"concurrency": 2}, "concurrency: only for tpe"),
        ({"name": "grid", "concurrency": 2}, "concurrency: only for tpe"),
    ):
        assert words in refused({"space": space, **search})


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_point_that_breaks_the_contract_is_named(name: str) -> None:
    search = {"name": name, "space": {WIDTH: {"uniform": [0.5, 2]}, LR: {"choice": [0.1, 0.2]}}, "samples": 6}
    for point, words in (
        ({WIDTH: 1.5, LR: 0.1}, "search.points.0 breaks the"),
        ({WIDTH: 1.5}, "search.points.0: 2 draws"),
    ):
        with pytest.raises(ExperimentError, match=words) as said:
            plan({**search, "points": [point]}, broken=too_wide)
        assert "parameters must be at most 100 and is 150" in str(said.value)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"num_samples": 3}, "num_samples: here it is search.samples"),
        ({"run_cap": 3}, "run_cap: here it is search.samples"),
        ({"method": "bayes"}, "method: here it is search.name"),
        ({"early_terminate": {}}, "early_terminate: here it is scheduler"),
        ({"search": {"parameters": {}}}, "search.parameters: here it is search.space"),
        ({"search": {"n_trials": 3}}, "search.n_trials: here it is search.samples"),
        ({"search": {"points_to_evaluate": []}}, "search.points_to_evaluate: here it is search.points"),
        ({"search": {"name": "bayes"}}, "search.name: 'bayes': here it is tpe"),
        ({"search": {"name": "TPESampler"}}, "here it is tpe"),
        ({"search": {"name": "BasicVariantGenerator"}}, "here it is random or grid"),
        ({"scheduler": {"name": "ASHAScheduler"}}, "scheduler.name: 'ASHAScheduler': here it is asha"),
        ({"scheduler": {"name": "async_hyperband"}}, "here it is asha"),
        ({"search": {"space": {LR: {"q_uniform": [0, 1, 1]}}}}, "q_uniform: here it is quniform"),
        ({"search": {"space": {LR: {"distribution": "log_uniform_values"}}}}, "a key of its own: loguniform"),
    ],
)
def test_words_of_other_tools_are_understood(tree: dict[str, Any], words: str) -> None:
    with pytest.raises(ExperimentError) as found:
        read_experiment({"name": "x", "variants": ["stride"], **tree}, "x")
    assert any(words in problem for problem in found.value.problems)


def test_words_of_other_tools_are_no_surprise_elsewhere() -> None:
    with pytest.raises(ExperimentError, match=r"trainer\.method: unknown key"):
        read_experiment({"name": "x", "variants": ["stride"], "trainer": {"method": 1}}, "x")


MOMENTUM, NESTEROV = "trainer.optimizer.momentum", "trainer.optimizer.nesterov"
TOGETHER = {MOMENTUM: {"choice": [0.0, 0.9]}, NESTEROV: {"choice": [True, False]}}


@pytest.mark.parametrize("name", ["random", "grid", "tpe"])
@pytest.mark.parametrize("per", ["shared", "variant"])
def test_settings_that_are_invalid_together_are_replaced_or_left_out_and_that_is_said(name: str, per: str) -> None:
    found = plan({"name": name, "space": TOGETHER, "per": per, **({} if name == "grid" else {"samples": 4})})
    trained = [(trial.label, trial.settings[MOMENTUM], trial.settings[NESTEROV]) for trial in found.trials]
    valid = [(0.0, False), (0.9, False), (0.9, True)]
    assert sorted(trained) == [(label, *both) for label in ("grouped_concat", "stride") for both in valid]
    assert found.rejected_samples == (1 if per == "shared" else 2)
    what = "left out" if name == "grid" else "replaced"
    said = f"search.space: settings that are invalid together are {what}: trainer.optimizer: nesterov needs momentum"
    assert sum(note.startswith(said) for note in found.notes) == 1


@pytest.mark.parametrize("name", ["random", "grid", "tpe"])
def test_a_search_of_which_nothing_is_valid_is_refused_in_words(name: str) -> None:
    space = {MOMENTUM: {"choice": [0.0]}, NESTEROV: {"choice": [True]}}
    said = refused({"name": name, "space": space})
    assert "search.space: 1 draw in a row gave nothing valid; change the search space" in said
    assert "stride: trainer.optimizer: nesterov needs momentum" in said
    if name != "grid":
        points = [{MOMENTUM: 0.0, NESTEROV: True}]
        assert "search.points.0 is not valid" in refused({"name": name, "space": TOGETHER, "points": points})


@pytest.mark.parametrize(
    "distribution",
    [
        {"quniform": [0, float("inf"), 0.5]}, {"quniform": [0, 1, float("nan")]}, {"quniform": [0, 1e308, 1e-10]},
        {"qloguniform": [0.1, float("inf"), 0.1]}, {"normal": [0, float("inf")]}, {"uniform": [0, float("inf")]},
    ],
    ids=str,
)  # fmt: skip
def test_numbers_without_end_are_refused_in_words(distribution: dict[str, Any]) -> None:
    said = refused({"space": {"arguments.x": distribution}})
    assert "must be finite" in said or "too small" in said


def test_a_random_search_needs_no_optuna() -> None:
    code = (
        "import sys; from orchestrator.experiment.plan import make_plan; from orchestrator.experiment.reader import *; "
        f"make_plan(read_experiment({{'name': 'x', 'variants': ['stride'], 'search': {{'space': {{{LR!r}: "
        "{'uniform': [0.1, 1]}}}}, 'x')); sys.exit('optuna' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE).returncode == 0


def test_validate_shows_what_each_variant_gets(tmp_path: Path) -> None:
    space = {LR: {"uniform": [0.1, 0.2]}, "arguments.dropout": {"choice": [0.0, 0.1], "variants": ["stride"]}}
    tree = {"name": "x", "variants": ["stride", "grouped_concat"], "dataset": {"name": "digits"}}
    search = {"name": "tpe", "per": "variant", "samples": 6, "concurrency": 2, "space": space}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({**tree, "search": search}))
    printed = orchestrator("validate", "x.yaml", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    assert "Settings drawn; the others are suggested as trials end" in printed.stdout
    rows = [line.split() for line in printed.stdout.partition("Settings drawn")[2].splitlines()]
    assert [(row[0], len(row)) for row in rows if row and row[0] in tree["variants"]] == [
        ("stride", 3),
        ("grouped_concat", 2),
        ("stride", 3),
        ("grouped_concat", 2),
    ]
