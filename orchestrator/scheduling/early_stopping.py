"""A stop rule under Ray Tune: the rules are in stop_rules/, what they decided is remembered by decisions.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.schedulers import TrialScheduler

from orchestrator.records import EPOCH, VAL_ACCURACY
from orchestrator.scheduling.decisions import Decision, append, read_log
from orchestrator.scheduling.drain import Drain
from orchestrator.scheduling.fifo import ActorReuseFIFO
from orchestrator.scheduling.stop_rules import stop_rule
from orchestrator.spec import Scheduler


class EarlyStopping(ActorReuseFIFO):
    """Stops trials by the rule of ``settings``, which is not fifo; every decision is on disk before it is carried out.

    A new scheduler on the same log stands where the old one stood: later decisions are those of a launch that was
    never interrupted. Trials are known by our own names, which they keep from one attempt at a launch to the next.
    """

    def __init__(
        self,
        settings: Scheduler,
        epochs: int,
        log: Path,
        drain: Drain | None = None,
        written: Callable[[Path], object] = lambda _: None,
    ) -> None:
        super().__init__()
        rule = stop_rule(settings, epochs, read_log(log))
        if rule is None:
            raise ValueError(f"{settings.name} stops no trial")
        self._rule = rule
        self._log = log
        self._drain = drain or Drain()
        self._written = written  # told of the log after each line

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray asks whether the trial may go on; asked again about the same epoch, the answer is the same."""
        name = trial.config["trial"]["name"]
        if not trial.config["trial"]["judged_at"]:  # of a stage in which nobody is stopped
            return self._drain.decide(name, str(TrialScheduler.CONTINUE))
        stop, decision = self._rule.judge(name, result[EPOCH], result[VAL_ACCURACY])
        stop &= self._remember(decision)
        return self._drain.decide(name, str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The trial has ended; if by itself, then nobody has asked about its last result yet."""
        if VAL_ACCURACY in result and trial.config["trial"]["judged_at"]:
            name = trial.config["trial"]["name"]
            if not self._remember(self._rule.count(name, result[EPOCH], result[VAL_ACCURACY])):
                self._drain.drained.add(name)  # its end is reported, and counted, when the launch is resumed

    def _remember(self, decision: Decision | None) -> bool:
        """Whether ``decision`` is on disk; if not, the launch ends, and nothing is done by it."""

        def keep() -> bool:
            if decision is not None:
                append(self._log, decision)
                self._written(self._log)
            return True

        return self._drain.unless_storage_fails(self._log.parent, keep) or False
