"""MLflow's model registry: networks as versions of a registered model, and the aliases by which others load them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import RequestError
from orchestrator.records import TrialRow
from orchestrator.tracking.artifacts import artifacts_of
from orchestrator.tracking.models import MODEL_FILE, find_model
from orchestrator.tracking.moved import follow
from orchestrator.tracking.names import storable
from orchestrator.tracking.tags import MODEL, PARENT, PROTOCOL, TRIAL, VARIANT
from orchestrator.tracking.turn import Turn

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"  # the network that was shown to be better than the champion before it
CHALLENGER = "challenger"  # the last network that was registered without becoming champion


@dataclass(frozen=True)
class Registered:
    """One version of a registered model, and its alias."""

    model: str
    alias: str
    version: str
    trial: str
    run_id: str


@dataclass(frozen=True)
class Source:
    """Where the registry gets a network from."""

    address: str
    model_id: str | None  # of the logged model; None for artifacts of a run


@dataclass(frozen=True)
class Origin:
    """The launch and the data of a trial's run, which decide what its test accuracy can be compared with."""

    run_id: str
    trial: str
    variant: str
    parent_run_id: str
    dataset_digest: str  # empty if it is not recorded
    protocol: str


def find_holder(client: "MlflowClient", name: str, alias: str) -> Registered | None:
    """The version of the model ``name`` that has ``alias``; None if there is no such model, alias or version."""
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_registered_model(name).aliases.get(alias)
        if version is None:
            return None
        found = client.get_model_version(name, version)
    except MlflowException as problem:
        if problem.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return Registered(name, alias, str(version), found.tags.get(TRIAL, ""), found.run_id or "")


def find_origin(client: "MlflowClient", run_id: str) -> Origin | None:
    """Where the run's network comes from; None if the store has no such run, or it is of no launch."""
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
        client.get_run(run.data.tags.get(PARENT, ""))
    except MlflowException as problem:
        if problem.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    tags = run.data.tags
    if not {PARENT, TRIAL, VARIANT} <= tags.keys() or run.info.lifecycle_stage == "deleted":
        return None
    digest = run.data.params.get("dataset_digest", "")
    return Origin(run_id, tags[TRIAL], tags[VARIANT], tags[PARENT], digest, tags.get(PROTOCOL, "validation"))


def find_source(client: "MlflowClient", trial: TrialRow) -> Source:
    """The trial's network in MLflow, at an address for other programs. Raises RequestError if there is none."""
    follow(client.tracking_uri)
    run = client.get_run(trial.run_id)
    if (model := find_model(client, run)) is not None:
        # A server knows its own models. A database is asked by MLflow's client in this process, which would look the
        # model up in whichever store is the process's default.
        by_server = client.tracking_uri.startswith(("http://", "https://"))
        address = f"models:/{model.model_id}" if by_server else str(model.artifact_location)
        return Source(address, str(model.model_id))
    # Earlier versions of this project sent it as artifacts of the run.
    if f"{MODEL}/{MODEL_FILE}" in {artifact.path for artifact in artifacts_of(client, run).list_artifacts(MODEL)}:
        return Source(f"runs:/{trial.run_id}/{MODEL}", None)
    raise RequestError(
        f"nothing is registered: {trial.trial} has no model in MLflow (the launch is not complete, tracking.models was "
        "none, or the network could not be exported)"
    )


def make_model(client: "MlflowClient", name: str) -> None:
    """Create the registered model ``name`` unless there is one."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def register(
    client: "MlflowClient",
    turn: Turn,
    trial: TrialRow,
    source: Source,
    alias: str,
    description: str,
    tags: Mapping[str, str | None],
) -> Registered:
    """Give ``alias`` to the trial's version of the turn's model, which is created if there is none.

    ``tags`` replace those of an earlier call; None removes one. A version that becomes champion is no longer
    challenger. The alias comes last: a call that was interrupted has changed nothing that others load.
    """
    name = turn.model
    mine = [v for v in client.search_model_versions(f"run_id = '{trial.run_id}'") if v.name == name]
    # A trial that was trained anew has another logged model than the version has that was made of it before.
    known = [v for v in mine if source.model_id is None or source.model_id in str(v.source)]
    before: Mapping[str, str] = known[0].tags if known else {}
    found = (
        known[0] if known else client.create_model_version(name, source.address, trial.run_id, model_id=source.model_id)
    )
    version = str(found.version)
    client.update_model_version(name, version, storable(description))
    for key, value in {**tags, TRIAL: trial.trial, VARIANT: trial.variant}.items():
        if value is not None:
            client.set_model_version_tag(name, version, key, storable(value))
        elif key in before:
            client.delete_model_version_tag(name, version, key)
    challenger = find_holder(client, name, CHALLENGER)
    turn.check()
    client.set_registered_model_alias(name, alias, version)
    if alias == CHAMPION and challenger is not None and challenger.version == version:
        client.delete_registered_model_alias(name, CHALLENGER)
    return Registered(name, alias, version, trial.trial, trial.run_id)
