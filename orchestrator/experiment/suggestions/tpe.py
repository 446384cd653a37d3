"""The tree-structured Parzen estimator of Optuna, as a function: the same observations and seed, the same suggestion.

Bergstra, Bardenet, Bengio and Kegl (2011), "Algorithms for Hyper-Parameter Optimization"; the multivariate form with
constant liar of Optuna. No study outlives a call: what is known is told to a new one each time, in order.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.experiment.distributions import TAIL, multiple, multiples, position, quantile, rounded
from orchestrator.experiment.search_space import Space
from orchestrator.scoped import log_level
from orchestrator.spec import Distribution

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

STARTUP = 8  # settings that are drawn at random before accuracies decide: the number of samples of a random search
_CONSTRAINTS = "constraints"  # where Optuna keeps how far a trial breaks them: above 0 it is infeasible


@dataclass(frozen=True)
class Observation:
    """What is known of one suggestion. Failed ones are ignored; infeasible and running ones are avoided."""

    settings: Mapping[str, Any]
    state: Literal["complete", "pruned", "failed", "running", "infeasible"]
    value: float | None = None  # of a complete one; larger is better
    curve: Mapping[int, float] = field(default_factory=dict)  # of a pruned one: its value by epoch


def suggest(space: Space, observations: Sequence[Observation], seed: int) -> dict[str, Any]:
    """The next settings to try, by path."""
    if not space:
        return {}
    import optuna

    distributions = {path: _to_optuna(space[path]) for path in sorted(space)}
    infeasible = sum(o.state == "infeasible" for o in observations)
    with _silent():
        sampler = optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            constant_liar=True,
            n_startup_trials=STARTUP + infeasible,
            constraints_func=lambda trial: trial.system_attrs[_CONSTRAINTS],
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials([_told(o, space, distributions) for o in observations])
        asked = study.ask(distributions).params
    return {path: _from_optuna(space[path], asked[path]) for path in distributions}


@contextmanager
def _silent() -> Iterator[None]:
    """Without Optuna's line for each study, and its warnings that these arguments may change in later versions."""
    with log_level(logging.ERROR, "optuna"), warnings.catch_warnings(action="ignore"):
        yield


def _told(seen: Observation, space: Space, distributions: "Mapping[str, BaseDistribution]") -> "FrozenTrial":
    from optuna.trial import TrialState, create_trial

    states = {
        "complete": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "failed": TrialState.FAIL,
        "running": TrialState.RUNNING,
        "infeasible": TrialState.COMPLETE,
    }
    value = 0.0 if seen.state == "infeasible" else seen.value  # which nothing looks at
    return create_trial(
        state=states[seen.state],
        value=value,
        params={path: _parameter(space[path], seen.settings[path]) for path in distributions},
        distributions=dict(distributions),
        intermediate_values=dict(seen.curve),
        system_attrs={_CONSTRAINTS: (1.0 if seen.state == "infeasible" else 0.0,)},
    )


def _to_optuna(distribution: Distribution) -> "BaseDistribution":
    """Choices by their index and multiples by their factor; a normal distribution by its quantiles."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if distribution.choice is not None:
        return CategoricalDistribution(range(len(distribution.choice)))
    if distribution.normal is not None:
        return FloatDistribution(TAIL, 1 - TAIL)
    if distribution.quniform is not None or distribution.qrandint is not None:
        steps = multiples(distribution)
        return IntDistribution(steps[0], steps[-1])
    low, high, *_ = distribution.numbers
    if distribution.randint is not None or distribution.lograndint is not None:
        return IntDistribution(int(low), int(high) - 1, log=distribution.lograndint is not None)
    return FloatDistribution(low, high, log=distribution.uniform is None)


def _from_optuna(distribution: Distribution, asked: Any) -> Any:
    if distribution.choice is not None:
        return distribution.choice[asked]
    if distribution.normal is not None:
        return quantile(distribution, asked)
    if distribution.quniform is not None or distribution.qrandint is not None:
        return multiple(distribution, asked)
    return rounded(distribution, asked) if distribution.qloguniform is not None else asked


def _parameter(distribution: Distribution, value: Any) -> Any:
    """The inverse of :func:`_from_optuna`, by the value alone: the same before and after a restart."""
    if distribution.choice is not None:
        return position(distribution, value)
    if distribution.normal is not None:
        mean, sd = distribution.normal
        return min(max(NormalDist(mean, sd).cdf(value), TAIL), 1 - TAIL)
    if distribution.quniform is not None or distribution.qrandint is not None:
        return round(value / distribution.numbers[2])
    if distribution.qloguniform is not None:  # the outermost multiples may lie beyond the ends by rounding
        return min(max(value, distribution.numbers[0]), distribution.numbers[1])
    return value
