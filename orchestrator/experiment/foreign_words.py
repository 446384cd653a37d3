"""What the words of Ray Tune, Optuna and W&B sweeps are called in an experiment file, for its errors."""

from collections.abc import Sequence

_JUDGED = "nothing: trials are judged by validation accuracy"
_ENDS = "the list of a distribution, such as uniform: [low, high]"
KEYS = {
    # W&B
    "method": "search.name",
    "parameters": "search.space",
    "early_terminate": "scheduler",
    "type": "name",
    "min_iter": "grace_period",
    "max_iter": "trainer.epochs",
    "eta": "reduction_factor",
    "run_cap": "search.samples",
    "values": "choice",
    "min": _ENDS,
    "max": _ENDS,
    "q_uniform": "quniform",
    "log_uniform_values": "loguniform",
    "q_log_uniform_values": "qloguniform",
    "int_uniform": "randint, whose upper end is not drawn",
    "categorical": "choice",
    "distribution": "a key of its own, such as uniform: [low, high]",
    # Ray Tune
    "num_samples": "search.samples",
    "points_to_evaluate": "search.points",
    "param_space": "search.space",
    "search_alg": "search.name",
    "max_concurrent": "search.concurrency for tpe, else resources.max_concurrent_trials",
    "max_concurrent_trials": "resources.max_concurrent_trials",
    "grid_search": "choice, with search.name: grid",
    "randn": "normal",
    "max_t": "trainer.epochs",
    "time_attr": "nothing: schedulers count epochs",
    # Optuna
    "n_trials": "search.samples",
    "enqueue_trial": "search.points",
    "suggest_float": "uniform, or loguniform",
    "suggest_int": "randint, whose upper end is not drawn",
    "suggest_categorical": "choice",
    "log": "a distribution of its own: loguniform, qloguniform or lograndint",
    "n_jobs": "search.concurrency for tpe, else resources.max_concurrent_trials",
    "sampler": "search.name",
    "pruner": "scheduler",
    "search_space": "search.space",
    # all of them
    "metric": _JUDGED,
    "mode": _JUDGED,
    "goal": _JUDGED,
    "direction": _JUDGED,
}
NAMES = {
    "search": {
        "bayes": "tpe",
        "optuna": "tpe",
        "OptunaSearch": "tpe",
        "hyperopt": "tpe",
        "HyperOptSearch": "tpe",
        "TPESampler": "tpe",
        "BasicVariantGenerator": "random or grid",
        "variant_generator": "random or grid",
        "RandomSampler": "random",
        "GridSampler": "grid",
    },
    "scheduler": {
        "async_hyperband": "asha",
        "asynchyperband": "asha",
        "AsyncHyperBandScheduler": "asha",
        "ASHAScheduler": "asha",
        "SuccessiveHalvingPruner": "asha",
        "HyperBandScheduler": "hyperband",
        "HyperbandPruner": "hyperband",
        "MedianStoppingRule": "median",
        "MedianPruner": "median",
        "FIFOScheduler": "fifo",
        "NopPruner": "fifo",
    },
}


def ours_of_key(place: Sequence[str], key: str, value: object) -> str | None:
    """What to write for the unknown ``key`` of the mapping at ``place``; None if it is no such word."""
    if place and place[0] not in NAMES:
        return None
    if key == "distribution" and isinstance(value, str):
        return f"a key of its own: {KEYS.get(value, value)}"
    return KEYS.get(key)


def ours_of_value(place: Sequence[str], value: object) -> str | None:
    """What to write for the name of a search or a scheduler at ``place``; None if it is no such word."""
    known = NAMES.get(place[0], {}) if list(place[1:]) == ["name"] else {}
    same = {word.lower(): ours for word, ours in known.items()}
    return same.get(value.lower()) if isinstance(value, str) else None
