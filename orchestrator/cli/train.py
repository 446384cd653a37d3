"""``orchestrator train``: one variant, one seed, without Ray or MLflow."""

from pathlib import Path

import click

from orchestrator.cli.options import options, print_json


@click.command("train")
@click.argument("variant")
@click.option("--dataset", default="digits", show_default=True, help="digits, cifar10, or a folder or packed file.")
@click.option("--epochs", type=click.IntRange(min=1), help="Whole passes over the training split.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Pictures a step.")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="Peak learning rate.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of weights, order and splits.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to train.  [default: auto]")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads; they decide the last bits.  [default: torch's own choice]",
)
@click.option("--out", type=click.Path(path_type=Path), help="The trial folder.  [default: trials/VARIANT/seed-SEED]")
@click.option("--report/--no-report", default=True, help="Make figures, tables and report.html.")
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
    """Train VARIANT (a built-in name or path/to/file.py:Class) here; the same command carries on after an interrupt."""
    from orchestrator.cli.training import train

    given = {
        "trainer.epochs": epochs,
        "trainer.batch_size": batch_size,
        "trainer.optimizer.lr": lr,
        "trainer.device": device,
        "trainer.threads": threads,
    }
    return train(
        {"variant": variant, "seed": seed, "dataset": {"name": dataset}},
        [f"{path}={value}" for path, value in given.items() if value is not None] + list(overrides),
        out=out,
        data_dir=data_dir,
        report=report,
        quiet=quiet,
        as_json=as_json,
        print_json=print_json,
    )
