"""Driver seconds a record of 16 metrics, in SQLite: ours against Ray's callback. Run: python benchmarks/tracking.py.

Records are delivered one at a time, as they come in a launch whose trials take seconds an epoch: the sink may not put
several into one call. Its thread's whole work is counted, though it holds nobody up.
"""

import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import Comparison, Side, arguments, interleaved, report
from hot_loop import ours as train
from published import SETTINGS

from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Record, Status
from orchestrator.tracking.open_launch import open_launch
from orchestrator.tracking.runs import DatasetFacts
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect

MUST_REACH = 6.0  # times less
GREATEST_SHARE = 0.01  # of the wall time of the shortest epoch there is: the quick start's fastest network
SHORTEST_EPOCH = 1_293  # images: nine tenths of the handwritten digits' training split
FASTEST = "grouped_concat"
RECORDS = 25  # in one measurement
METRICS = 16


def figures(epoch: int) -> dict[str, float]:
    """One record's metrics."""
    return {f"metric_{position}": epoch + position / METRICS for position in range(METRICS)}


@contextmanager
def open_sink(folder: Path) -> Iterator[tuple[Sink, str]]:
    """A sink with a fresh store, and the name of the trial whose records it takes."""
    plan = make_plan(read_experiment({"name": "tracking", "variants": [FASTEST]}, "benchmark"))
    uri = f"sqlite:///{folder / 'ours.db'}"
    runs = open_launch(connect(uri), uri, "benchmark", plan, DatasetFacts("none", "0" * 36, "{}", "{}"), {}, {})
    sink = Sink(runs)
    trial = plan.trials[0].name
    sink.on_start(trial)
    yield sink, trial
    sink.close(Status.COMPLETE)


def ours(sink: Sink, trial: str, epochs: Iterator[int], records: int) -> tuple[float, float]:
    """Seconds a record until it is in the store, and how many of them a processor worked."""
    _wait(sink)
    started, worked = time.perf_counter(), time.process_time()
    for _ in range(records):
        epoch = next(epochs)
        sink.on_record(trial, Record(epoch, time.time(), figures(epoch)))
        _wait(sink)
    return (time.perf_counter() - started) / records, (time.process_time() - worked) / records


def _wait(sink: Sink) -> None:
    """Until everything told to the sink has been delivered: an event of our own comes after it."""
    from threading import Event

    delivered = Event()
    sink.then("", delivered.set)
    delivered.wait()


@contextmanager
def open_callback(folder: Path) -> Iterator[tuple[Any, Any]]:
    """Ray's callback with a fresh store, and the trial whose results it takes."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.experiment import Trial

    callback = MLflowLoggerCallback(f"sqlite:///{folder / 'theirs.db'}", experiment_name="tracking")
    callback.setup()
    trial = Trial("none", config={"variant": FASTEST}, stub=True)
    callback.log_trial_start(trial)
    yield callback, trial
    callback.log_trial_end(trial)


def theirs(callback: Any, trial: Any, epochs: Iterator[int], records: int) -> float:
    """Seconds a record; the callback returns when it is in the store."""
    started = time.perf_counter()
    for _ in range(records):
        epoch = next(epochs)
        callback.log_trial_result(epoch, trial, {"training_iteration": epoch, **figures(epoch)})
    return (time.perf_counter() - started) / records


def shortest_epoch() -> float:
    """Processor seconds of an epoch of the fastest network on the smallest data set: its time on a core of its own."""
    side = Side()
    batch = SETTINGS[FASTEST][0]
    side.call(train, FASTEST, batch, None)  # the first one warms up
    milliseconds: float = side.call(train, FASTEST, batch, None)
    side.close()
    return milliseconds / 1e3 * SHORTEST_EPOCH


def main() -> int:
    """Both sides into SQLite files of their own in one folder."""
    warnings.simplefilter("ignore")
    flags = arguments(__doc__ or "")
    count = iter(range(1, 1_000_000))
    with tempfile.TemporaryDirectory() as name, open_sink(Path(name)) as sink, open_callback(Path(name)) as callback:
        work: list[float] = []

        def measured() -> float:
            seconds, worked = ours(*sink, count, RECORDS)
            work.append(worked)
            return seconds

        first, second = interleaved(measured, lambda: theirs(*callback, count, RECORDS), flags.repeats)
    comparison = Comparison("", first, second, "seconds a record")
    share = statistics.median(work) / shortest_epoch()
    return report(
        "tracking",
        [comparison],
        must_reach=MUST_REACH,
        as_json=flags.json,
        remarks={f"processor time, as a share of the shortest epoch's (at most {GREATEST_SHARE:.0%})": f"{share:.2%}"},
        holds=share <= GREATEST_SHARE,
    )


if __name__ == "__main__":
    sys.exit(main())
