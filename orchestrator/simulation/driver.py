"""The process that decides, in a simulated launch: all that it knows can be read again from disk."""

from collections import deque

from orchestrator.experiment.proposals import Proposals
from orchestrator.records import Status, TrialResult
from orchestrator.scheduling.stop_rules import stop_rule
from orchestrator.simulation.journal import Epoch, Journal
from orchestrator.spec import Experiment, Plan, TrialSpec
from orchestrator.spec.trial import CONFIRM


class Driver:
    """Gives trials to workers and decides after each epoch; a new one on the same journal goes on as the old one.

    As in a real launch, further trials are asked for when none that is known waits.
    """

    def __init__(self, experiment: Experiment, journal: Journal) -> None:
        self._journal = journal
        self._proposals = Proposals(experiment)  # no network is built: no draw is found to break the contract
        gpus = self._proposals.experiment.resources.gpus
        self._proposals.later.gpus = 1.0 if isinstance(gpus, str) else gpus
        self._proposals.remember(journal.suggestions, lambda _: journal.survive())
        self.plan = Plan(experiment=self._proposals.experiment, trials=())
        experiment = self.plan.experiment
        self._rule = stop_rule(experiment.scheduler, experiment.trainer.epochs, journal.decisions())
        self._heard: dict[str, dict[int, Epoch]] = {}  # by trial and epoch
        self.results: dict[str, TrialResult] = {}
        for told in journal.epochs():
            self._heard.setdefault(told.trial, {})[told.epoch] = told
        self._catch_up()
        self._waiting = deque(spec for spec in self.plan.trials if spec.name not in self._heard)

    @property
    def said(self) -> tuple[str, ...]:
        """What stages and rounds have decided, in words."""
        return tuple(self._proposals.later.said)

    def next(self) -> TrialSpec | None:
        """The trial for a worker that is free; None if none is known at present."""
        if not self._waiting:
            self._waiting.extend(self._grow())
        return self._waiting.popleft() if self._waiting else None

    def report(self, told: Epoch) -> bool:
        """Whether the trial goes on after this epoch; told again, it answers the same."""
        name = told.trial
        if name in self.results:  # the process before this one had kept the end, and was killed
            return False
        self._heard.setdefault(name, {})[told.epoch] = told
        spec = self.plan.spec(name)
        ends, stop, decision = is_last(spec, told.epoch, told.validation), False, None
        if self._rule is not None and spec.stage != CONFIRM:
            if ends:
                decision = self._rule.count(name, told.epoch, told.validation)
            else:
                stop, decision = self._rule.judge(name, told.epoch, told.validation)
        if decision is not None:
            self._journal.decide(decision)
        if ends or stop:
            status = Status.COMPLETE if ends else Status.STOPPED
            self._journal.end(name, status)
            self.results[name] = self._result(name, status)
        return not (ends or stop)

    def _grow(self) -> list[TrialSpec]:
        if self.plan.trials and not self._proposals.more:
            return []
        known = {spec.name for spec in self.plan.trials}
        new = [spec for spec in self._proposals.trials(self.results) if spec.name not in known]
        if new:
            self._journal.grow([spec.name for spec in new])
        return self.plan.add(new)

    def _catch_up(self) -> None:
        """Know the trials that were known before, in their order, and how those that have ended did."""
        self.results = {name: self._result(name, status) for name, status in self._journal.ends().items()}
        before = self._journal.plan()
        specs = {spec.name: spec for spec in self._proposals.trials(self.results)} if before else {}
        self.plan.add(specs[name] for name in before)

    def _result(self, name: str, status: Status) -> TrialResult:
        epochs = [told for epoch, told in sorted(self._heard[name].items()) if epoch]
        return TrialResult(
            status,
            epochs=len(epochs),
            val_accuracy=max(told.validation for told in epochs),
            test_accuracy=epochs[-1].test,
            seconds=sum(told.seconds for told in epochs),
            curve={told.epoch: told.validation for told in epochs},
        )


def is_last(spec: TrialSpec, epoch: int, value: float) -> bool:
    """Whether the trial is complete after this epoch, whatever anybody decides."""
    target = spec.trainer.stop_at_accuracy
    return epoch >= spec.trainer.epochs or (target is not None and value >= target)
