"""Launches in a real store whose networks can be registered: for tests of the model registry."""

from collections.abc import Mapping, Sequence
from typing import Any

from recording import FACTS

from orchestrator import records as keys
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Outcome, Record, Status
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.workflow.results import Results, read_results

DATA = "d" * 64  # the digest of the data


def record_launch(
    uri: str,
    name: str,
    accuracies: Mapping[str, Sequence[float]],
    data: str = DATA,
    trainer: Mapping[str, Any] | None = None,
    verdict: Mapping[str, Any] | None = None,
) -> Results:
    """A complete launch: the test accuracies of each variant, seed by seed, and a model of every trial.

    What is registered is never loaded: each model is the one file by which a folder is known to be a model.
    """
    seeds = [*range(max(map(len, accuracies.values())))]
    tree = {
        "name": name,
        "variants": [*accuracies],
        "seeds": seeds,
        "trainer": {**(trainer or {})},
        "verdict": {**(verdict or {})},
    }
    plan = make_plan(read_experiment(tree, "x"), data)
    runs = open_launch(connect(uri), uri, "abc", plan, FACTS, {}, {})
    sink = Sink(runs)
    validated = (trainer or {}).get("protocol") != "published"
    for trial in plan.trials:
        if trial.seed >= len(accuracies[trial.label]):
            continue
        accuracy = accuracies[trial.label][trial.seed]
        judged = keys.VAL_ACCURACY if validated else keys.TEST_ACCURACY
        epoch = {keys.TRAIN_LOSS: 1.0, judged: accuracy, keys.EPOCH_SECONDS: 1.0}
        final = {keys.BEST_EPOCH: 1.0, keys.TEST_ACCURACY: accuracy}
        sink.on_start(trial.name)
        sink.on_record(trial.name, Record(1, 1000.0, epoch))
        sink.on_record(trial.name, Record(1, 1001.0, final, final=True))
        sink.on_end(Outcome(trial.name, Status.COMPLETE))
    sink.close(Status.COMPLETE)
    result = read_results(runs.client, name)
    for row in result.rows:
        runs.client.log_text(row.run_id, "", "model/MLmodel")
    return result
