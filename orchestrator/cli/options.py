"""The flags that commands share, each said once."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def options(*names: str) -> Callable[[F], F]:
    """Add the shared flags called ``names`` to a command, and --debug."""

    def add(function: F) -> F:
        for name in reversed([*names, "debug"]):
            function = _FLAGS[name](function)
        return function

    return add


def print_json(plain: Any) -> None:
    """The one JSON document on stdout."""
    json.dump(plain, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


_PATH = click.Path(path_type=Path)
_FLAGS: dict[str, Callable[[Any], Any]] = {
    "experiment": click.argument("experiment", type=_PATH, metavar="EXPERIMENT.yaml"),
    "set": click.option(
        "--set", "overrides", multiple=True, metavar="a.b=value", help="Override a setting; repeatable."
    ),
    "data_dir": click.option(
        "--data-dir",
        type=_PATH,
        default="data",
        envvar="ORCHESTRATOR_DATA_DIR",
        show_default=True,
        show_envvar=True,
        help="Where data sets lie or are downloaded to.",
    ),
    "storage": click.option(
        "--storage",
        default="storage",
        envvar="ORCHESTRATOR_STORAGE",
        show_default=True,
        show_envvar=True,
        help="Where trial folders are kept: a folder, or s3://bucket/path, gs://bucket/path.",
    ),
    "tracking_uri": click.option(
        "--tracking-uri", help="MLflow's store.  [default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db]"
    ),
    "json": click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; all else on stderr."),
    "quiet": click.option("--quiet", is_flag=True, help="Print failures and the result only."),
    "debug": click.option("--debug", is_flag=True, help="Show tracebacks and Ray's own output."),
    "address": click.option("--address", metavar="ADDRESS", help="Join this Ray cluster instead of starting Ray here."),
    "again": click.option("--again", is_flag=True, help="Start anew although this very launch exists."),
}
