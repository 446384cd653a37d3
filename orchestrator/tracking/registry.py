"""MLflow's model registry: the best networks of a comparison, under the aliases by which others load them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import RequestError
from orchestrator.records import TrialRow
from orchestrator.tracking.models import MODEL_FILE, find_model
from orchestrator.tracking.tags import MODEL, TRIAL, VARIANT

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"  # the best variant's network, and the next one's


@dataclass(frozen=True)
class Registered:
    """One version of a registered model, and its alias."""

    model: str
    alias: str
    version: str
    trial: str
    run_id: str


def register(
    client: "MlflowClient", name: str, chosen: Mapping[str, TrialRow], description: str, tags: Mapping[str, str]
) -> list[Registered]:
    """Register each given trial's network, by alias, as a version of the model ``name``; a second call finds it.

    An alias without a trial is removed. Raises RequestError, before anything is registered, if a trial's run has no
    model.
    """
    sources = {trial.run_id: _source(client, trial) for trial in chosen.values()}
    aliases = _aliases(client, name)
    made = []
    for alias, trial in chosen.items():
        version = _version(client, name, trial, sources[trial.run_id], description, tags)
        client.set_registered_model_alias(name, alias, version)
        made.append(Registered(name, alias, version, trial.trial, trial.run_id))
    for alias in ({CHAMPION, CHALLENGER} & aliases) - chosen.keys():
        client.delete_registered_model_alias(name, alias)
    return made


def _aliases(client: "MlflowClient", name: str) -> set[str]:
    """Those of the registered model ``name``, which is made if there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return set(client.get_registered_model(name).aliases)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    client.create_registered_model(name)
    return set()


def _source(client: "MlflowClient", trial: TrialRow) -> tuple[str, str | None]:
    """The trial's network in MLflow, and its logged model's id. Raises RequestError if there is none."""
    if (model := find_model(client, client.get_run(trial.run_id))) is not None:
        # A server knows its own models. A database is asked by MLflow's client in this process, which would look the
        # model up in whichever store is the process's default.
        by_server = client.tracking_uri.startswith(("http://", "https://"))
        return f"models:/{model.model_id}" if by_server else str(model.artifact_location), str(model.model_id)
    # Earlier versions of this project sent it as artifacts of the run.
    if f"{MODEL}/{MODEL_FILE}" in {artifact.path for artifact in client.list_artifacts(trial.run_id, MODEL)}:
        return f"runs:/{trial.run_id}/{MODEL}", None
    raise RequestError(
        f"nothing is registered: {trial.trial} has no model in MLflow (tracking.models was none, or the network could "
        "not be exported)"
    )


def _version(
    client: "MlflowClient",
    name: str,
    trial: TrialRow,
    source: tuple[str, str | None],
    description: str,
    tags: Mapping[str, str],
) -> str:
    """The version of this trial's network, created if there is none; its description is always updated."""
    known = [v for v in client.search_model_versions(f"run_id = '{trial.run_id}'") if v.name == name]
    address, model_id = source
    found = known[0] if known else client.create_model_version(name, address, trial.run_id, model_id=model_id)
    version = str(found.version)
    client.update_model_version(name, version, description)
    for key, value in {**tags, TRIAL: trial.trial, VARIANT: trial.variant}.items():
        client.set_model_version_tag(name, version, key, value)
    return version
