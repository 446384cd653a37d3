"""The flags that several commands share, each defined once."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from orchestrator.cli.piped import tell
from orchestrator.files import discard, from_user
from orchestrator.redact import redact

F = TypeVar("F", bound=Callable[..., Any])
_stdout: TextIO | None = None  # where print_json prints, if it is not sys.stdout


def options(*names: str) -> Callable[[F], F]:
    """Add the shared flags called ``names`` to a command, and --debug."""

    def add(function: F) -> F:
        for name in reversed([*names, "debug"]):
            function = _FLAGS[name](function)
        return function

    return add


def print_json(plain: Any) -> None:
    """Print the one JSON document on stdout; if nobody reads it any more, nowhere."""
    stdout = _stdout or sys.stdout
    try:
        json.dump(plain, stdout, indent=2, ensure_ascii=False)
        stdout.write("\n")
        stdout.flush()
    except BrokenPipeError:
        discard(stdout)


@contextmanager
def document_only() -> Iterator[None]:
    """Only :func:`print_json` prints on stdout; what anything else prints, such as a network, goes to stderr."""
    global _stdout
    _stdout = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _stdout = None


def log(line: str) -> None:
    """Print one line about the command itself, without secrets, on stderr: stdout is for its result."""
    tell(redact(line))


class _UserPath(click.Path):
    """A path, in which ``~`` is the home folder: in ``--out=~/x`` no shell replaces it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(from_user(value), param, ctx)


class _Place(click.types.StringParamType):
    """A folder like any other path, or the URI of an object store, as it is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        place = super().convert(value, param, ctx)
        return place if "://" in place else str(from_user(place))


PATH = _UserPath(path_type=Path)  # of every argument and flag that is a path
_FLAGS: dict[str, Callable[[Any], Any]] = {
    "experiment": click.argument("experiment", type=PATH, metavar="EXPERIMENT.yaml"),
    "set": click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="a.b=value",
        show_default="none",
        help="Override a setting of the experiment; repeatable.",
    ),
    "data_dir": click.option(
        "--data-dir",
        type=PATH,
        default="data",
        show_default=True,
        envvar="ORCHESTRATOR_DATA_DIR",
        show_envvar=True,
        help="Folder of datasets; downloads go there too.",
    ),
    "storage": click.option(
        "--storage",
        type=_Place(),
        default="storage",
        show_default=True,
        envvar="ORCHESTRATOR_STORAGE",
        metavar="PLACE",
        show_envvar=True,
        help="Where trial folders are kept: a folder, s3://bucket/path or gs://bucket/path.",
    ),
    "tracking_uri": click.option(
        "--tracking-uri",
        metavar="URI",
        show_default="MLFLOW_TRACKING_URI or sqlite:///mlflow.db",
        help="MLflow's tracking store.",
    ),
    "json": click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout, everything else on stderr."
    ),
    "quiet": click.option("--quiet", is_flag=True, help="Print only failures and the result."),
    "debug": click.option("--debug", is_flag=True, help="Show tracebacks and Ray's own output."),
    "address": click.option(
        "--address",
        metavar="ADDRESS",
        show_default="start Ray on this machine",
        help="Run on this Ray cluster: auto or host:port.",
    ),
    "jobs_address": click.option(
        "--address",
        metavar="URL",
        show_default="RAY_API_SERVER_ADDRESS, RAY_ADDRESS or http://127.0.0.1:8265",
        help="Address of Ray's Jobs API.",
    ),
    "insecure": click.option(
        "--insecure",
        is_flag=True,
        help="Continue even if the cluster needs no token or the connection is not encrypted.",
    ),
    "until_decided": click.option(
        "--until-decided",
        is_flag=True,
        help="Train further seeds, in rounds, until the variants are decided; the same as "
        "--set verdict.until_decided=true.",
    ),
    "again": click.option("--again", is_flag=True, help="Start a new launch even if the same one exists."),
}
