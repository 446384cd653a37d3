"""``orchestrator train``: one variant, one seed, without Ray or MLflow."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator import records as keys
from orchestrator.cli.options import PATH, options, print_json
from orchestrator.cli.piped import tell
from orchestrator.records import Listener, Outcome, Record
from orchestrator.redact import redact
from orchestrator.spec import Optimizer, Recipe
from orchestrator.workflow.display import Display

if TYPE_CHECKING:
    from orchestrator.trial import TrialFolder


@click.command("train")
@click.argument("variant")
@click.option("--dataset", default="digits", show_default=True, help="digits, cifar10, or the path of a dataset.")
@click.option(
    "--epochs", type=click.IntRange(min=1), show_default=f"{Recipe.epochs}", help="Passes over the training images."
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), show_default=f"{Recipe.batch_size}", help="Images per optimiser step."
)
@click.option(
    "--lr", type=click.FloatRange(min=0, min_open=True), show_default=f"{Optimizer.lr}", help="Peak learning rate."
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Random seed for weights, data order and splits.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    show_default=Recipe.device,
    help="Where to train.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    show_default="torch's own choice",
    help="CPU threads; their number affects the last bits of the result.",
)
@click.option("--out", type=PATH, show_default="trials/VARIANT/seed-SEED", help="The trial's folder.")
@click.option(
    "--report/--no-report", default=True, show_default=True, help="Make figures, tables and report.html, or not."
)
@options("set", "data_dir", "json", "quiet")
def command(
    variant: str,
    dataset: str,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    seed: int,
    device: str | None,
    threads: int | None,
    out: Path | None,
    report: bool,
    overrides: tuple[str, ...],
    data_dir: Path,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Train VARIANT (a built-in name or path/to/file.py:Class) in this process, without Ray or MLflow.

    The same command resumes after an interruption.
    """
    from orchestrator.workflow.train import train

    given = {
        "trainer.epochs": epochs,
        "trainer.batch_size": batch_size,
        "trainer.optimizer.lr": lr,
        "trainer.device": device,
        "trainer.threads": threads,
    }

    folder = train(
        {"variant": variant, "seed": seed, "dataset": {"name": dataset}},
        [f"{path}={value}" for path, value in given.items() if value is not None] + list(overrides),
        out=out,
        data_dir=data_dir,
        report=report,
        display=_Lines(quiet, as_json),
        source="command line",
    )
    if as_json:
        print_json(_summary(folder))
    return 0


class _Lines(Display, Listener):
    """One line per epoch."""

    def __init__(self, quiet: bool, as_json: bool) -> None:
        self.quiet, self.as_json = quiet, as_json
        self.epochs = 0

    def log(self, line: str) -> None:
        """Print on stdout, or with --json on stderr."""
        if not self.quiet:
            tell(redact(line), err=self.as_json)

    @contextmanager
    def training(self, trials: Sequence[str], epochs: int, ended: Sequence[Outcome]) -> Iterator[Sequence[Listener]]:
        """Listens itself."""
        self.epochs = epochs
        yield (self,)

    def on_record(self, trial: str, record: Record) -> None:
        """Listener: an epoch, or the final measurement."""
        self.log(_line(record, self.epochs))


def _line(record: Record, epochs: int) -> str:
    m = record.metrics
    if record.final:
        accuracy = m.get(keys.TEST_ACCURACY)
        measured = f", test accuracy {100 * accuracy:.2f} %" if accuracy is not None else ""
        return f"done: weights of epoch {m[keys.BEST_EPOCH]:.0f}{measured}"
    judged = keys.VAL_ACCURACY if keys.VAL_ACCURACY in m else keys.TEST_ACCURACY
    return (
        f"epoch {record.epoch:>3}/{epochs}  train loss {m[keys.TRAIN_LOSS]:.4f}  "
        f"train {100 * m[keys.TRAIN_ACCURACY]:.2f} %  {judged.partition('/')[0]} {100 * m[judged]:.2f} %  "
        f"{m[keys.IMAGES_PER_SECOND]:,.0f} images/s"
    )


def _summary(folder: "TrialFolder") -> dict[str, Any]:
    outcome, records = folder.outcome(), folder.records()
    last: dict[str, float] = {}
    for record in records:
        last.update(record.metrics)
    return {
        "trial": folder.spec().name,
        "folder": str(folder.path),
        "status": str(outcome.status) if outcome else "failed",
        "epochs": max((record.epoch for record in records), default=0),
        "parameters": folder.facts().get(keys.PARAMETERS),
        "metrics": last,
    }
