"""The stop rules: Ray's own are their oracles, a decision is made once and for ever, and a restart changes none."""

import random
import statistics
from collections import Counter, defaultdict
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import decided, rule_of, simulate

from orchestrator.records import EPOCH, VAL_ACCURACY
from orchestrator.scheduling.decisions import stopped
from orchestrator.scheduling.stop_rules import competitors, judged_epochs, stop_rule
from orchestrator.scheduling.stop_rules.halving import Halving, bracket_shares, ladders, quantile
from orchestrator.spec import Scheduler

Results = list[tuple[str, int, float]]
VALUES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.77, 0.8, 1.0]) | st.floats(0, 1)
EXACT = st.integers(0, 64).map(lambda count: count / 64)  # no sum of them is rounded
RULES = ("asha", "hyperband", "median")


@st.composite
def launches(
    draw: st.DrawFn, rules: tuple[str, ...] = RULES, variants: int = 2, values: st.SearchStrategy[float] = VALUES
) -> tuple[Scheduler, int, Results]:
    """Settings, epochs, and results of some trials in any order; some epochs of a trial may never be told."""
    settings = Scheduler(
        name=draw(st.sampled_from(rules)),
        grace_period=draw(st.integers(1, 6)),
        reduction_factor=draw(st.sampled_from([2, 3, 4, 5])),
        brackets=draw(st.integers(1, 4)),
        min_samples=draw(st.integers(1, 4)),
    )
    epochs = draw(st.integers(1, 30))
    count = draw(st.integers(1, 8))
    names = [f"{'ab'[i % variants]}/seed-0/lr={i}" for i in range(count)]
    turns = draw(st.lists(st.tuples(st.sampled_from(names), st.integers(1, 3), values), max_size=80))
    at: Counter[str] = Counter()
    results = []
    for name, ahead, value in turns:
        at[name] += ahead
        if at[name] < epochs:  # Tune does not ask about the last epoch
            results.append((name, at[name], value))
    return settings, epochs, results


class RaysTrial:
    """A trial as Ray's schedulers know it."""

    def __init__(self, name: str) -> None:
        self.trial_id = name


def agree(ours: Any, theirs: Any, results: Results) -> None:
    """Tell both rules everything, as Tune would: nothing more of a trial that has been stopped."""
    trials = {name: RaysTrial(name) for name, _, _ in results}
    tune: Any = SimpleNamespace(get_live_trials=list)
    ended = set()
    for name, epoch, value in results:
        if name not in ended:
            said = theirs.on_trial_result(tune, trials[name], {EPOCH: epoch, VAL_ACCURACY: value})
            stop, _ = ours.judge(name, epoch, value)
            assert stop == (said == "STOP"), (name, epoch)
            if stop:
                ended.add(name)


def rays_halving(settings: Scheduler, epochs: int, brackets: int) -> Any:
    from ray.tune.schedulers import ASHAScheduler

    return ASHAScheduler(
        time_attr=EPOCH, metric=VAL_ACCURACY, mode="max", max_t=epochs, stop_last_trials=False,
        grace_period=min(settings.grace_period, epochs), reduction_factor=settings.reduction_factor, brackets=brackets,
    )  # fmt: skip


@given(launches(("asha",), variants=1))
def test_asha_is_rays(launch: tuple[Scheduler, int, Results]) -> None:
    settings, epochs, results = launch
    theirs = rays_halving(settings, epochs, brackets=1)
    for name in {name for name, _, _ in results}:
        theirs.on_trial_add(None, SimpleNamespace(trial_id=name))
    agree(rule_of(settings, epochs), theirs, results)


@given(launches(("hyperband",), variants=1))
def test_hyperband_is_rays_where_ray_draws_the_same_brackets(launch: tuple[Scheduler, int, Results]) -> None:
    settings, epochs, results = launch
    ours = Halving(settings, epochs)
    count = len(ladders(settings, epochs))
    theirs = rays_halving(settings, epochs, count)
    for name in {name for name, _, _ in results}:
        theirs._trial_info[name] = theirs._brackets[ours._bracket(name)]
    agree(ours, theirs, results)


