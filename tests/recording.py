"""A launch recorded in MLflow without training anything: for tests of what is recorded and read."""

from orchestrator import records as keys
from orchestrator.records import Record
from orchestrator.spec import Plan
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.runs import DatasetFacts, LaunchRuns, TrialFacts
from orchestrator.tracking.store import connect

FACTS = DatasetFacts("tiny", "d" * 64, "{}", "{}")


def open_runs(uri: str, plan: Plan, launch_id: str | None = None) -> LaunchRuns:
    facts = {spec.name: TrialFacts({keys.PARAMETERS: 192_298.0}, {"family": "f"}) for spec in plan.trials}
    return open_launch(connect(uri), uri, "abc", plan, FACTS, facts, {"git_commit": "c0ffee"}, None, launch_id)


def record(epoch: int, final: bool = False) -> Record:
    if final:
        return Record(
            epoch, 1000.0 + epoch, {keys.BEST_EPOCH: 2.0, keys.TEST_ACCURACY: 0.75, keys.TEST_LOSS: 1.0}, True
        )
    metrics = {keys.TRAIN_LOSS: 1.0 / epoch, keys.VAL_ACCURACY: 0.1 * epoch, keys.EPOCH_SECONDS: 2.0}
    return Record(epoch, 1000.0 + epoch, metrics)
