"""Bytes: whether a launch fits on the disk before it starts, and which checkpoints go when a budget is spent."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.errors import StorageError
from orchestrator.records import TEST_ACCURACY, VAL_ACCURACY, Outcome, Status
from orchestrator.scheduling.mirror import FOLDERS
from orchestrator.spec import Plan
from orchestrator.trial import TrialFolder

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
        raise StorageError(
            f"{storage} has {free / 1e6:,.0f} MB free, but {len(parameters)} trials need about {needed / 1e6:,.0f} MB: "
            "remove old launches, set max_checkpoint_bytes, or choose another folder with --storage"
        )


class Budget:
    """Keeps the checkpoints of trials that have been delivered below ``limit`` bytes; None is no limit.

    What goes first: the checkpoint before the last one; then everything of the losers, the worst first. The best
    trial of each variant keeps its last and best checkpoints whatever they take, and records are never touched.
    """

    def __init__(self, plan: Plan, limit: int | None, remove: Callable[[Path], object] = FOLDERS.remove) -> None:
        self.groups = {spec.name: (spec.label, spec.sample) for spec in plan.trials}
        published = plan.experiment.trainer.protocol == "published"
        self.accuracy = TEST_ACCURACY if published else VAL_ACCURACY  # what trials are ranked by
        self.limit = limit
        self.remove = remove  # a file or a folder
        self.delivered: dict[str, tuple[float, Path]] = {}  # trial name: best accuracy, folder

    def add(self, outcome: Outcome) -> None:
        """The trial has been delivered: its checkpoints may go, but for a failed one's, which carries on from them."""
        if outcome.folder is None or outcome.status is Status.FAILED:
            return
        accuracies = (record.metrics.get(self.accuracy, 0.0) for record in TrialFolder(outcome.folder).records())
        self.delivered[outcome.trial] = (max(accuracies, default=0.0), outcome.folder)
        self.remove(TrialFolder(outcome.folder).previous)

    def keep(self) -> list[str]:
        """Remove what the budget does not allow; returns the names of the trials whose checkpoints went."""
        removed: list[str] = []
        if self.limit is None:
            return removed
        winners = self._winners()
        losers = sorted((accuracy, name) for name, (accuracy, _) in self.delivered.items() if name not in winners)
        total = sum(checkpoint_bytes(folder) for _, folder in self.delivered.values())
        for _, name in losers:
            if total <= self.limit:
                break
            folder = self.delivered[name][1] / "checkpoints"
            if folder.exists():
                total -= checkpoint_bytes(folder.parent)
                self.remove(folder)
                removed.append(name)
        return removed

    def _winners(self) -> set[str]:
        """Of each variant its best trial; of a search every trial of the best sample, which may yet be measured."""
        samples: dict[str, dict[int | None, list[tuple[float, str]]]] = {}
        for name, (accuracy, _) in self.delivered.items():
            variant, sample = self.groups[name]
            samples.setdefault(variant, {}).setdefault(sample, []).append((accuracy, name))
        winners: set[str] = set()
        for by_sample in samples.values():
            sample = max(by_sample, key=lambda k: (len(by_sample[k]), sum(accuracy for accuracy, _ in by_sample[k])))
            best = by_sample[sample]
            winners |= {max(best)[1]} if sample is None else {name for _, name in best}
        return winners


def checkpoint_bytes(folder: Path) -> int:
    """Bytes of the checkpoints in a trial folder."""
    return sum(path.stat().st_size for path in (folder / "checkpoints").glob("*.pt"))
