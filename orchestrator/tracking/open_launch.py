"""Find or create a launch in MLflow: its experiment, its own run, and the runs that its trials have already."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.records import Status
from orchestrator.spec import Plan
from orchestrator.spec.fields import to_json
from orchestrator.tracking import saved_view
from orchestrator.tracking.lease import await_owner, lease_end
from orchestrator.tracking.moved import artifacts_beside, follow, is_beside
from orchestrator.tracking.names import LONGEST_RUN_NAME, storable
from orchestrator.tracking.note import put_description
from orchestrator.tracking.published import published_tag
from orchestrator.tracking.runs import DatasetFacts, LaunchRuns, TrialFacts, end, join_plan, reopen, trials_of
from orchestrator.tracking.store import sqlite_file
from orchestrator.tracking.tags import (
    BESIDE,
    CAUTION,
    COMMAND,
    CONFIRM_SEEDS,
    CONTRACT,
    DESCRIPTION,
    KIND,
    LAUNCH,
    LAUNCH_ID,
    LEASE,
    LEASE_OWNER,
    LEFT_OUT,
    NOTE,
    OPENED,
    PLANNED,
    PUBLISHED,
    REJECTED,
    SEARCHING,
    SHARE,
    SOURCE_NAME,
    SPEC_HASH,
    STATUS,
    TARGET,
    VERDICT_SETTINGS,
    in_parts,
    opened_tag,
    shorten,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DIGITS = 8  # of a launch's id, in its name if that is taken


def open_launch(
    client: "MlflowClient",
    uri: str,
    launch: str,
    plan: Plan,
    dataset: DatasetFacts,
    facts: Mapping[str, TrialFacts],
    tags: Mapping[str, str],
    artifacts: str | None = None,
    launch_id: str | None = None,
    opened: float | None = None,
    owner: str | None = None,
) -> LaunchRuns:
    """The launch with ``launch_id`` in MLflow: found if it has been recorded before, else created.

    Its name is ``launch``, with a part of its id if another launch has that name: the name identifies the plan, and a
    plan may be launched from several storage folders. Without an id (from an earlier version) it is found by name.
    ``opened``: when the command began to work on it, in seconds since 1970, as its folder says; by default now.
    ``owner``: who keeps its lease from now on. Raises StorageError if another one does and is alive.
    ``artifacts``, a URI, is where a new experiment keeps them; by default beside a SQLite file, or its server's choice.
    """
    name = plan.experiment.name
    experiment_id = _experiment(client, uri, name, artifacts, launch_id)
    saved_view.publish_view(
        client, experiment_id, sorted(plan.experiment.search.space) if plan.experiment.search else []
    )
    named = _launches(client, experiment_id, LAUNCH, launch)
    if launch_id is None:
        found = [run for run in named if LAUNCH_ID not in run.data.tags]
    else:
        found = _launches(client, experiment_id, LAUNCH_ID, launch_id)
    if found:
        if owner is not None:
            await_owner(client, found[0], owner)
        parent, launch = str(found[0].info.run_id), str(found[0].data.tags[LAUNCH])
        if SOURCE_NAME in found[0].data.tags:
            tags = {SOURCE_NAME: found[0].data.tags[SOURCE_NAME], **tags}
        for name, value in _lease_tags(owner).items():  # first, because a run without a lease counts as lost
            client.set_tag(parent, name, value)
        put_description(client, found[0], plan.experiment.description)  # before the tag that says what it was
        for name, value in shorten(
            _judging_tags(plan, opened)
        ).items():  # they may have been edited: nothing was trained by them
            client.set_tag(parent, name, value)
        reopen(client, parent)
        _put_published(client, found[0], published_tag(plan.experiment.published))
        recorded = {run.data.tags.get(SPEC_HASH, ""): run for run in trials_of(client, experiment_id, parent)}
        _renew_hashes(client, plan, recorded)
        _keep_to_plan(client, plan, recorded, facts)
    else:
        if named and launch_id is not None:
            launch = f"{launch}-{launch_id[:DIGITS]}"
        known = {**_launch_tags(plan, launch, launch_id, tags, opened), **_lease_tags(owner)}
        parent = str(
            client.create_run(
                experiment_id, tags=shorten(known), run_name=storable(f"launch {launch}", LONGEST_RUN_NAME)
            ).info.run_id
        )
        recorded = {}
    return LaunchRuns(client, experiment_id, parent, plan, dataset, facts, {**tags, LAUNCH: launch}, recorded)


def put_command(runs: LaunchRuns, command: str) -> None:
    """Keep the ``command`` that amends the launch; an empty one keeps what is there."""
    for name, value in shorten(in_parts(COMMAND, command)).items() if command else ():
        runs.client.set_tag(runs.parent_run_id, name, value)


def put_share(runs: LaunchRuns, share: Mapping[str, float | None]) -> None:
    """Keep what one trial reserves and what that costs, by which a launch that has not ended is read."""
    runs.client.set_tag(runs.parent_run_id, SHARE, json.dumps(dict(share)))


def _lease_tags(owner: str | None) -> dict[str, str]:
    """The lease, renewed now; the owner comes first, so that no other driver takes the lease for its own."""
    return shorten({**({} if owner is None else {LEASE_OWNER: owner}), LEASE: lease_end()})


def _launch_tags(
    plan: Plan, launch: str, launch_id: str | None, tags: Mapping[str, str], opened: float | None
) -> dict[str, str]:
    return {
        KIND: "launch",
        LAUNCH: launch,
        **_judging_tags(plan, opened),
        **published_tag(plan.experiment.published),
        **tags,
        **({} if launch_id is None else {LAUNCH_ID: launch_id}),
        **({NOTE: plan.experiment.description} if plan.experiment.description else {}),
    }


def _judging_tags(plan: Plan, opened: float | None) -> dict[str, str]:
    """What the results are read with, and what the launch's own run says of its plan."""
    experiment = plan.experiment
    return {
        SPEC_HASH: plan.identity(),
        REJECTED: str(plan.rejected_samples),
        CAUTION: plan.caution,
        OPENED: opened_tag(time.time() if opened is None else opened),
        TARGET: str(experiment.target_accuracy),
        DESCRIPTION: experiment.description,
        PLANNED: str(len(plan.trials)),
        SEARCHING: str(plan.searching).lower(),
        VERDICT_SETTINGS: json.dumps(to_json(experiment.verdict)),
        **in_parts(CONFIRM_SEEDS, "" if experiment.confirm is None else json.dumps(experiment.confirm.seeds)),
    }


