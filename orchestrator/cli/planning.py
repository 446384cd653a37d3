"""An experiment's plan as people and programs read it: used by ``validate``."""

from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from orchestrator.cli.checking import Checked, check_experiment
from orchestrator.cli.options import print_json
from orchestrator.records import short_names
from orchestrator.reporting.verdict.tables import shown
from orchestrator.spec import Experiment, Plan
from orchestrator.spec.fields import to_plain

MOST_SETTINGS = 20  # lines of what a search has drawn


def show_plan(experiment: Experiment, data_dir: Path, as_json: bool) -> None:
    """Check ``experiment`` and print what a launch of it would do."""
    checked = check_experiment(experiment, data_dir, lambda line: click.echo(line, err=True))
    if as_json:
        print_json(_plain(checked))
    else:
        _print(checked)


def training_cost(checked: Checked) -> float:
    """Multiply-accumulates of the whole launch: about three forward passes a picture (forward and backward)."""
    cost = 0.0
    for spec in checked.plan.trials:
        held_out = 0 if spec.trainer.protocol == "published" else checked.dataset.held_out(spec.dataset.validation)
        pictures = (len(checked.dataset.train) - held_out) * spec.trainer.epochs
        cost += 3 * pictures * (checked.analyses[spec.name].macs or 0)
    return cost


def _plain(checked: Checked) -> dict[str, Any]:
    return {
        "experiment": to_plain(checked.plan.experiment),
        "launch": checked.plan.identity()[:8],
        "dataset": {
            "name": checked.dataset.name,
            "digest": checked.dataset.digest,
            "train": len(checked.dataset.train),
            "validation": None if checked.dataset.validation is None else len(checked.dataset.validation),
            "test": len(checked.dataset.test),
            "shape": list(checked.dataset.shape),
        },
        "rejected_samples": checked.plan.rejected_samples,
        "training_macs": training_cost(checked),
        "notes": list(checked.notes),
        "trials": [
            {
                "trial": spec.name,
                "identity": spec.identity(),
                "settings": spec.settings,
                "parameters": checked.analyses[spec.name].parameters,
                "macs": checked.analyses[spec.name].macs,
                "receptive_field": checked.analyses[spec.name].receptive_field.to_json(),
                "contract": checked.contracts[spec.name].to_json(),
            }
            for spec in checked.plan.trials
        ],
    }


def _print(checked: Checked) -> None:
    plan, experiment, dataset = checked.plan, checked.plan.experiment, checked.dataset
    console = Console()
    size = "x".join(map(str, dataset.shape))
    splits = dataset.train, dataset.validation, dataset.test
    console.print(
        f"{experiment.name}: {len(plan.trials)} trials of {experiment.trainer.epochs} epochs on {dataset.name} "
        f"({' + '.join(f'{len(split):,}' for split in splits if split is not None)} images, {size}, "
        f"{len(dataset.classes)} classes)",
        highlight=False,
    )
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("variant", no_wrap=True)
    for column in ("trials", "parameters", "MACs", "receptive field"):
        table.add_column(column, justify="right")
    table.add_column("contract")
    for variant in experiment.variants:
        mine = [spec for spec in plan.trials if spec.label == variant.label]
        analysis, contract = checked.analyses[mine[0].name], checked.contracts[mine[0].name]
        macs = "unknown" if analysis.macs is None else _in_units(analysis.macs)
        kept = "kept" if contract.checks else "none"
        table.add_row(
            variant.label,
            str(len(mine)),
            f"{analysis.parameters:,}",
            macs,
            str(analysis.receptive_field.output or "unknown"),
            kept,
        )
    console.print(table)
    if plan.experiment.search is not None:
        console.print(_settings(plan))
    resources = experiment.resources
    console.print(
        f"CPUs a trial: {resources.cpus}, GPUs a trial: {resources.gpus}; scheduler {experiment.scheduler.name}; "
        f"about {_in_units(training_cost(checked))} multiply-accumulates in all",
        highlight=False,
    )
    if plan.rejected_samples:
        console.print(f"{plan.rejected_samples} draws broke the contract and were drawn again", highlight=False)


def _settings(plan: Plan) -> Group:
    """The settings that the search has drawn, the first of them."""
    drawn = list({spec.sample: spec.settings for spec in plan.trials}.values())
    paths = sorted(drawn[0])
    more = f", the first {MOST_SETTINGS} of {len(drawn)}" if len(drawn) > MOST_SETTINGS else ""
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in short_names(paths).values():
        table.add_column(name, justify="right", overflow="fold")
    for settings in drawn[:MOST_SETTINGS]:
        table.add_row(*(shown(settings[path]) for path in paths))
    return Group(Text(f"Settings drawn{more}", "bold"), table)


def _in_units(count: float) -> str:
    """A large number with three digits and a unit that people say: 46.7 million."""
    for size, unit in ((1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,.0f}"
