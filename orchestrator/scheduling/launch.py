"""One launch: every trial of a plan under Ray Tune, reported to listeners, its folder collected."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.data import Dataset
from orchestrator.data.arrays import to_arrays
from orchestrator.errors import InterruptedLaunchError
from orchestrator.records import Failure, Listener, Outcome, Status
from orchestrator.scheduling.checkpoints import ATTEMPT, directory_name, list_attempts, list_checkpoints, newest_intact
from orchestrator.scheduling.launch_folder import RUNGS
from orchestrator.scheduling.resources import larger_share
from orchestrator.scheduling.stop_rules import judged_epochs
from orchestrator.scheduling.storage import FOLDERS, LAST, Storage
from orchestrator.spec import Plan, TrialSpec
from orchestrator.spec.trial import CONFIRM
from orchestrator.trial import TrialFolder


@dataclass(frozen=True)
class Launch:
    """What to run, where, and from which checkpoints."""

    plan: Plan
    dataset: Dataset
    folder: Path  # finished trial folders go to folder/trials/<trial name>; below the root of ``storage``
    resources: Mapping[str, float]  # of one trial
    listeners: Sequence[Listener] = ()
    finished: frozenset[str] = frozenset()  # names of trials that need not be run
    resume_from: Mapping[str, Path] = field(default_factory=dict)  # trial name to the folder it resumes from
    nodes: Sequence[dict[str, float]] = ()  # what each node has in all
    storage: Storage = FOLDERS  # where every node finds the folder
    ended: Callable[[], bool] = lambda: False  # asked again and again: whether the launch is to end at once
    measured: Callable[[TrialSpec], bool] = lambda _: True  # on the test split, when the trial has trained
    more: Callable[[Mapping[str, Outcome]], Sequence[TrialSpec]] | None = None  # what these ends of trials make known
    dataset_ref: Any = None  # the ObjectRef of the dataset's arrays, if they are in the object store already


def run_launch(launch: Launch, log: Callable[[str], None] = lambda _: None) -> dict[str, Outcome]:
    """Run every trial that is not finished; returns how each ended, by name.

    Ray must have been started. A trial that fails fails alone. SIGINT or SIGTERM ends the launch early: the epochs in
    progress are finished, and trials that have not ended are then returned as interrupted, and can be resumed. A
    second one ends it at once. ``log`` gets the messages for the user. Raises InterruptedLaunchError if every known
    trial has ended but the storage failed, so that what was to follow is not known: it is when the launch is resumed.
    """
    from orchestrator.scheduling.callback import LaunchCallback
    from orchestrator.scheduling.drain import Drain, signals_drain

    drain = Drain(log)
    callback = LaunchCallback(launch.folder / "trials", launch.listeners, drain, launch.storage, launch.ended)
    settled = settle_stopped(launch)
    callback.outcomes.update(settled)
    finished = launch.finished | settled.keys()
    waiting = [spec for spec in launch.plan.trials if spec.name not in finished]
    if launch.more is not None:
        waiting += launch.more(callback.ended_for_good())
    resume_from = dict(launch.resume_from)
    resources, retries = dict(launch.resources), launch.plan.experiment.failures.out_of_memory
    with signals_drain(drain, log):
        while waiting:
            callback.retried = frozenset({Failure.OUT_OF_MEMORY} if retries else ())
            this_pass = replace(launch, resume_from=resume_from, resources=resources)
            begun = _run_trials(this_pass, waiting, callback, drain)
            callback.interrupt(spec.name for spec in begun)
            lacking = {n for n, o in callback.outcomes.items() if o.failure is Failure.OUT_OF_MEMORY}
            waiting = [spec for spec in begun if spec.name in lacking] if retries else []
            if drain.requested:  # nobody has been told of a failure that was to be tried again
                for spec in waiting:
                    del callback.outcomes[spec.name]
                callback.interrupt(spec.name for spec in waiting)
                break
            resources, retries = larger_share(resources, launch.nodes), retries - 1
            for spec in waiting:
                if (failed := newest_intact([launch.folder / "trials" / spec.name], spec)) is not None:
                    resume_from[spec.name] = failed
                log(f"{spec.name}: out of memory; once more with {_format_resources(resources)}")
    ended = callback.ended_for_good()
    if launch.more is not None and drain.requested and not drain.without_storage and ended == callback.outcomes:
        follow = drain.unless_storage_fails(launch.folder, partial(launch.more, ended)) or ()  # when it is resumed
        callback.interrupt(spec.name for spec in follow)
    callback.close()
    _tidy(launch, callback.outcomes)
    if drain.without_storage and callback.ended_for_good() == callback.outcomes:
        raise InterruptedLaunchError(f"{launch.folder} could not be read or written, so that it is to be resumed")
    return callback.outcomes


def _run_trials(launch: Launch, waiting: Sequence[TrialSpec], callback: Any, drain: Any) -> list[TrialSpec]:
    """One pass of Ray Tune over ``waiting`` and what becomes known meanwhile; returns all of these trials."""
    import ray
    from ray import tune

    from orchestrator.scheduling.growing import GrowingPlan
    from orchestrator.scheduling.tune_internals import tune_internals
    from orchestrator.scheduling.worker import TrialWorker

    attempt, known = _attempt(launch), list(waiting)

    def more(wait: bool) -> list[dict[str, Any]]:
        callback.deliver_outcomes(wait)
        assert launch.more is not None
        ask = partial(launch.more, callback.ended_for_good())
        new = drain.unless_storage_fails(launch.folder, ask) or ()  # what becomes known is decided on disk
        known.extend(new)
        return [_config(spec, launch, attempt) for spec in new]

    dataset_ref = launch.dataset_ref or ray.put(to_arrays(launch.dataset))
    trainable = tune.with_resources(
        tune.with_parameters(TrialWorker, data={"dataset": dataset_ref, "directory": str(Path.cwd())}),
        tune.PlacementGroupFactory([dict(launch.resources)]),
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            scheduler=_scheduler(launch, drain),
            search_alg=GrowingPlan(
                [_config(spec, launch, attempt) for spec in waiting],
                more if launch.more else None,
                lambda: drain.requested,
                launch.plan.experiment.resources.max_concurrent_trials,
            ),
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=attempt,
            storage_path=launch.storage.address(launch.folder),
            callbacks=[callback],
            stop=drain,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=launch.plan.experiment.failures.infrastructure),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),  # see worker.py
        ),
    )
    for spec in waiting:
        callback.outcomes.pop(spec.name, None)
    callback.attempt = launch.folder / attempt
    with tune_internals():
        tuner.fit()  # it does not raise when a trial fails: the callback knows how each one ended
    callback.deliver_outcomes(wait=True)
    return known


def settle_stopped(launch: Launch) -> dict[str, Outcome]:
    """End the trials that the scheduler had stopped when the driver was lost: its decision stands."""
    from orchestrator.scheduling.callback import collect_trial
    from orchestrator.scheduling.decisions import read_log, stopped

    settled = {}
    names = {spec.name for spec in launch.plan.trials if spec.stage != CONFIRM} - launch.finished
    for name, epoch in stopped(read_log(launch.folder / RUNGS)).items():
        if name in names and name in launch.resume_from:
            found = launch.resume_from[name]
            if max((record.epoch for record in TrialFolder(found).records()), default=0) < epoch:
                continue  # that epoch was lost with its checkpoint: it is trained again, and stopped again
            reason = f"stopped by the scheduler after epoch {epoch}"
            outcome = Outcome(name, Status.STOPPED, reason)
            folder = launch.folder / "trials" / name
            settled[name] = collect_trial(found, folder, outcome)
            launch.storage.push(folder)
            for listener in launch.listeners:
                listener.on_end(settled[name])
    return settled


def _tidy(launch: Launch, outcomes: Mapping[str, Outcome]) -> None:
    """Remove the checkpoints of trials that have been collected, and attempts that hold no others.

    What was interrupted is resumed from there, and so is what is not in this plan, should it be in a later one.
    """
    storage, home = launch.storage, launch.folder / "trials"
    ended = {n for n, o in outcomes.items() if o.status is not Status.INTERRUPTED and o.folder is not None}
    ended |= {n for n in launch.finished - outcomes.keys() if (home / n / LAST).exists()}
    going_on, collected = ({directory_name(n) for n in names} for names in (outcomes.keys() - ended, ended))
    for attempt in list_attempts(launch.folder, storage):
        children = storage.children(attempt)
        others = children - collected  # some are Ray's own files
        if others & going_on or any(list_checkpoints(attempt / name, storage) for name in others):
            for name in children & collected:
                storage.remove(attempt / name)
        else:
            storage.remove(attempt)


def _attempt(launch: Launch) -> str:
    """A name for this attempt at the launch: each has a folder of its own."""
    taken = [int(path.name.removeprefix(ATTEMPT)) for path in list_attempts(launch.folder, launch.storage)]
    return f"{ATTEMPT}{max(taken, default=0) + 1}"


def _config(spec: TrialSpec, launch: Launch, attempt: str) -> dict[str, Any]:
    """What the worker is told about one trial. Its places are whole, or relative to the store's URI."""
    experiment, before, storage = launch.plan.experiment, launch.resume_from.get(spec.name), launch.storage

    def place(path: Path) -> str:
        return str(path.resolve()) if storage.uri is None else path.relative_to(storage.root).as_posix()

    return {
        "name": spec.name,
        "spec": json.dumps(spec.to_json()),
        "measure": launch.measured(spec),
        "gpus": launch.resources.get("GPU", 0.0),
        "uri": storage.uri,
        "place": place(launch.folder / attempt / directory_name(spec.name)),
        "resume_from": place(before) if before else None,
        "judged_at": [] if spec.stage == CONFIRM else judged_epochs(experiment.scheduler, experiment.trainer.epochs),
    }


def _trial_name(trial: Any) -> str:
    return directory_name(trial.config["trial"]["name"])


def _format_resources(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {kind}" for kind, amount in resources.items())


def _scheduler(launch: Launch, drain: Any) -> Any:
    from orchestrator.scheduling.early_stopping import EarlyStopping
    from orchestrator.scheduling.fifo import DrainableFIFO

    experiment = launch.plan.experiment
    if experiment.scheduler.name == "fifo":
        return DrainableFIFO(drain)
    log = launch.folder.resolve() / RUNGS
    return EarlyStopping(experiment.scheduler, experiment.trainer.epochs, log, drain, launch.storage.push)