@given(launches(("median",), variants=1, values=EXACT))
def test_the_median_rule_is_rays(launch: tuple[Scheduler, int, Results]) -> None:
    from ray.tune.schedulers import MedianStoppingRule

    settings, epochs, results = launch
    theirs = MedianStoppingRule(
        time_attr=EPOCH, metric=VAL_ACCURACY, mode="max", grace_period=settings.grace_period,
        min_samples_required=settings.min_samples,
    )  # fmt: skip
    agree(rule_of(settings, epochs), theirs, results)


@given(st.lists(VALUES, min_size=1, max_size=40), st.sampled_from([2, 3, 4, 5, 7]))
def test_the_quantile_is_numpys_to_the_bit(values: list[float], factor: int) -> None:
    assert quantile(sorted(values), 1 - 1 / factor) == np.percentile(values, (1 - 1 / factor) * 100)


@given(launches(("median",), values=EXACT))
def test_the_median_rule_is_its_definition(launch: tuple[Scheduler, int, Results]) -> None:
    """Exact arithmetic, over everything that has been told, with no state."""
    settings, epochs, results = launch
    rule, told, ended = rule_of(settings, epochs), defaultdict[str, dict[int, Fraction]](dict), set()
    for name, epoch, value in results:
        if name in ended:
            continue
        told[name][epoch] = Fraction(value)
        means = []
        for other, known in told.items():
            since = [v for e, v in known.items() if settings.grace_period <= e <= epoch]
            if other != name and other[0] == name[0] and since and max(known) >= epoch:
                means.append(sum(since) / len(since))
        enough = epoch >= settings.grace_period and len(means) >= settings.min_samples
        expected = enough and float(max(told[name].values())) < statistics.median(map(float, means))
        assert rule.judge(name, epoch, value)[0] == expected
        if expected:
            ended.add(name)


@pytest.mark.parametrize("name", RULES)
def test_equal_trials_do_not_stop_one_another(name: str) -> None:
    rule = rule_of(Scheduler(name=name), 30)
    for epoch in range(1, 30):
        for trial in range(9):
            assert not rule.judge(f"a/seed-{trial}", epoch, 0.1)[0]


@given(launches())
def test_each_variant_is_judged_as_if_it_were_alone(launch: tuple[Scheduler, int, Results]) -> None:
    settings, epochs, results = launch
    together = decided(settings, epochs, results)
    for variant in "ab":
        alone = [result for result in results if competitors(result[0]) == variant]
        assert decided(settings, epochs, alone) == [d for d in together if competitors(d.name) == variant]


@given(launches(), st.randoms(use_true_random=False))
def test_a_decision_stands_whoever_asks_how_often(
    launch: tuple[Scheduler, int, Results], stream: random.Random
) -> None:
    settings, epochs, results = launch
    undisturbed = decided(settings, epochs, results)
    rule, log = rule_of(settings, epochs), []
    answers: dict[tuple[str, int], bool] = {}
    for name, epoch, value in results:
        before = [result for result in results if result[0] == name and result[1] <= epoch]
        lost = stream.choice([[], before[-2:], before[:1]])  # a worker was lost: these epochs are trained again
        for again, (_, at, accuracy) in enumerate([(name, epoch, value), *lost]):
            stop, decision = rule.judge(name, at, accuracy)
            assert stop == answers.setdefault((name, at), stop)
            assert decision is None or again == 0
            log += [decision] if decision else []
        if stream.random() < 0.2:  # the driver was lost
            rule = rule_of(settings, epochs, log)
    assert log == undisturbed
    for name, ended in stopped(log).items():
        assert rule.judge(name, ended, 1.0)[0]
        assert rule.judge(name, ended + 1, 1.0)[0]


