"""One launch: every trial of a plan under Ray Tune, told to listeners, folders brought home."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.data import Dataset
from orchestrator.errors import CheckpointError, StorageError
from orchestrator.records import INTERRUPTED, Listener, Outcome
from orchestrator.spec import Plan, TrialSpec
from orchestrator.trial import TrialFolder

ATTEMPT = "tune-"  # Ray's own folder of each attempt: tune-1, tune-2, ...
LOST_WORKERS = 3  # how often a trial may lose its worker or node before it counts as failed


@dataclass(frozen=True)
class Launch:
    """What to run, where, and from which checkpoints."""

    plan: Plan
    dataset: Dataset
    folder: Path  # finished trial folders go to folder/trials/<trial name>
    resources: Mapping[str, float]  # of one trial
    listeners: Sequence[Listener] = ()
    finished: frozenset[str] = frozenset()  # names of trials that need not be run
    resume_from: Mapping[str, Path] = field(default_factory=dict)  # trial name to the folder it carries on from


def run_launch(launch: Launch) -> dict[str, Outcome]:
    """Run every trial that is not finished; returns how each ended, by name.

    Ray must have been started. A trial that fails fails alone. An interrupt (SIGINT) ends the launch early: trials
    that have not ended are then returned as stopped, and can be carried on.
    """
    from ray import tune

    from orchestrator.scheduling.callback import Messenger
    from orchestrator.scheduling.worker import TrialWorker, pack

    waiting = [spec for spec in launch.plan.trials if spec.name not in launch.finished]
    if not waiting:
        return {}
    messenger = Messenger(launch.folder / "trials", launch.listeners)
    trainable = tune.with_resources(
        tune.with_parameters(TrialWorker, data=pack(launch.dataset)),
        tune.PlacementGroupFactory([dict(launch.resources)]),
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"trial": tune.grid_search([_config(spec, launch) for spec in waiting])},
        tune_config=tune.TuneConfig(
            scheduler=_scheduler(launch),
            reuse_actors=True,
            max_concurrent_trials=launch.plan.experiment.resources.max_concurrent_trials,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=_attempt(launch.folder),
            storage_path=str(launch.folder.resolve()),
            callbacks=[messenger],
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=LOST_WORKERS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2, checkpoint_frequency=1, checkpoint_at_end=True),
        ),
    )
    tuner.fit()  # it does not raise when a trial fails: the messenger knows how each one ended
    messenger.interrupt(spec.name for spec in waiting)
    _tidy(launch.folder, messenger.outcomes)
    return messenger.outcomes


def checkpoints(folder: Path, plan: Plan) -> dict[str, Path]:
    """For every trial that an earlier attempt left unfinished: the folder of its newest whole checkpoint."""
    found = {}
    for spec in plan.trials:
        candidates = sorted(
            folder.glob(f"{ATTEMPT}*/{_directory(spec.name)}/checkpoint_*"),
            key=lambda path: (int(path.parent.parent.name.removeprefix(ATTEMPT)), path.name),
            reverse=True,
        )
        for candidate in candidates:
            if _is_whole(candidate, spec):
                found[spec.name] = candidate
                break
    return found


def _is_whole(folder: Path, spec: TrialSpec) -> bool:
    trial = TrialFolder(folder)
    try:
        return trial.spec().identity() == spec.identity() and trial.checkpoint() is not None
    except (StorageError, CheckpointError):
        return False


def _tidy(folder: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Remove Ray's copies of trials that have come home; what was interrupted is carried on from there."""
    unfinished = {_directory(name) for name, outcome in outcomes.items() if outcome.reason == INTERRUPTED}
    for attempt in folder.glob(f"{ATTEMPT}*"):
        for path in attempt.iterdir() if unfinished else [attempt]:
            if path.is_dir() and path.name not in unfinished:
                shutil.rmtree(path, ignore_errors=True)


def _attempt(folder: Path) -> str:
    """A name for this attempt at the launch: Ray numbers checkpoints from 0 in each, so none may share a folder."""
    taken = [int(path.name.removeprefix(ATTEMPT)) for path in folder.glob(f"{ATTEMPT}*")]
    return f"{ATTEMPT}{max(taken, default=0) + 1}"


def _config(spec: TrialSpec, launch: Launch) -> dict[str, Any]:
    """What the worker is told about one trial."""
    resume_from = launch.resume_from.get(spec.name)
    return {
        "name": spec.name,
        "spec": spec.to_json(),
        "threads": max(1, int(launch.resources["CPU"])),
        "resume_from": str(resume_from.resolve()) if resume_from else None,  # workers stand elsewhere
    }


def _directory(name: str) -> str:
    """A trial's name as one folder name."""
    return name.replace("/", "_")


def _trial_name(trial: Any) -> str:
    return _directory(trial.config["trial"]["name"])


def _scheduler(launch: Launch) -> Any:
    from ray.tune.schedulers import FIFOScheduler

    from orchestrator.scheduling.halving import RememberedASHA

    experiment = launch.plan.experiment
    if experiment.scheduler.name == "fifo":
        return FIFOScheduler()
    return RememberedASHA(experiment.scheduler, experiment.trainer.epochs, launch.folder.resolve() / "rungs.jsonl")
