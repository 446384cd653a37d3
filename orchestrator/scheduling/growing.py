"""The trials of a launch as Ray Tune asks for them: those that are known, and those that results make known."""

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.experiment import Experiment
from ray.tune.search.basic_variant import BasicVariantGenerator, _TrialIterator

Config = dict[str, Any]


class GrowingPlan(BasicVariantGenerator):  # type: ignore[misc]
    """Gives Tune one trial for each of ``configs``, in order, and for each that ``more`` returns.

    ``more`` is asked whenever there is nothing left to give, and returns what has become known since it was last asked;
    it is told whether that is worth waiting for, because nothing trains. None: all trials are known. At most ``limit``
    trials are alive at a time; None is no limit. Once ``ended`` says so, nothing more is given.
    """

    def __init__(
        self,
        configs: Sequence[Config],
        more: Callable[[bool], Sequence[Config]] | None,
        ended: Callable[[], bool],
        limit: int | None = None,
    ) -> None:
        super().__init__(max_concurrent=limit or 0)
        self._waiting = list(configs)
        self._more = more
        self._ended = ended

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles what it is given into its snapshots; ours refers to threads and is never restored."""
        return {}

    def add_configurations(self, experiments: Experiment | list[Experiment]) -> None:
        """Tune gives the experiment whose trials these are."""
        [self._experiment] = experiments if isinstance(experiments, list) else [experiments]
        self._maker = _TrialIterator(self._uuid_prefix, 1, self._experiment.spec)

    def next_trial(self) -> Any:
        """The next trial; None if there is none at present."""
        if self.is_finished() or (self.max_concurrent and len(self._live_trials) >= self.max_concurrent):
            return None
        if not self._waiting:
            self._ask()
        if not self._waiting:
            return None
        trial = self._maker.create_trial({}, {**self._experiment.spec, "config": {"trial": self._waiting.pop(0)}})
        self._live_trials.add(trial.trial_id)
        return trial

    def is_finished(self) -> bool:
        """Whether no trial comes any more: nothing is alive whose end could make others known."""
        if self._finished or self._ended():
            return True
        if not self._waiting and not self._live_trials:
            self._ask()
        return not self._waiting and (self._more is None or not self._live_trials)

    @property
    def total_samples(self) -> int:
        """How many trials wait, for Tune's own reports, which are not shown."""
        return len(self._waiting)

    def save_to_dir(self, dirpath: str, **kwargs: Any) -> None:
        """Nothing: a launch is never restored from Tune's snapshots."""

    def has_checkpoint(self, dirpath: str) -> bool:
        """Never."""
        return False

    def _ask(self) -> None:
        if self._more is not None:
            self._waiting += self._more(not self._live_trials)
