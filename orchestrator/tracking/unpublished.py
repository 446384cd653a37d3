"""Which records of a trial MLflow does not have yet, or has with other values, and how they are sent."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator import records as keys
from orchestrator.records import Record

if TYPE_CHECKING:
    from mlflow.entities import Metric

# Metrics by which published records are known: those of an epoch, of what was chosen, and of its evaluation.
EPOCH, CHOSEN, EVALUATED = (
    (keys.TRAIN_LOSS,),
    (keys.BEST_EPOCH, keys.PUBLISHED_BEST),
    (keys.TEST_ACCURACY, keys.TEST_LOSS),
)
MARKS = (*EPOCH, *CHOSEN, *EVALUATED)
Published = dict[tuple[str, int], tuple[float, int]]  # by metric and epoch: value, and its timestamp in milliseconds
MOST_METRICS = 1_000  # in one batch; MLflow's limit


def began(records: Sequence[Record]) -> float | None:
    """When a trial with these ``records`` began: the first epoch, if it is among them; in seconds since 1970."""
    return records[0].time - records[0].metrics.get(keys.EPOCH_SECONDS, 0.0) if records else None


def without(record: Record, published: Published) -> Record:
    """``record`` without what has been published: an epoch goes out as a whole, a final record in two parts."""
    if not record.final:
        return replace(record, metrics={}) if _has(published, record, EPOCH) else record
    # By the published protocol the test accuracy is that of an epoch, and the final record is one part.
    measured = {n for n in record.metrics if n.startswith(keys.TEST) or n in keys.FORWARD}
    measured = measured if keys.TEST_ACCURACY in record.metrics else set()
    left = dict(record.metrics)
    for marks, part in ((CHOSEN, left.keys() - measured), (EVALUATED, measured)):
        if _has(published, record, marks):
            left = {name: value for name, value in left.items() if name not in part}
    return replace(record, metrics=left)


def _has(published: Published, record: Record, marks: Sequence[str]) -> bool:
    """Whether the part of ``record`` that begins with the first of ``marks`` is published with its values."""
    first, *_ = marks
    known = {mark: published[mark, record.epoch][0] for mark in marks if (mark, record.epoch) in published}
    mine = {mark: record.metrics.get(mark, value) for mark, value in known.items()}
    # MLflow keeps neither nan nor infinity as it is.
    return first in known and all(mine[mark] == value or not math.isfinite(mine[mark]) for mark, value in known.items())


def timestamp(record: Record, published: Published) -> int:
    """What MLflow orders ``record`` by, in milliseconds: its time, or later than what it replaces."""
    replaced = {(mark, record.epoch) for mark in MARKS if mark in record.metrics} & published.keys()
    return max([int(record.time * 1000), *(1 + published[mark][1] for mark in replaced)])


def in_order(history: "Iterable[tuple[str, Metric]]") -> "list[tuple[str, Metric]]":
    """By time, and of the same time by value: of several for an epoch, MLflow shows the last."""
    return sorted(history, key=lambda item: (item[1].timestamp, item[1].value))


def batches(records: list[Record]) -> Iterator[list[Record]]:
    """Batches of records within MLflow's limit; none is split, so that a published one is complete."""
    part: list[Record] = []
    for record in records:
        if part and sum(len(r.metrics) for r in [*part, record]) > MOST_METRICS:
            yield part
            part = []
        part.append(record)
    if part:
        yield part