@given(launches(), st.data())
def test_who_ended_by_itself_is_counted_once_and_as_one_that_went_on(
    launch: tuple[Scheduler, int, Results], data: st.DataObject
) -> None:
    settings, epochs, results = launch
    rule, log = rule_of(settings, epochs), []
    for result in results:
        by_itself = data.draw(st.booleans())
        decision = rule.count(*result) if by_itself else rule.judge(*result)[1]
        assert rule.count(*result) is None
        if decision is not None:
            assert not (by_itself and decision.stopped)
            log.append(decision)
    again = rule_of(settings, epochs, log)
    for trial in range(3):
        news = (f"a/seed-0/new={trial}", max(1, epochs - 1), data.draw(VALUES))
        assert rule.judge(*news) == again.judge(*news)


@given(launches())
def test_nobody_is_stopped_but_at_a_judged_epoch_or_at_the_first_result_after_it(
    launch: tuple[Scheduler, int, Results],
) -> None:
    settings, epochs, results = launch
    judged = judged_epochs(settings, epochs)
    assert judged == sorted(set(judged) & set(range(settings.grace_period, epochs)))
    every = [(name, epoch, value) for name, epoch, value in results if epoch in judged]
    for decision in decided(settings, epochs, every):
        assert decision.epoch in judged
    for decision in decided(settings, epochs, results):
        assert decision.epoch < epochs
        assert not decision.stopped or any(epoch <= decision.epoch for epoch in judged)


def test_fifo_has_no_rule() -> None:
    assert stop_rule(Scheduler(), 10) is None
    assert judged_epochs(Scheduler(), 10) == []


@pytest.mark.parametrize(("epochs", "brackets"), [(9, 1), (9, 3), (81, 3), (81, 5), (2, 3)])
def test_brackets_get_hyperbands_shares_at_equal_cost_and_every_variant_the_same(epochs: int, brackets: int) -> None:
    settings = Scheduler(name="hyperband", brackets=brackets)
    shares, rule = bracket_shares(settings, epochs), Halving(settings, epochs)
    assert sum(shares) == pytest.approx(1)
    assert len(shares) == min(brackets, len(judged_epochs(settings, epochs)) + 1)
    labels = [f"lr={draw / 7:.4g}" for draw in range(4_000)]
    found = Counter(rule._bracket(f"a/seed-0/{label}") for label in labels)
    for bracket, share in enumerate(shares):
        assert found[bracket] / len(labels) == pytest.approx(share, abs=4 * (share * (1 - share) / 4_000) ** 0.5 + 1e-9)
    for label in labels[:50]:
        assert len({rule._bracket(f"{v}/seed-{s}/{label}") for v in "ab" for s in (0, 1)}) == 1
    # A trial of a bracket with k rungs is expected to train about (k + 1) / factor^k of its epochs.
    costs = [
        share * sum(3**-(place) * step for place, step in enumerate(np.diff([0, *rungs, epochs]))) / epochs
        for share, rungs in zip(shares, ladders(settings, epochs), strict=True)
    ]
    assert max(costs) < 1.6 * min(costs)


def test_in_a_search_most_of_the_work_is_saved_and_the_best_is_kept() -> None:
    """200 configurations whose curves rise to an asymptote, 20 at a time: what each rule trains, and how good it is."""
    stream, epochs = random.Random(5), 27
    names = [f"net/seed-0/lr={i}" for i in range(200)]
    ends = {name: stream.uniform(0.2, 0.9) for name in names}
    curves = {n: [ends[n] * (1 - 0.7**e) + stream.gauss(0, 0.005) for e in range(1, epochs + 1)] for n in names}
    seconds = {name: stream.uniform(1, 2) for name in names}
    for name, most in (("asha", 0.35), ("hyperband", 0.6), ("median", 0.75)):
        settings = Scheduler(name=name)
        results = simulate(rule_of(settings, epochs), curves, seconds, slots=20)
        assert len(results) < most * len(names) * epochs, name
        finished = [trial for trial, epoch, _ in results if epoch == epochs]
        best = max(ends[trial] for trial in finished)
        assert best >= sorted(ends.values())[-6], name
