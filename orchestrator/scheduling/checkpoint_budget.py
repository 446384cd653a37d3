"""Disk space: whether a launch fits before it starts, and which checkpoints are deleted when a limit is reached."""

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import StorageError
from orchestrator.records import BEST_VAL_ACCURACY, TEST_ACCURACY, VAL_ACCURACY, Outcome, Status, TrialRow, summary
from orchestrator.scheduling.storage import FOLDERS, Storage
from orchestrator.selection import chosen_trials, representative
from orchestrator.spec import Plan
from orchestrator.text import counted
from orchestrator.trial import TrialFolder
from orchestrator.trial.folder import CHECKPOINTS

# A trial keeps its weights, the optimiser's two moments and the best weights in its state, and the best weights once
# more. While it runs there are three states, the one being written among them, and the best weights of two.
COPIES_RUNNING = 3 * 4 + 2 * 1
COPIES_KEPT = 4 + 1  # last and best
BYTES_PER_PARAMETER = 4  # float32
REPORT = 4_000_000  # bytes of figures, tables, page and exported model, roughly


def check_free_space(storage: Path, parameters: Mapping[str, int], side_by_side: int, budget: int | None) -> None:
    """Raise StorageError if ``storage`` has not the room for trials of so many ``parameters``, by trial name."""
    kept = sum(BYTES_PER_PARAMETER * COPIES_KEPT * count for count in parameters.values())
    largest = max(parameters.values(), default=0)
    needed = min(kept, budget or kept) + len(parameters) * REPORT
    needed += side_by_side * BYTES_PER_PARAMETER * COPIES_RUNNING * largest
    free = shutil.disk_usage(next(p for p in (storage, *storage.absolute().parents) if p.exists())).free
    if free < needed:
        trials = f"{counted(len(parameters), 'trial')} {'needs' if len(parameters) == 1 else 'need'}"
        raise StorageError(
            f"{storage} has {free / 1e6:,.0f} MB free, but {trials} about {needed / 1e6:,.0f} MB: "
            "remove old launches, set max_checkpoint_bytes, or choose another folder with --storage"
        )


class CheckpointBudget:
    """Keeps the checkpoints of trials that have been delivered below ``limit`` bytes; None is no limit.

    What goes first is what the losers keep, the worst first. The best trial of each variant keeps its last and best
    checkpoints whatever they take, of a search every trial with the settings that would be chosen now, since it may yet
    be measured; records are never touched. The best trial is the one whose network becomes the variant's model.
    """

    def __init__(self, plan: Plan, limit: int | None, storage: Storage = FOLDERS) -> None:
        self.plan = plan
        published = plan.experiment.trainer.protocol == "published"
        self.metric = TEST_ACCURACY if published else VAL_ACCURACY  # what trials are ranked by
        self.limit = limit
        self.storage = storage
        self.delivered: dict[str, _Delivered] = {}  # by trial name

    def add(self, outcome: Outcome) -> None:
        """The trial has been delivered: its checkpoints may go, but for a failed one's, which resumes from them."""
        if self.limit is None or outcome.folder is None or outcome.status is Status.FAILED:
            return
        records, spec = TrialFolder(outcome.folder).records(), self.plan.spec(outcome.trial)
        best = max((record.metrics.get(self.metric, 0.0) for record in records), default=0.0)
        held_out = summary(records, self.plan.experiment.target_accuracy).get(BEST_VAL_ACCURACY)
        status = str(outcome.status)
        stage = "" if self.plan.experiment.confirm is None else spec.stage
        row = TrialRow(
            spec.name, "", spec.label, spec.seed, status, val_accuracy=held_out, sample=spec.sample, stage=stage
        )
        folder = outcome.folder / CHECKPOINTS
        self.delivered[spec.name] = _Delivered(row, best, folder, self.storage.size(folder))

    def keep(self, needed: Collection[str] = ()) -> list[str]:
        """Remove what the budget does not allow; returns the names of the trials whose checkpoints went.

        Those of the trials named in ``needed`` stay for now, whatever they take.
        """
        removed: list[str] = []
        if self.limit is None:
            return removed
        staying = self._winners().union(needed)
        total = sum(trial.bytes for trial in self.delivered.values())
        for name, trial in sorted(self.delivered.items(), key=lambda item: (item[1].accuracy, item[0])):
            if total <= self.limit:
                break
            if trial.bytes and name not in staying:
                self.storage.remove(trial.checkpoints)
                total -= trial.bytes
                self.delivered[name] = replace(trial, bytes=0)
                removed.append(name)
        return removed

    def _winners(self) -> set[str]:
        winners: set[str] = set()
        rows = [self.delivered[spec.name].row for spec in self.plan.trials if spec.name in self.delivered]
        for mine in filter(None, chosen_trials(rows).values()):
            best = representative(mine) or max(mine, key=lambda row: self.delivered[row.trial].accuracy)
            later = any(row.sample is not None and not row.stage for row in mine)
            winners |= {row.trial for row in (mine if later else [best])}
        return winners


@dataclass(frozen=True)
class _Delivered:
    row: TrialRow
    accuracy: float  # the best, by which losers are told
    checkpoints: Path
    bytes: int
