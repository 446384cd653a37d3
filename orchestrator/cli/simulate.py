"""``orchestrator simulate``: what an experiment would cost and find, without training."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import log, options, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.workflow.simulate import Asked


@click.command("simulate")
@click.option("--workers", type=click.IntRange(min=1), default=8, show_default=True, help="Trials at the same time.")
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How often, each time with other curves and other draws of the search.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random seed of the replays; with another one, all have other curves.",
)
@click.option(
    "--law",
    multiple=True,
    metavar="NAME=NUMBER",
    show_default="curves like those of small networks on CIFAR-10",
    help="Set a constant of the curves' law: best, spread, depth, gain, tau, alpha, crossing, noise, luck or seconds; "
    "repeatable.",
)
@click.option(
    "--curves",
    multiple=True,
    metavar="VARIANT=FILE.csv",
    show_default="by the law",
    help="Take a variant's curve from a CSV with the columns epoch and test_accuracy (percent); repeatable.",
)
@click.option(
    "--from",
    "earlier",
    metavar="NAME",
    show_default="by the law",
    help="Take the curves of the newest launch of this MLflow experiment.",
)
@options("experiment", "set", "tracking_uri", "json")
def command(
    workers: int,
    repeat: int,
    seed: int,
    law: tuple[str, ...],
    curves: tuple[str, ...],
    earlier: str | None,
    experiment: Path,
    overrides: tuple[str, ...],
    tracking_uri: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Simulate EXPERIMENT.yaml: its cost, whom its scheduler stops, and how well it chooses; train nothing.

    The experiment's own search, scheduler, stages and verdict work on learning curves that are replayed in simulated
    time. No data is read, no network is built and no Ray is started.
    """
    from orchestrator.cli.simulation_tables import terminal_simulation
    from orchestrator.experiment.reader import read_file
    from orchestrator.workflow.simulate import Asked, simulate
    from orchestrator.workflow.simulation_options import parse_files, parse_law, refuse_without_effect

    if curves and earlier is not None:
        raise click.UsageError("give --curves or --from, not both")
    if earlier is not None and not earlier.strip():
        raise click.UsageError("--from needs the name of an experiment in MLflow, not an empty one")
    asked_for, constants = read_file(experiment, overrides), parse_law(law)
    refuse_without_effect(law, bool(curves), earlier is not None)
    asked = Asked(workers=workers, repeat=repeat, seed=seed, law=constants, files=parse_files(curves, asked_for))
    try:
        if earlier is not None:
            asked = _with_recorded(asked, earlier, tracking_uri)
        with _progress() as show:
            found = simulate(asked_for, asked, show)
    except KeyboardInterrupt:
        log("interrupted: nothing was kept, start again when you like")
        return 130
    for note in found.notes:
        log(note)
    if as_json:
        print_json(found.to_dict())
        return 0

    from orchestrator.reporting.console import plain_console

    console = plain_console()
    for part in terminal_simulation(found):
        console.print(part)
    return 0


@contextmanager
def _progress() -> "Iterator[Callable[[str], None]]":
    """On a terminal, one line on stderr that changes and is gone at the end; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return

    def show(line: str) -> None:
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()

    try:
        yield show
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _with_recorded(asked: "Asked", experiment: str, uri: str | None) -> "Asked":
    from dataclasses import replace

    from orchestrator.tracking.store import reading
    from orchestrator.workflow.simulate import read_recorded

    with reading(uri) as (client, _):
        recorded = read_recorded(client, experiment)
    return replace(asked, recorded=recorded, source=f"{experiment} in MLflow")
