"""The worker's side: ``run_trial`` as Ray Tune's Trainable; one step is one record, the folder is the checkpoint."""

import importlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.lazy import no_garbage_collection

with no_garbage_collection():  # the first trials wait for this
    import ray
    import torch
    from pyarrow.fs import LocalFileSystem
    from ray import tune

    from orchestrator.data.arrays import unpack
    from orchestrator.errors import DiskFullError, OrchestratorError
    from orchestrator.files import sync_folder, unsynced, write_folder
    from orchestrator.records import EPOCH, VAL_ACCURACY, Failure, Record
    from orchestrator.redact import redact
    from orchestrator.spec import TrialSpec
    from orchestrator.training.loop import reached
    from orchestrator.trial import TrialFolder, run_trial
    from orchestrator.trial.run import kind_of

RECORDS = "records"  # key of a step's records in Tune's result
FAILURE = "failure"  # key of a failed trial's reason
KIND = "failure_kind"  # key of its kind
_WORKING = "working-"  # how folders are called in which trials are trained


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """Trains one trial after another in one process; the data set is mapped from Ray's object store."""

    def setup(self, config: dict[str, Any], data: Mapping[str, Any] | None = None) -> None:
        """Called once a process; ``data["packed"]`` refers to what ``orchestrator.data.arrays.pack`` made."""
        if not config["trial"]["gpus"]:  # Ray leaves the variable alone then, as session.py asks it to
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # torch reads it when CUDA is first asked for
        with no_garbage_collection():
            importlib.import_module("torch._dynamo")  # every optimizer of torch's imports it when it is made
        self.records: Iterator[Record] | None = None
        self.epoch = 0
        self.lost: Exception | None = None  # what an earlier trial of this process lost the device by
        assert data is not None
        self.dataset = unpack(ray.get(data["packed"]))
        self._begin(config["trial"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial in the same process."""
        self._end()
        self._begin(new_config["trial"])
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch; after the last one, measure on the test split and say done."""
        if self.lost is not None:
            raise self.lost  # Tune ends this process and takes the trial up again in another
        if self.records is None:
            self._take_up(self.trial_config["resume_from"])
            self._remove_lost()
            self.records = run_trial(self.spec, self.dataset, self.folder, self.trial_config["measure"])
        try:
            with unsynced():  # save() syncs what is kept
                made = list(self._until_reported(self.records))
        except Exception as problem:  # the trial's boundary: run_trial has written the outcome to the folder
            if self.in_storage and isinstance(problem, DiskFullError):
                raise  # no other trial can go on either: the driver ends the launch
            reason = str(problem) if isinstance(problem, OrchestratorError) else f"{type(problem).__name__}: {problem}"
            told = redact(reason.partition("\n")[0])
            self.lost = problem if lost_device(problem) else None
            return {"done": True, FAILURE: told, KIND: str(kind_of(problem)), EPOCH: self.epoch}
        if not made:  # it was complete before it was taken up, but had not come home
            made = TrialFolder(self.folder).records()[-1:]
        self.epoch = made[-1].epoch
        metrics = {name: value for record in made for name, value in record.metrics.items()}
        return {"done": made[-1].final, RECORDS: [r.to_json() for r in made], EPOCH: self.epoch, **metrics}

    def _until_reported(self, records: Iterator[Record]) -> Iterator[Record]:
        """One record; after the last epoch the final one too, so that no scheduler can come between them."""
        for record in records:
            yield record
            recipe = self.spec.trainer
            if record.epoch < recipe.epochs and not reached(recipe, record.metrics.get(VAL_ACCURACY, -1.0)):
                return

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Have Ray keep the trial folder as it is, durably. Where it lies in the storage already nothing is copied."""
        if not self.in_storage:  # an object store answers when it is safe
            return super().save(checkpoint_dir)
        self._storage.persist_current_checkpoint = self._persist  # instead of Ray's own copy, file by file
        return super().save(str(self.folder))

    def _persist(self, checkpoint: tune.Checkpoint) -> tune.Checkpoint:
        """The trial folder's files by another name, synced."""
        target = Path(self._storage.checkpoint_fs_path)
        write_folder(target, TrialFolder(self.folder).copy_to)
        sync_folder(target)
        return tune.Checkpoint(str(target), self._storage.storage_filesystem)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Hand the trial folder to Ray, but for the state before the last: its earlier checkpoint holds that."""
        if Path(checkpoint_dir) != self.folder:
            TrialFolder(self.folder).copy_to(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Take the trial folder back, in this process or on another node."""
        self._end()
        self._begin(self.trial_config)
        self._take_up(checkpoint_dir)

    def cleanup(self) -> None:
        """Leave nothing behind on this node."""
        self._end()

    def _begin(self, config: dict[str, Any]) -> None:
        self.trial_config = config
        self.spec = TrialSpec.from_json(json.loads(config["spec"]))
        storage = self._storage
        self.in_storage = storage is not None and isinstance(storage.storage_filesystem, LocalFileSystem)
        if self.in_storage:  # what is written is where it shall survive, and needs no copy
            self.scratch = Path(storage.trial_fs_path) / f"{_WORKING}{uuid.uuid4().hex}"
        else:
            self.scratch = Path(tempfile.mkdtemp(prefix="trial-"))
        self.folder = self.scratch / "folder"
        self.records = None
        self.epoch = 0

    def _take_up(self, source: str | None) -> None:
        if source is not None and not self.folder.exists():
            if self.in_storage:
                TrialFolder(Path(source)).copy_to(self.folder)
            else:
                tune.Checkpoint(source).to_directory(self.folder)  # from wherever the storage is
            self.epoch = max((record.epoch for record in TrialFolder(self.folder).records()), default=0)

    def _remove_lost(self) -> None:
        """Remove what a worker that was lost had in progress; should it still live, it cannot go on."""
        if self.in_storage:
            for left in self.scratch.parent.glob(f"{_WORKING}*"):
                if left != self.scratch:
                    shutil.rmtree(left, ignore_errors=True)

    def _end(self) -> None:
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