def _renew_hashes(client: "MlflowClient", plan: Plan, recorded: "dict[str, Run]") -> None:
    """Give the runs that an earlier version recorded the identities that their trials have today."""
    paths = {run.data.params["dataset.name"] for run in recorded.values() if "dataset.name" in run.data.params}
    for spec in plan.trials:
        if (now := spec.identity()) not in recorded:
            before = next((one for one in spec.earlier_identities(paths) if one in recorded), None)
            if before is not None:
                recorded[now] = run = recorded.pop(before)
                client.set_tag(run.info.run_id, SPEC_HASH, now)


def _keep_to_plan(
    client: "MlflowClient", plan: Plan, recorded: Mapping[str, "Run"], facts: Mapping[str, TrialFacts]
) -> None:
    """Mark the trials that are no longer in the plan, end what was left running of them, and renew the others' tags.

    Those are their names, places and stages, what was drawn for them, and whether they keep today's contract.
    """
    specs = {spec.identity(): spec for spec in plan.trials}
    contracts = {spec.identity(): facts[spec.name].tags.get(CONTRACT) for spec in plan.trials if spec.name in facts}
    for spec_hash, run in recorded.items():
        run_id, tags = run.info.run_id, run.data.tags
        if (spec := specs.get(spec_hash)) is None:
            if LEFT_OUT not in tags:
                client.set_tag(run_id, LEFT_OUT, "true")
            if run.info.status == "RUNNING":
                client.set_tag(run_id, STATUS, str(Status.INTERRUPTED))
                end(client, run, "KILLED")
            continue
        join_plan(client, plan, spec, run)
        if (contract := contracts.get(spec_hash)) not in (None, tags.get(CONTRACT)):
            client.set_tag(run_id, CONTRACT, contract)


def _put_published(client: "MlflowClient", run: Any, tag: Mapping[str, str]) -> None:
    """What the experiment file says today of published accuracies, in a launch that has been recorded before."""
    for name, value in tag.items():
        client.set_tag(run.info.run_id, name, value)
    if not tag and PUBLISHED in run.data.tags:
        client.delete_tag(run.info.run_id, PUBLISHED)


def _launches(client: "MlflowClient", experiment_id: str, tag: str, value: str) -> list[Any]:
    return list(client.search_runs([experiment_id], f"tags.{KIND} = 'launch' and tags.{tag} = '{value}'"))


def _experiment(client: "MlflowClient", uri: str, name: str, artifacts: str | None, launch_id: str | None) -> str:
    """The id of the experiment, created if there is none; its artifacts are followed if its store has moved."""
    from mlflow.exceptions import MlflowException

    follow(uri, launch_id)
    database = sqlite_file(uri)
    found = client.get_experiment_by_name(name)
    if found is None:
        if artifacts is None and database is not None:
            artifacts = artifacts_beside(database, name)
        try:
            tags = {**saved_view.KIND, **_beside(database, artifacts)}
            return str(client.create_experiment(name, artifact_location=artifacts, tags=tags))
        except MlflowException:  # another process has just created it
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    for tag, value in _beside(database, found.artifact_location).items():
        if found.tags.get(tag) != value:  # of an earlier version, or not moved by us
            client.set_experiment_tag(found.experiment_id, tag, value)
    return str(found.experiment_id)


def _beside(database: Path | None, artifacts: str | None) -> dict[str, str]:
    """The tag by which artifacts beside the store are found when that has moved; none for those in another place."""
    return {BESIDE: artifacts} if database is not None and artifacts and is_beside(database, artifacts) else {}
