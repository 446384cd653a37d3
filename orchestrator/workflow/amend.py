"""Open the folder of a launch and make a plan its own: amended, with what other launches have trained taken over."""

from collections import Counter
from collections.abc import Sequence

import torch

from orchestrator.errors import ExperimentError
from orchestrator.experiment.confirmation import lost_choices
from orchestrator.experiment.stage_log import StageLog
from orchestrator.scheduling.launch_file import LAUNCH_FILE
from orchestrator.scheduling.launch_folder import SUGGESTIONS, LaunchFolder, fetch_launches, open_launch_folder
from orchestrator.scheduling.storage import Storage
from orchestrator.scheduling.take_over import origin, take_over
from orchestrator.spec import Plan, TrialSpec
from orchestrator.text import counted
from orchestrator.training.device import compute_mode_here
from orchestrator.workflow.check import Checked
from orchestrator.workflow.display import Display
from orchestrator.workflow.growth import Growth


def open_folder(
    experiment: str,
    plan: Plan,
    storage: Storage,
    folder: LaunchFolder | None,
    again: bool,
    directory: str | None = None,
) -> tuple[LaunchFolder, str]:
    """``folder`` if it is given, else the newest launch that the plan can amend or a new one, and why it is new.

    What is stored of it is at hand. ``directory`` is the working directory, if it lasts.
    """
    why = ""
    if folder is None:
        fetch_launches(storage, experiment)
        folder, why = open_launch_folder(storage.root, plan, again, directory)
    folder.fetch(storage)
    storage.push(folder.path / LAUNCH_FILE)
    return folder, why


def amend(
    checked: Checked,
    folder: LaunchFolder,
    storage: Storage,
    display: Display,
    directory: str | None = None,
    elsewhere: bool = False,
) -> Growth:
    """Make the plan the launch's own, with all that is known of it by now, and take over what others have trained.

    ``elsewhere``: machines of a cluster train, of which nothing is known yet. Raises ExperimentError, and amends
    nothing, if it would lose settings that have been chosen for confirmation, or if a variant of the plan cannot have
    settings that TPE has suggested.
    """
    on_gpu = checked.plan.experiment.resources.gpus != 0
    experiment = checked.plan.experiment.name
    decided = StageLog()
    decided.open(folder.path / SUGGESTIONS, lambda _: None)
    if lost := lost_choices(checked.plan.experiment, decided.choices):
        raise ExperimentError(experiment, lost)
    checked.proposals.check_log(folder.path / SUGGESTIONS)
    ended = sum(1 for _ in (folder.path / "trials").rglob("outcome.json"))
    if changed := folder.amend(checked.plan, storage, ended, directory):
        display.log(f"launch {folder.name} is amended: {changed}")
    growth = Growth(checked, folder, storage, checked.plan.experiment.target_accuracy, display.log)

    def take(wanted: Sequence[TrialSpec]) -> list[str]:
        mode_of = None if elsewhere else lambda spec: compute_mode_here(spec.trainer, on_gpu)
        taken = take_over(folder, wanted, storage, torch.__version__, mode_of)
        for launch, count in Counter(origin(folder.trial(name)) for name in taken).items():
            trials = counted(count, "trial")
            if launch == f"{experiment}/{folder.name}":
                display.log(f"{trials} of this launch taken over under another name of the variant")
            else:
                display.log(f"{trials} taken over from launch {launch}, which has trained the same")
        return taken

    growth.take_over = take
    while True:
        growth.catch_up()
        finished = folder.finished(checked.plan)
        if not take([spec for spec in checked.plan.trials if spec.name not in finished]):
            break
    if checked.plan.caution:
        display.log(checked.plan.caution)
    return growth
