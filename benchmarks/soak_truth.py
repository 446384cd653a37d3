"""What a disturbed launch must have left: its rule's decisions, and of each trial what it leaves if it trains alone."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.data import Dataset
from orchestrator.records import VAL_ACCURACY, Record, Status, varies
from orchestrator.scheduling.decisions import Decision, read_log, stopped
from orchestrator.scheduling.stop_rules import stop_rule
from orchestrator.spec import Scheduler
from orchestrator.tracking.read import launch_content
from orchestrator.tracking.store import connect
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder, run_trial

EPOCHS, TRIALS = 9, 40


def differences(folder: Path, dataset: Dataset) -> list[str]:
    """One line for everything in which a launch differs from what was never disturbed."""
    found: list[str] = []
    [launch] = [path.parent for path in folder.glob("storage/soak/*/trials")]
    log = read_log(launch / "rungs.jsonl")
    rule = stop_rule(Scheduler(name="asha", grace_period=1, reduction_factor=2), EPOCHS)
    assert rule is not None
    for decision in log:
        if rule.judge(decision.name, decision.epoch, decision.value)[1] != decision:
            found.append(f"{decision.name}: at epoch {decision.epoch} the rule decides otherwise")
    lines = [line for line in (launch / "rungs.jsonl").read_text().splitlines() if line.endswith("]")]
    if len(lines) != len(log):
        found.append(f"the log has {len(lines)} lines for {len(log)} decisions")
    ends, content = stopped(log), launch_content(connect(f"sqlite:///{folder / 'mlflow.db'}"), "soak")
    if (status := content.pop("the launch")["status"]) != "FINISHED":
        found.append(f"the launch is {status} in MLflow")
    homes = {
        str(path.parent.relative_to(launch / "trials")): path.parent for path in launch.glob("trials/**/spec.json")
    }
    if len(homes) != TRIALS or content.keys() != homes.keys():
        found.append(f"{len(homes)} trials have folders and {len(content)} stand in MLflow, of {TRIALS}")
    for name in sorted(homes.keys() & content.keys()):
        found += [f"{name}: {what}" for what in _of_trial(homes[name], content[name], ends.get(name), log, dataset)]
    return found


def _of_trial(
    home: Path, content: dict[str, Any], end: int | None, log: Sequence[Decision], dataset: Dataset
) -> list[str]:
    """What differs of one trial that was stopped at epoch ``end``, or that ran to its last epoch."""
    saved, found = TrialFolder(home), []
    name = saved.spec().name
    with tempfile.TemporaryDirectory() as scratch:
        alone = TrialFolder(Path(scratch) / "folder")
        records: list[Record] = []
        for record in run_trial(saved.spec(), dataset, alone.path):
            records.append(record)
            if record.epoch == end:
                break
        for file in ("last", "best"):
            ours, theirs = (getattr(folder, file) for folder in (saved, alone))
            if ours.exists() and _weights(ours) != _weights(theirs):
                found.append(f"weights in {ours.name}")
    if _plain(saved.records()) != _plain(records):
        found.append("records")
    outcome = saved.outcome()
    if outcome is None or outcome.status is not (Status.COMPLETE if end is None else Status.STOPPED):
        found.append(f"ended as {outcome.status if outcome else None}, stopped at {end}")
    judged = {r.epoch: r.metrics[VAL_ACCURACY] for r in records if VAL_ACCURACY in r.metrics}
    for decision in log:
        if decision.name == name and judged.get(decision.epoch) != decision.value:
            found.append(f"judged at epoch {decision.epoch} by {decision.value}, not {judged.get(decision.epoch)}")
    if content["MLflow status"] != "FINISHED":
        found.append(f"is {content['MLflow status']} in MLflow")
    if content["MLflow tags"].get("stopped_early") != (None if end is None else "true"):
        found.append("the tag stopped_early in MLflow")
    for metric, values in content["MLflow metrics"].items():
        if max(Counter(step for step, _ in values).values()) > 1:
            found.append(f"an epoch of {metric} stands twice in MLflow")
    if [step for step, _ in content["MLflow metrics"].get(VAL_ACCURACY, [])] != sorted(judged):
        found.append("epochs in MLflow")
    return found


def _weights(file: Path) -> str:
    return checkpoint.content_digest(checkpoint.load(file)["network"])


def _plain(records: Sequence[Record]) -> list[Any]:
    return [(r.epoch, r.final, {k: v for k, v in r.metrics.items() if not varies(k)}) for r in records]
