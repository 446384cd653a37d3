"""Published accuracies in MLflow: a tag of the launch that replicates them, read back without its experiment file."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import RequestError
from orchestrator.records import PUBLISHED_BEST, Status
from orchestrator.spec import Published
from orchestrator.spec.fields import from_json
from orchestrator.tracking.read import NEWEST_FIRST, find_launch
from orchestrator.tracking.runs import PAGE, trials_of
from orchestrator.tracking.tags import KIND, LAUNCH, PUBLISHED, STATUS

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class PublishedLaunch:
    """A launch that replicates published accuracies."""

    experiment: str
    launch: str
    parent_run_id: str
    published: Published


def published_tag(published: Published | None) -> dict[str, str]:
    """The tag of the launch's own run; empty if no accuracy was published."""
    if published is None or not published.figures:
        return {}
    return {PUBLISHED: json.dumps({**published.figures, "margin": published.margin})}


def find_published(client: "MlflowClient", experiment: str, launch: str | None = None) -> PublishedLaunch:
    """The launch of ``experiment``, by default the one last worked on.

    Raises RequestError if it names no published accuracy.
    """
    parent, name, _ = find_launch(client, experiment, launch)
    tag = client.get_run(parent).data.tags.get(PUBLISHED)
    if tag is None:
        raise RequestError(
            f"launch {name} of {experiment} names no published accuracy; an experiment with one variant and "
            "`trainer.protocol: published` may name it: `published: {last: 0.8556, margin: 0.005}`"
        )
    try:
        return PublishedLaunch(experiment, name, parent, from_json(Published, json.loads(tag), PUBLISHED))
    except ValueError as problem:
        raise RequestError(f"launch {name} of {experiment}: its tag {PUBLISHED} is damaged: {problem}") from problem


def launches_with_published(client: "MlflowClient") -> dict[str, str]:
    """By experiment, in the order of their names, the launch that names published accuracies.

    Of several that do, it is the one last worked on.
    """
    names = {str(e.experiment_id): str(e.name) for e in client.search_experiments()}
    newest: dict[str, str] = {}
    token = None
    while names:
        found = client.search_runs(
            list(names),
            f"tags.{KIND} = 'launch'",
            max_results=PAGE,
            order_by=NEWEST_FIRST,
            page_token=token,
        )
        for run in found:
            if PUBLISHED in run.data.tags:
                newest.setdefault(names[str(run.info.experiment_id)], str(run.data.tags[LAUNCH]))
        if not (token := found.token):
            break
    return dict(sorted(newest.items()))


def best_test_accuracies(client: "MlflowClient", parent_run_id: str) -> dict[str, float]:
    """By run, the best test accuracy of any epoch of each complete trial: chosen on the test split, never compared."""
    runs = trials_of(client, str(client.get_run(parent_run_id).info.experiment_id), parent_run_id)
    return {
        str(run.info.run_id): run.data.metrics[PUBLISHED_BEST]
        for run in runs
        if run.data.tags.get(STATUS) == Status.COMPLETE and PUBLISHED_BEST in run.data.metrics
    }
