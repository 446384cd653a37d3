"""Compare launches with the accuracies that were published of their networks, from MLflow alone."""

from collections.abc import Sequence
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.reporting.replication import ReplicationRow, replication_rows
from orchestrator.tracking.lease import close_abandoned
from orchestrator.tracking.published import best_test_accuracies, find_published, launches_with_published
from orchestrator.tracking.trial_rows import read_trials


def read_replications(
    client: Any, names: Sequence[str] = (), launch: str | None = None, confidence: float = 0.95
) -> list[ReplicationRow]:
    """One row for each published accuracy of each experiment in ``names``; without names, of every one that has any.

    Of an experiment's launches that name published accuracies, it is the one last worked on, or ``launch``, with one
    name. Raises RequestError if there is nothing to compare.
    """
    if launch is not None and len(names) != 1:
        raise RequestError("a launch belongs to one experiment: name exactly one")
    newest = {} if launch is not None else launches_with_published(client)
    chosen = list(dict.fromkeys(names)) or list(newest)
    if not chosen:
        raise RequestError(
            "no launch in this store names a published accuracy; run one of experiments/published, or give `published: "
            "{last: 0.8556, margin: 0.005}` in your experiment file"
        )
    rows: list[ReplicationRow] = []
    for name in chosen:
        close_abandoned(client, name)
        found = find_published(client, name, launch or newest.get(name))
        rows += replication_rows(
            (name, found.launch, found.parent_run_id),
            found.published,
            read_trials(client, found.parent_run_id),
            best_test_accuracies(client, found.parent_run_id),
            confidence,
        )
    return rows
