"""Asynchronous successive halving that survives its driver: every result it has judged is on disk, and judged again."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from orchestrator.files import append_line
from orchestrator.records import EPOCH, VAL_ACCURACY
from orchestrator.scheduling.drain import Drain
from orchestrator.scheduling.turns import InTurn
from orchestrator.spec import Scheduler


@dataclass(frozen=True)
class _Named:
    """A trial as the rungs know it: by the name that it keeps from one attempt at a launch to the next."""

    trial_id: str


class RememberedASHA(InTurn, ASHAScheduler):  # type: ignore[misc]
    """Ray's ASHA (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020) with its rungs on disk.

    Ray's own snapshots lose the rungs. Here each judged result is appended to ``log``, and a new scheduler on the same
    log stands where the old one stood, so that later decisions are those of a launch that was never interrupted.
    """

    def __init__(
        self,
        settings: Scheduler,
        epochs: int,
        log: Path,
        drain: Drain | None = None,
        written: Callable[[Path], object] = lambda _: None,
    ) -> None:
        super().__init__(
            time_attr=EPOCH,
            metric=VAL_ACCURACY,
            mode="max",
            max_t=epochs,
            grace_period=min(settings.grace_period, epochs),
            reduction_factor=settings.reduction_factor,
            stop_last_trials=False,  # whoever reaches the last epoch is measured on the test split
        )
        self._log = log
        self._drain = drain or Drain()
        self._written = written  # told of the log after each line
        self._judged: dict[tuple[str, int], bool] = {}
        for name, epoch, accuracy, stopped in read_log(log):
            self._brackets[0].on_result(_Named(name), epoch, accuracy)
            self._judged[name, epoch] = stopped

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray asks whether the trial may go on."""
        if VAL_ACCURACY not in result:
            return str(TrialScheduler.CONTINUE)
        name, epoch, accuracy = trial.config["trial"]["name"], result[EPOCH], result[VAL_ACCURACY]
        if (name, epoch) in self._judged:  # its checkpoint was lost, it has been trained again: the decision stands
            again = TrialScheduler.STOP if self._judged[name, epoch] else TrialScheduler.CONTINUE
            return self._drain.decide(name, again)
        self._trial_info[name] = self._brackets[0]
        action = str(super().on_trial_result(tune_controller, _Named(name), result))
        append_line(self._log, json.dumps([name, epoch, accuracy, action == TrialScheduler.STOP]))
        self._written(self._log)
        return self._drain.decide(name, action)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The trial has ended; its results have been judged, and Ray's own would count the last one once more."""
        self._trial_info.pop(trial.trial_id, None)


def read_log(log: Path) -> list[tuple[str, int, float, bool]]:
    """Trial, epoch, accuracy (fraction) and whether that ended it, of every judged result."""
    judged = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        try:
            name, epoch, accuracy, stopped = json.loads(line)
        except ValueError:
            continue  # the driver was killed while it wrote this line, and its decision was never carried out
        judged.append((str(name), int(epoch), float(accuracy), bool(stopped)))
    return judged
