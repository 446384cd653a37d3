"""A plan that grows: what the results of a launch's trials make known is checked, recorded and trained."""

from collections.abc import Callable, Collection, Mapping, Sequence

from orchestrator.errors import StorageError
from orchestrator.records import (
    BEST_VAL_ACCURACY,
    EPOCHS,
    SECONDS,
    TEST_ACCURACY,
    VAL_ACCURACY,
    Listener,
    Outcome,
    TrialResult,
    summary,
)
from orchestrator.scheduling.launch_folder import SUGGESTIONS, LaunchFolder
from orchestrator.scheduling.storage import Storage
from orchestrator.scheduling.take_over import origin
from orchestrator.spec import TrialSpec
from orchestrator.tracking.runs import TrialFacts
from orchestrator.trial import TrialFolder
from orchestrator.workflow.check import Checked
from orchestrator.workflow.facts import trial_facts


class Growth:
    """Adds trials to the plan of ``checked`` as results make them known, and tells ``listeners``.

    What is decided on the way goes to ``log``, in words.
    """

    def __init__(
        self,
        checked: Checked,
        folder: LaunchFolder,
        storage: Storage,
        target: float,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.checked = checked
        self.folder = folder
        self.take_over: Callable[[Sequence[TrialSpec]], Collection[str]] = lambda _: ()  # from other launches; names
        self.publish: Callable[[str], None] = lambda _: None  # the records of a trial that is not trained
        self.target = target  # accuracy (fraction) that epochs are counted to
        self.listeners: Sequence[Listener] = ()
        self.results: dict[str, TrialResult] = {}
        self.facts: dict[str, TrialFacts] = {}  # of every trial of the plan
        self.log = log
        self._logged = 0  # of what has been decided
        self._noted = set(checked.notes)  # what the user has been told already
        checked.proposals.remember(folder.path / SUGGESTIONS, storage.push)
        checked.begin()

    def catch_up(self) -> None:
        """Make known what follows from the trials that earlier processes have ended; failed ones are tried again."""
        self.facts.update(trial_facts(self.checked, self.folder, self.checked.plan.trials))
        while self.checked.proposals.more:
            for spec in self.checked.plan.trials:
                if spec.name not in self.results and (found := self._ended(spec)) is not None:
                    self.results[spec.name] = found
            if not self._grow():
                return

    def reserve(self, gpus: float) -> None:
        """A trial gets this share of a GPU: further rounds may begin, as far as a limit of GPU time lets them."""
        self.checked.proposals.later.gpus = gpus
        settings = self.checked.plan.experiment.verdict
        if settings.until_decided and settings.max_gpu_seconds is not None:
            if not gpus:
                self.log("verdict.max_gpu_seconds has no effect: no trial gets a GPU")
            self.catch_up()

    def __call__(self, outcomes: Mapping[str, Outcome]) -> list[TrialSpec]:
        """What to train besides, now that trials have ended so."""
        new = {name: outcome for name, outcome in outcomes.items() if name not in self.results}
        if not new or not self.checked.proposals.more:
            return []
        for name, outcome in new.items():
            self.results[name] = result_of(outcome, self.target)
        to_train: list[TrialSpec] = []
        known = self._grow()
        while known:
            settled = self._settle(known)
            to_train += [spec for spec in known if spec.name not in settled]
            known = self._grow() if settled else []
        return to_train

    def _settle(self, known: Sequence[TrialSpec]) -> set[str]:
        """Those of ``known`` that need no training, as this launch or another has done it; listeners get their ends."""
        missing = [spec for spec in known if self.folder.ended(spec) is None]
        taken = self.take_over(missing)
        self.facts.update(trial_facts(self.checked, self.folder, known))  # they say where one was taken over from
        settled = set()
        for spec in known:
            if (spec in missing and spec.name not in taken) or (outcome := self.folder.ended(spec)) is None:
                continue
            self.publish(spec.name)
            self.results[spec.name] = result_of(outcome, self.target)
            settled.add(spec.name)
            for listener in self.listeners:
                listener.on_end(outcome)
        return settled

    def _grow(self) -> list[TrialSpec]:
        searching = self.checked.plan.searching
        new = self.checked.add(self.checked.proposals.trials(self.results))
        decided = self.checked.proposals.later.said
        for line in decided[self._logged :]:
            self.log(line)
        self._logged = len(decided)
        for note in self.checked.proposals.notes:
            if note not in self._noted:
                self._noted.add(note)
                self.log(note)
        self.facts.update(trial_facts(self.checked, self.folder, new))
        for listener in self.listeners if new or self.checked.plan.searching != searching else ():
            listener.on_plan([spec.name for spec in new])
        return new

    def _ended(self, spec: TrialSpec) -> TrialResult | None:
        outcome = self.folder.ended(spec)
        try:
            return None if outcome is None else result_of(outcome, self.target)
        except StorageError:
            return None


def result_of(outcome: Outcome, target: float) -> TrialResult:
    """What the trial that ended so tells, from the records in its folder; taken over, it took this launch no time."""
    is_own = outcome.folder is None or origin(outcome.folder) is None
    records = TrialFolder(outcome.folder).records() if outcome.folder is not None else []
    found = summary(records, target)
    measured = [record.metrics[TEST_ACCURACY] for record in records if record.final and TEST_ACCURACY in record.metrics]
    return TrialResult(
        outcome.status,
        int(found[EPOCHS]),
        found.get(BEST_VAL_ACCURACY),
        measured[-1] if measured else None,
        found.get(SECONDS, 0.0) if is_own else 0.0,
        {r.epoch: r.metrics[VAL_ACCURACY] for r in records if not r.final and VAL_ACCURACY in r.metrics},
    )
