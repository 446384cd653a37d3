"""The trial folder: all that a trial leaves, and the only place that knows what each file is called.

spec.json               the complete specification
records.jsonl           one line an epoch, appended and synced; the truth that MLflow shows
checkpoints/last.pt     everything needed to resume; replaced atomically after every epoch
checkpoints/previous.pt the one before it, should the last one be damaged
checkpoints/best.pt     the chosen weights
predictions.pt          logits of the test split, of the chosen weights
predictions.csv         its labels and what was predicted, by class number, a line an image
metrics.csv             the records as a table
facts.json              parameters, normalisation, machine
initial.json            what the network computes before training; of trials trained by themselves
outcome.json            how it ended; absent while it has not
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from orchestrator.architectures import build_network
from orchestrator.errors import CheckpointError, StorageError
from orchestrator.files import append_line, link_folder, write_json, write_text
from orchestrator.records import PREDICTIONS, PUBLISHED_BEST, TEST_ACCURACY, Failure, Outcome, Record, Status, as_csv
from orchestrator.spec import TrialSpec
from orchestrator.spec.differences import of_trials
from orchestrator.spec.json_values import one_line
from orchestrator.training import checkpoint
from orchestrator.training.weights import load_weights
from orchestrator.trial.json_files import read_json, read_mapping
from orchestrator.trial.source import refuse_edited_since_trained

CHECKPOINTS = "checkpoints"  # the folder of everything that is large
_logger = logging.getLogger(__name__)


class TrialFolder:
    """Reads and writes one trial's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / CHECKPOINTS / "last.pt"
        self.previous = path / CHECKPOINTS / "previous.pt"
        self.best = path / CHECKPOINTS / "best.pt"

    @classmethod
    def create(cls, path: Path, spec: TrialSpec) -> "TrialFolder":
        """A folder for ``spec``: new, or one that this very trial has begun. Raises StorageError for any other."""
        folder = cls(path)
        if (path / "spec.json").exists():
            if (held := folder.spec()).identity() != spec.identity():
                what = of_trials(held, spec)
                raise StorageError(f"{path} holds another trial: {what}; give another folder with --out, or remove it")
            folder.renew(spec)
            return folder
        if path.is_dir() and any(path.iterdir()):
            raise StorageError(f"{path} is not empty and holds no trial; give another folder with --out")
        folder._save_spec(spec)
        return folder

    def renew(self, spec: TrialSpec) -> bool:
        """Let the folder say of its trial what ``spec`` says: where its network lies today, and what it is called.

        Only the dataset keeps its path: by that its checkpoints may be known. Returns whether anything was another.
        Raises StorageError.
        """
        held = self.spec()
        now = replace(spec, dataset=replace(spec.dataset, name=held.dataset.name))
        if now.to_json() == held.to_json():
            return False
        self._save_spec(now)
        return True

    def _save_spec(self, spec: TrialSpec) -> None:
        try:
            write_json(self.path / "spec.json", spec.to_json())
        except OSError as problem:
            raise StorageError(f"{self.path} cannot be written: {problem.strerror}") from problem

    def copy_to(self, path: Path) -> None:
        """Make ``path`` hold the same trial, but for the state before the last one; either may go on, on its own.

        Checkpoints are hard links where the file system has them. Nothing is synced.
        """
        link_folder(self.path, path, linked=".pt", ignored=self.previous.name)

    def spec(self) -> TrialSpec:
        """The trial's specification. Raises StorageError naming the file if it cannot be used."""
        content = read_json(self.path / "spec.json")
        try:
            return TrialSpec.from_json(content)
        except ValueError as problem:
            raise StorageError(one_line(f"{self.path / 'spec.json'}: {problem}")) from problem

    def records(self) -> list[Record]:
        """Every record, in order. A last line that was cut off while it was written is left out.

        Raises StorageError naming the file and the line of anything else that is not a record.
        """
        log = self.path / "records.jsonl"
        try:
            *lines, _cut_off = log.read_bytes().split(b"\n") if log.exists() else [b""]
        except OSError as problem:
            raise StorageError(f"{log}: cannot be read: {problem.strerror}") from problem
        found = []
        for number, line in enumerate(lines, start=1):
            try:
                found.append(Record.from_json(json.loads(line)))
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as problem:
                raise StorageError(one_line(f"{log}, line {number}: not a record ({problem})")) from problem
        return found

    def restore_records(self, records: Sequence[Record]) -> None:
        """Make the log say exactly ``records``: what the checkpoint knows."""
        log = self.path / "records.jsonl"
        text = "".join(json.dumps(record.to_json()) + "\n" for record in records)
        if not log.exists() or log.read_bytes() != text.encode():
            write_text(log, text)

    def append(self, record: Record) -> None:
        """Add one record to the log."""
        append_line(self.path / "records.jsonl", json.dumps(record.to_json()))

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write everything needed to resume; the checkpoint before it is kept."""
        fresh = self.last.with_name("next.pt")
        checkpoint.save(fresh, {"identity": self.spec().weights_identity(), **state})
        if self.last.exists():
            self.last.replace(self.previous)
        fresh.replace(self.last)

    def checkpoint(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, or None if none was written.

        A damaged one is named in a warning and the one before it is used. Raises CheckpointError if there is none
        that is whole, or if it belongs to another trial.
        """
        written = [path for path in (self.last, self.previous) if path.exists()]
        problem: CheckpointError | None = None
        for path in written:
            try:
                state = checkpoint.load(path)
            except CheckpointError as damage:
                _logger.warning("%s; using the one before it", damage)
                problem = problem or damage
                continue
            spec = self.spec()
            if state.pop("identity", None) not in (spec.weights_identity(), spec.earlier_weights_identity()):
                raise CheckpointError(f"{path}: belongs to another trial")
            return state
        if problem is not None:
            raise CheckpointError(f"{problem}; no whole checkpoint is left: remove {self.path} to begin anew")
        return None

    def is_intact(self) -> bool:
        """Whether the folder holds, undamaged, what its records speak of: a copy of it may have been broken off.

        The checkpoints to resume from may have been removed; one that is there is of the last epoch recorded.
        """
        try:
            records, state = self.records(), self.checkpoint()
            whole = bool(records) and (state is None or state.get("epoch") == records[-1].epoch)
            chosen = checkpoint.load(self.best).get("network") if whole else None
            return chosen is not None and (not self.is_measured() or self.predictions() is not None)
        except (StorageError, CheckpointError):
            return False

    def is_measured(self) -> bool:
        """Whether its records hold what was measured on the test split."""
        final = next((record.metrics for record in self.records() if record.final), {})
        return bool({TEST_ACCURACY, PUBLISHED_BEST} & final.keys())

    def save_best(self, weights: Mapping[str, Tensor], epoch: int) -> None:
        """Write the chosen weights."""
        checkpoint.save(self.best, {"epoch": epoch, "network": dict(weights)})

    def save_predictions(self, logits: Tensor, labels: Tensor) -> None:
        """Write logits (N, classes) float32 of the test split, and its labels (N,) beside what was predicted."""
        checkpoint.save(self.path / "predictions.pt", {"logits": logits.cpu()})
        pairs = zip(labels.tolist(), logits.argmax(dim=1).tolist(), strict=True)
        text = "".join(f"{label},{predicted}\n" for label, predicted in pairs)
        write_text(self.path / PREDICTIONS, f"label,predicted\n{text}")

    def predictions(self) -> Tensor | None:
        """Logits (N, classes) float32 of the test split, or None if the trial did not get so far."""
        path = self.path / "predictions.pt"
        if not path.exists():
            return None
        logits = checkpoint.load(path).get("logits")
        if not isinstance(logits, Tensor):
            raise CheckpointError(f"{path}: holds no predictions")
        return logits

    def network(self, num_classes: int, shape: tuple[int, int, int]) -> nn.Module | None:
        """The network, unless edited, with the chosen weights, in evaluation mode on the CPU; None without any."""
        if not self.best.exists():
            return None
        refuse_edited_since_trained(spec := self.spec())
        network = build_network(spec.variant, spec.arguments, num_classes, shape)
        try:
            load_weights(network, checkpoint.load(self.best)["network"])
        except (KeyError, RuntimeError, TypeError, AttributeError) as problem:
            raise CheckpointError(one_line(f"{self.best}: does not fit {spec.variant}: {problem}")) from problem
        network.eval()  # a network's own may return nothing
        return network

    def save_facts(self, facts: Mapping[str, Any]) -> None:
        """Write what is known of the network, the data and the machine before training."""
        write_json(self.path / "facts.json", dict(facts))

    def facts(self) -> dict[str, Any]:
        """What :meth:`save_facts` wrote, or nothing."""
        return read_mapping(self.path / "facts.json") if (self.path / "facts.json").exists() else {}

    def finish(self, status: Status, reason: str = "", traceback: str = "", failure: Failure | None = None) -> Outcome:
        """Write the table of metrics and how the trial ended."""
        write_text(self.path / "metrics.csv", as_csv(self.records()))
        content = {"status": str(status), "reason": reason, "failure": failure, "traceback": traceback}
        write_json(self.path / "outcome.json", content)
        return Outcome(self.spec().name, status, reason, self.path, traceback, failure)

    def reopen(self) -> None:
        """Forget how it ended: it goes on."""
        (self.path / "outcome.json").unlink(missing_ok=True)

    def outcome(self) -> Outcome | None:
        """How the trial ended, or None if it has not."""
        if not (self.path / "outcome.json").exists():
            return None
        content = read_mapping(self.path / "outcome.json")
        try:
            failure = Failure(content["failure"]) if content.get("failure") else None
            reason, traceback = content["reason"], content.get("traceback", "")
            if not isinstance(reason, str) or not isinstance(traceback, str):
                raise TypeError("reason and traceback are text")
            status = Status(Status.recorded(content["status"], reason))
        except (ValueError, KeyError, TypeError) as problem:
            raise StorageError(one_line(f"{self.path / 'outcome.json'}: damaged ({problem})")) from problem
        return Outcome(self.spec().name, status, reason, self.path, traceback, failure)
