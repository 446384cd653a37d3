"""The worker's side: ``run_trial`` as Ray Tune's Trainable; one step is one record.

Checkpoints are the worker's own affair: Tune's would be written while the training stands still.
"""

import importlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.lazy import no_garbage_collection

with no_garbage_collection():  # the first trials wait for this
    import ray
    import torch
    from ray import tune

    from orchestrator.data.arrays import from_arrays
    from orchestrator.errors import DiskFullError, OrchestratorError
    from orchestrator.files import disk_full_named, unsynced
    from orchestrator.records import EPOCH, VAL_ACCURACY, Failure, Record
    from orchestrator.scheduling.checkpoints import list_checkpoints, newest_intact, save_checkpoint
    from orchestrator.scheduling.directory import enter
    from orchestrator.scheduling.local_mps import disable_mps, uses_mps
    from orchestrator.scheduling.storage import FOLDERS, Storage
    from orchestrator.spec import TrialSpec
    from orchestrator.training.loop import reached
    from orchestrator.trial import BackgroundWriter, TrialFolder, run_trial
    from orchestrator.trial.run import kind_of, reason_of

RECORDS = "records"  # key of a step's records in Tune's result
FAILURE = "failure"  # key of a failed trial's reason
KIND = "failure_kind"  # key of its kind
_WORKING = "working-"  # how folders are called in which trials are trained


