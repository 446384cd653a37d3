"""Trials of earlier launches in MLflow that tell how long the same training takes."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator import records as keys
from orchestrator.spec import TrialSpec
from orchestrator.tracking.names import metrics_of, params_of
from orchestrator.tracking.tags import KIND, PARENT, STATUS, VARIANT

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOST = 200  # trials of a variant that are looked at, the newest
# Settings that decide how long an epoch takes, besides the network, which is recognised by its size and its MACs.
DECISIVE = (
    "dataset_digest",
    "dataset.validation",
    "trainer.protocol",
    "trainer.batch_size",
    "trainer.drop_last",
    "trainer.augmentation",
    "trainer.optimizer.name",
    "trainer.device",
    "trainer.precision",
    "trainer.threads",
)


@dataclass(frozen=True)
class Speed:
    """How long an epoch of a trial took in earlier launches, evaluation included."""

    seconds: float  # median over the trials
    runs: frozenset[str]  # of these trials
    parent_run_id: str  # of the launch of the newest of them


class EarlierTrials:
    """The complete trials of some variants on one dataset, whichever launch they belong to."""

    def __init__(self, client: "MlflowClient", variants: Iterable[str], dataset_digest: str) -> None:
        experiments = [e.experiment_id for e in client.search_experiments()]
        self._runs: dict[str, list[Any]] = {}
        for variant in variants:
            wanted = f"tags.{KIND} = 'trial' and tags.{STATUS} = 'complete'"
            wanted += f" and params.dataset_digest = '{dataset_digest}'"
            quote = (
                "'" if "'" not in variant else '"'
            )  # MLflow's filters cannot escape them: of both, all are asked for
            if quote not in variant:
                wanted += f" and tags.{VARIANT} = {quote}{variant}{quote}"
            newest = ["attributes.start_time DESC"]
            found = client.search_runs(experiments, wanted, max_results=MOST, order_by=newest)
            self._runs[variant] = [run for run in found if run.data.tags.get(VARIANT) == variant]

    def speed(self, spec: TrialSpec, network: Mapping[str, float]) -> Speed | None:
        """Of trials like ``spec``, whose ``network`` has these parameters and MACs; None if there was none."""
        settings = params_of(spec)
        wanted = {name: settings[name] for name in DECISIVE}
        found = [run for run in self._runs.get(spec.label, ()) if _is_like(run, wanted, network)]
        if not found:
            return None
        metrics = [metrics_of(run) for run in found]
        seconds = statistics.median(known[keys.SECONDS] / known[keys.EPOCHS] for known in metrics)
        return Speed(seconds, frozenset(run.info.run_id for run in found), str(found[0].data.tags[PARENT]))


def _is_like(run: Any, settings: Mapping[str, str], network: Mapping[str, float]) -> bool:
    params, metrics = run.data.params, metrics_of(run)
    has_speed = metrics.get(keys.EPOCHS, 0) > 0 and metrics.get(keys.SECONDS, 0.0) > 0
    same_settings = all(params.get(name) == value for name, value in settings.items())
    return has_speed and same_settings and all(metrics.get(name) == value for name, value in network.items())
