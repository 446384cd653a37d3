"""Train the trials of a launch, evaluate the selected ones of a search, and report to MLflow and the display."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.errors import InterruptedLaunchError
from orchestrator.records import BEST_VAL_ACCURACY, TEST_ACCURACY, Outcome, Status, TrialRow, summary
from orchestrator.scheduling.checkpoints import find_checkpoints
from orchestrator.scheduling.launch import Launch, run_launch
from orchestrator.scheduling.launch_folder import LaunchFolder
from orchestrator.scheduling.storage import Storage
from orchestrator.selection import chosen_trials
from orchestrator.spec import Plan
from orchestrator.spec.trial import SEARCH
from orchestrator.text import counted
from orchestrator.trial import TrialFolder
from orchestrator.workflow.check import Checked
from orchestrator.workflow.delivery import Delivery
from orchestrator.workflow.display import Display
from orchestrator.workflow.growth import Growth


def train_all(
    checked: Checked,
    growth: Growth,
    folder: LaunchFolder,
    storage: Storage,
    delivery: Delivery,
    nodes: list[dict[str, float]],
    resources: Mapping[str, float],
    dataset_ref: object,
    display: Display,
) -> Status:
    """Run unfinished trials, report to MLflow and the display, and return how the launch as a whole ended.

    The trials of a search train first; then, for each variant, those with the selected settings are evaluated on the
    test split, which no other trial ever sees.
    """
    plan = checked.plan
    finished = folder.finished(plan)
    resume_from = find_checkpoints(folder.path, plan, finished, storage)
    before = delivery.catch_up(finished, resume_from)
    growth.publish = delivery.publish
    names, epochs = [spec.name for spec in plan.trials], plan.experiment.trainer.epochs
    chosen_later = plan.experiment.search is not None and plan.experiment.confirm is None
    work = Launch(
        plan,
        checked.dataset,
        folder.path,
        resources,
        nodes=nodes,
        storage=storage,
        listeners=(delivery,),
        finished=frozenset(finished),
        resume_from=resume_from,
        ended=delivery.refused,
        measured=lambda spec: spec.stage != SEARCH,
        more=growth if checked.proposals.more else None,
        dataset_ref=dataset_ref,
    )
    if len(finished) < len(names):
        display.begins(names, epochs, before)
    status = _run(work, growth, before, display)
    if not chosen_later or status is Status.INTERRUPTED:
        return status
    chosen = to_measure(folder, plan)
    if chosen:
        display.log(f"evaluating the best settings of each variant on the test split: {counted(len(chosen), 'trial')}")
    homes = {name: folder.trial(name) for name in chosen}
    rest = frozenset(spec.name for spec in plan.trials) - homes.keys()
    again = replace(work, finished=rest, resume_from=homes, measured=lambda _: True, more=None)
    measured = _run(again, chosen, [], display)
    return status if measured is Status.COMPLETE else measured


def _run(work: Launch, shown: Growth | Sequence[str], before: Sequence[Outcome], display: Display) -> Status:
    """Run the unfinished part of ``work``, of which ``before`` have ended.

    The display shows the trials named in ``shown``, or the whole plan and what it grows by.
    """
    if not {spec.name for spec in work.plan.trials} - work.finished:
        return Status.COMPLETE
    names = [spec.name for spec in work.plan.trials] if isinstance(shown, Growth) else shown
    with display.training(names, work.plan.experiment.trainer.epochs, before) as watching:
        listeners = (*work.listeners, *watching)
        if isinstance(shown, Growth):
            shown.listeners = listeners
        try:
            outcomes = run_launch(replace(work, listeners=listeners), display.log)
        except InterruptedLaunchError:  # the log says why
            return Status.INTERRUPTED
    return overall(outcomes.values())


def to_measure(folder: LaunchFolder, plan: Plan) -> list[str]:
    """Names of the complete trials with each variant's selected settings that are not evaluated yet.

    They are selected by validation accuracy alone, as in the verdict.
    """
    rows, measured = [], set()
    for spec in plan.trials:
        trial = TrialFolder(folder.trial(spec.name))
        outcome = trial.outcome() if trial.path.exists() else None
        found = summary(trial.records(), plan.experiment.target_accuracy) if outcome is not None else {}
        status = "failed" if outcome is None else str(outcome.status)
        accuracy = found.get(BEST_VAL_ACCURACY)
        row = TrialRow(spec.name, "", spec.label, spec.seed, status, val_accuracy=accuracy, sample=spec.sample)
        if outcome is not None and trial.is_measured():
            measured.add(spec.name)
            row = replace(row, test_accuracy=trial.records()[-1].metrics[TEST_ACCURACY])
        rows.append(row)
    compared = (trial for mine in chosen_trials(rows).values() for trial in mine)
    return [t.trial for t in compared if t.status == Status.COMPLETE and t.trial not in measured]


def overall(outcomes: Iterable[Outcome]) -> Status:
    """Interrupted if a trial was; else failed if one failed; else complete."""
    ended = list(outcomes)
    if any(o.status is Status.INTERRUPTED for o in ended):
        return Status.INTERRUPTED
    return Status.FAILED if any(o.status is Status.FAILED for o in ended) else Status.COMPLETE
