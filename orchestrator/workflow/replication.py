"""Compare launches with the accuracies that were published of their networks, from MLflow alone."""

from collections.abc import Sequence
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.reporting.replication import ReplicationRow, replication_rows
from orchestrator.tracking.lease import close_abandoned
from orchestrator.tracking.published import best_test_accuracies, experiments_with_published, find_published
from orchestrator.tracking.trial_rows import read_trials


def read_replications(
    client: Any, names: Sequence[str] = (), launch: str | None = None, confidence: float = 0.95
) -> list[ReplicationRow]:
    """One row for each published accuracy of the newest launch of each experiment in ``names``.

    Without names, of every experiment whose newest launch names one. ``launch``, with one name, is that launch. Raises
    RequestError if there is nothing to compare.
    """
    if launch is not None and len(names) != 1:
        raise RequestError("a launch belongs to one experiment: name exactly one")
    chosen = list(dict.fromkeys(names)) or experiments_with_published(client)
    if not chosen:
        raise RequestError(
            "no launch in this store names a published accuracy; run one of experiments/published, or give `published: "
            "{last: 0.8556, margin: 0.005}` in your experiment file"
        )
    rows: list[ReplicationRow] = []
    for name in chosen:
        close_abandoned(client, name)
        found = find_published(client, name, launch)
        rows += replication_rows(
            (name, found.launch, found.parent_run_id),
            found.published,
            read_trials(client, found.parent_run_id),
            best_test_accuracies(client, found.parent_run_id),
            confidence,
        )
    return rows
