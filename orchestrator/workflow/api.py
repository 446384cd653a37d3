"""The Python API: what ``import orchestrator as orc`` offers, on the functions that the command line calls."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import ExperimentError
from orchestrator.files import from_user
from orchestrator.spec import Experiment
from orchestrator.workflow.display import Display, Terminal
from orchestrator.workflow.paths_named import paths_named
from orchestrator.workflow.plan import Plan
from orchestrator.workflow.results import Results
from orchestrator.workflow.trial import Trial

if TYPE_CHECKING:
    from torch import nn

Settings = Mapping[str, Any]
DATA, STORAGE = "data", "storage"  # folders, unless ORCHESTRATOR_DATA_DIR and ORCHESTRATOR_STORAGE say otherwise


@paths_named()
def plan(
    experiment: str | Path | Settings | Experiment, *, set: Settings | None = None, data_dir: str | Path | None = None
) -> Plan:
    """What running ``experiment`` would do: every trial, its network, and in ``problems`` whatever prevents it.

    ``experiment``: the path of an experiment file, its content as a dictionary, or an Experiment. ``set`` overrides
    settings by dotted path: ``{"trainer.epochs": 3}``. Raises ExperimentError if it is not a valid experiment.
    """
    from orchestrator.workflow.plan import plan as make

    return make(_experiment(experiment, set), _data_dir(data_dir))


@paths_named()
def run(
    experiment: str | Path | Settings | Experiment,
    *,
    set: Settings | None = None,
    address: str | None = None,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
    data_dir: str | Path | None = None,
    display: Literal["auto", "none"] | Display = "auto",
) -> Results:
    """Train every trial of ``experiment`` with Ray, record it in MLflow and compare the variants.

    Like ``orchestrator run``: calling it again resumes an interrupted launch, and trains nothing that is complete. A
    trial that fails is a row of the results. ``address`` is a Ray cluster; ``display`` "auto" shows a table that is
    updated in place, "none" nothing. Raises a RequestError if the experiment cannot be run.
    """
    import os

    from orchestrator.architectures import named_in
    from orchestrator.architectures.locate import is_of_this_process
    from orchestrator.scheduling.storage import open_storage
    from orchestrator.tracking.mlflow_settings import mlflow_settings_ended
    from orchestrator.workflow.commands import ExperimentSource
    from orchestrator.workflow.run import run as launch

    shown = _display(display)
    wanted = _experiment(experiment, set, shown.log)
    if here := [v.label for v in wanted.variants if any(map(is_of_this_process, (v.name, *named_in(v.arguments))))]:
        problem = (
            f"variants: {', '.join(here)} is defined in this notebook or script, and other processes cannot import it; "
            "write it to a file (%%writefile network.py) and name it network.py:Class"
        )
        raise ExperimentError(wanted.name, [problem])
    source = ExperimentSource(from_user(experiment), _overrides(set)) if isinstance(experiment, (str, Path)) else None
    place = str(storage or os.environ.get("ORCHESTRATOR_STORAGE", STORAGE))
    with mlflow_settings_ended(), open_storage(place) as kept:
        return launch(
            wanted,
            data_dir=_data_dir(data_dir),
            storage=kept,
            tracking_uri=tracking_uri,
            address=address,
            display=shown,
            source=source,
        )


@paths_named()
def load(name: str, *, launch: str | None = None, tracking_uri: str | None = None) -> Results:
    """The newest launch of the experiment ``name``, or the one called ``launch``, running or finished.

    Raises RequestError if MLflow has no such launch, and TrackingError if it does not answer.
    """
    from orchestrator.tracking.mlflow_settings import mlflow_settings_ended
    from orchestrator.tracking.store import reading
    from orchestrator.workflow.results import read_results

    with mlflow_settings_ended(), reading(tracking_uri) as (client, _):
        return read_results(client, name, launch)


@paths_named()
def report(
    name: str,
    trial: str | None = None,
    *,
    launch: str | None = None,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
    data_dir: str | Path | None = None,
    display: Literal["auto", "none"] | Display = "auto",
) -> list[Trial]:
    """Draw the reports of the experiment ``name`` again, of every ended trial or of ``trial``, and return the trials.

    Like ``orchestrator report``: figures, tables and page are written into the trial folders and published in MLflow.
    ``launch`` is the folder of a launch (default: the one last worked on). Raises a RequestError if a name is unknown,
    the data is missing or the launch is running, and OrchestratorError if a report could not be drawn.
    """
    import os

    from orchestrator.scheduling.storage import open_storage
    from orchestrator.tracking.mlflow_settings import mlflow_settings_ended
    from orchestrator.workflow.report import redraw

    with mlflow_settings_ended(), open_storage(str(storage or os.environ.get("ORCHESTRATOR_STORAGE", STORAGE))) as kept:
        return redraw(
            name,
            trial,
            launch=launch,
            data_dir=_data_dir(data_dir),
            storage=kept,
            tracking_uri=tracking_uri,
            display=_display(display),
        )


@paths_named()
def train(
    variant: "str | Callable[..., nn.Module]",
    *,
    dataset: str,
    arguments: Settings | None = None,
    epochs: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    display: Literal["auto", "none"] | Display = "none",
    report: bool = False,
    **recipe: Any,
) -> Trial:
    """Train one network in this process, without Ray or MLflow; the same call resumes an interrupted training.

    ``variant``: its name, or a class or function that makes it, also one defined in a notebook; ``arguments``: what
    that is given, as in an experiment file. ``recipe``: settings of ``trainer`` there, such as ``batch_size=128`` or
    ``optimizer={"lr": 0.1}``. ``out`` is the trial's folder (default: ``trials/VARIANT/seed-SEED``). With ``report``,
    figures are drawn. Raises a RequestError if the network cannot be trained, DivergedError if the loss is not finite,
    and what the network raises.
    """
    from orchestrator.architectures.locate import name_of
    from orchestrator.workflow.train import train as make

    name = variant if isinstance(variant, str) else name_of(variant)
    given = {**recipe, **({} if epochs is None else {"epochs": epochs})}
    network = {"variant": name, "arguments": dict(arguments or {})}
    tree = {**network, "seed": seed, "dataset": {"name": dataset}, "trainer": given}
    place = None if out is None else from_user(out)
    folder = make(tree, out=place, data_dir=_data_dir(data_dir), report=report, display=_display(display))
    return Trial(folder.spec().name, folder=folder.path.absolute())


def _experiment(
    given: str | Path | Settings | Experiment, settings: Settings | None, log: Callable[[str], None] = lambda _: None
) -> Experiment:
    from orchestrator.experiment.reader import read_experiment, read_file
    from orchestrator.spec.fields import to_json

    overrides = _overrides(settings)
    if isinstance(given, (str, Path)):
        return read_file(from_user(given), overrides, log)
    from orchestrator.experiment.overrides import apply_overrides
    from orchestrator.spec.json_values import json_problems

    tree: Any = to_json(given) if isinstance(given, Experiment) else given
    if not isinstance(tree, Mapping):
        kind = type(given).__name__
        raise ExperimentError("the experiment", [f"must be a path, a dictionary or an Experiment, not {kind}"])
    if overrides:
        if problems := json_problems(tree):
            raise ExperimentError("the experiment", problems)
        tree = apply_overrides(json.loads(_json(tree)), overrides)
    return read_experiment(tree, "the experiment")


def _overrides(settings: Settings | None) -> tuple[str, ...]:
    """``settings`` as --set has them. Raises ExperimentError for values that no setting can have."""
    from orchestrator.spec.json_values import json_problems

    given = dict(settings or {})
    problems = [f"{path!r}: write a path as a.b" for path in given if not isinstance(path, str) or "=" in path]
    problems += [problem for path, value in given.items() for problem in json_problems(value, str(path))]
    if problems:
        raise ExperimentError("set", problems)
    return tuple(f"{path}={_json(value)}" for path, value in given.items())


def _json(value: Any) -> str:
    return json.dumps(value, default=dict)  # of a mapping that is no dictionary


def _display(given: Literal["auto", "none"] | Display) -> Display:
    if isinstance(given, Display):
        return given
    return Terminal() if given == "auto" else Display()


def _data_dir(given: str | Path | None) -> Path:
    import os

    return from_user(given or os.environ.get("ORCHESTRATOR_DATA_DIR", DATA))