class CheckpointNotSavedError(Exception):
    """The storage does not take a checkpoint: the trial is taken up again from the one before."""


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """Trains one trial after another in one process; the dataset is mapped from Ray's object store."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """As Tune makes it, but no trial changes the working directory: a network opens its files from there."""
        os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # here, since a cluster's nodes know nothing of the driver's
        super().__init__(*arguments, **settings)

    def setup(self, config: dict[str, Any], data: Mapping[str, Any] | None = None) -> None:
        """Called once a process; ``data["dataset"]`` refers to what ``orchestrator.data.arrays.to_arrays`` made.

        ``data["directory"]``, if it is given, is the driver's working directory.
        """
        assert data is not None
        enter(data.get("directory", "."))
        if not config["trial"]["gpus"]:  # Ray leaves the variable alone then, as session.py asks it to
            # For good: this process is a worker of this launch only, and torch reads it when CUDA is first asked for.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self.records: Generator[Record] | None = None
        self.epoch = 0
        self._begin(config["trial"])
        with no_garbage_collection(freeze=True):
            importlib.import_module("torch._dynamo")  # every optimizer of torch's imports it when it is made
        self.lost: Exception | None = None  # what an earlier trial of this process lost the device by
        self.dataset = from_arrays(ray.get(data["dataset"]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial in the same process."""
        self._end()
        self._begin(new_config["trial"])
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch; after the last one, measure on the test split and say done.

        Its state is written while the next one trains. What the scheduler may end the trial at is kept before anybody
        hears of it. A trial that is taken up first says where it stands.
        """
        if self.lost is not None:
            raise self.lost  # Tune ends this process and takes the trial up again in another
        resumed: list[Record] = []  # the epoch from which the trial goes on: nobody may have heard of it, or judged it
        if self.records is None:
            self._remove_stale()
            resumed = self._resume()
            self.records = run_trial(self.spec, self.dataset, self.folder, self.trial_config["measure"], self.writer)
            if resumed and not self._is_last(resumed[-1]):
                return self._result(resumed)
        try:
            with unsynced():  # save_checkpoint() syncs what is kept
                made = list(self._until_reported(self.records))
            if made and (made[-1].final or made[-1].epoch in self.trial_config["judged_at"]):
                self.writer.wait()
            if not made or made[-1].final:
                self._save_checkpoint()
        except Exception as problem:  # the trial's boundary: run_trial has written the outcome to the folder
            if isinstance(problem, CheckpointNotSavedError) or (self.in_storage and isinstance(problem, DiskFullError)):
                raise  # not the trial's fault: the driver takes it up again, or ends the launch
            reason = reason_of(problem)
            self.lost = problem if lost_device(problem) else None
            self._save_checkpoint()
            if self.lost is not None and uses_mps():
                raise  # by MPS one process's fault is that of all on its GPU: this trial is taken up again without
            return {"done": True, FAILURE: reason, KIND: str(kind_of(problem)), EPOCH: self.epoch}
        if not made:  # it was complete before it was taken up, but had not been collected
            made = TrialFolder(self.folder).records()[-1:]
        return self._result([*resumed, *made])

    def _result(self, records: list[Record]) -> dict[str, Any]:
        self.epoch = records[-1].epoch
        metrics = {name: value for record in records for name, value in record.metrics.items()}
        return {"done": records[-1].final, RECORDS: [r.to_json() for r in records], EPOCH: self.epoch, **metrics}

    def _is_last(self, record: Record) -> bool:
        """Whether no epoch follows that of ``record``, only the final measurement."""
        recipe = self.spec.trainer
        return record.epoch >= recipe.epochs or reached(recipe, record.metrics.get(VAL_ACCURACY, -1.0))

    def _until_reported(self, records: Iterator[Record]) -> Iterator[Record]:
        """One record; after the last epoch the final one too, so that no scheduler can come between them."""
        for record in records:
            yield record
            if not self._is_last(record):
                return

    def cleanup(self) -> None:
        """Leave nothing behind on this node."""
        self._end()

    def _begin(self, config: dict[str, Any]) -> None:
        self.trial_config = config
        self.spec = TrialSpec.from_json(json.loads(config["spec"]))
        self.in_storage = config["uri"] is None
        if self.in_storage:  # what is written is where it shall survive, and needs no copy
            self.storage, self.place = FOLDERS, Path(config["place"])
            self.scratch = self.place / f"{_WORKING}{uuid.uuid4().hex}"
        else:
            self.scratch = Path(tempfile.mkdtemp(prefix="trial-"))
            self.storage = Storage(self.scratch / "storage", config["uri"])
            self.place = self.storage.root / config["place"]
        self.folder = self.scratch / "folder"
        self.writer = BackgroundWriter(self._save_checkpoint)
        self.records = None
        self.epoch = 0
        if uses_mps() and list_checkpoints(self.place, self.storage) and not torch.cuda.is_initialized():
            disable_mps()  # its worker was lost before: should it lose this one's device too, it is by its own fault

    def _save_checkpoint(self) -> None:
        """Keep the trial folder as it is: should this process be lost, another one goes on from there."""
        try:
            with disk_full_named(self.place):
                save_checkpoint(self.folder, self.place, self.storage)
        except DiskFullError:
            raise
        except (OrchestratorError, OSError) as problem:
            raise CheckpointNotSavedError(f"a checkpoint of {self.spec.name} is not kept: {problem}") from problem

    def _resume(self) -> list[Record]:
        """Go on from where an earlier worker stopped, on whatever node, in this attempt or in one before.

        Returns the record of the last epoch that is kept, if there is one.
        """
        before = self.trial_config["resume_from"]
        earlier = [] if before is None else [self.storage.root / before]
        found = newest_intact([*list_checkpoints(self.place, self.storage), *earlier], self.spec, self.storage)
        if found is None:
            return []
        TrialFolder(found).copy_to(self.folder)
        epochs = [record for record in TrialFolder(self.folder).records() if not record.final]
        self.epoch = epochs[-1].epoch if epochs else 0
        return epochs[-1:]

    def _remove_stale(self) -> None:
        """Remove what a worker that was lost had in progress; should it still live, it cannot go on."""
        if self.in_storage:
            for left in self.scratch.parent.glob(f"{_WORKING}*"):
                if left != self.scratch:
                    shutil.rmtree(left, ignore_errors=True)

    def _end(self) -> None:
        if self.records is not None:
            self.records.close()  # waits for what is being written
            self.records = None
        shutil.rmtree(self.scratch, ignore_errors=True)


def lost_device(problem: Exception) -> bool:
    """Whether ``problem`` has left this process without its device: after a fault CUDA answers nothing any more."""
    if kind_of(problem) is Failure.OUT_OF_MEMORY:
        return False
    if torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()  # cuBLAS and cuDNN have words of their own for a fault that came before
        except RuntimeError:
            return True
    return isinstance(problem, torch.AcceleratorError)
