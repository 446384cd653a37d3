"""``orchestrator validate``: check an experiment file and print its plan."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Group
from rich.text import Text

from orchestrator.cli.options import PATH, log, options, print_json
from orchestrator.reporting.console import plain_console
from orchestrator.reporting.terminal_table import bare_table
from orchestrator.text import counted, large, setting, short_names

if TYPE_CHECKING:
    from orchestrator.spec import Plan, Search
    from orchestrator.workflow.check import Checked
    from orchestrator.workflow.estimate import Estimate
    from orchestrator.workflow.timing import Timing

MOST_SETTINGS = 20  # of a search, at most so many are listed


@click.command("validate")
@click.option("--schema", is_flag=True, is_eager=True, help="Print the JSON schema of experiment files and exit.")
@click.option(
    "--estimate",
    is_flag=True,
    show_default="only if resources.price_per_hour is given",
    help="Estimate time and price from earlier launches in MLflow.",
)
@click.option("--time", is_flag=True, help="Measure how long the launch would take here: train each variant a moment.")
@click.argument("experiment", type=PATH, metavar="EXPERIMENT.yaml", required=False)
@options("set", "until_decided", "data_dir", "tracking_uri", "json")
def command(
    schema: bool,
    estimate: bool,
    time: bool,
    experiment: Path | None,
    overrides: tuple[str, ...],
    until_decided: bool,
    data_dir: Path,
    tracking_uri: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Check EXPERIMENT.yaml, its dataset and its networks, and print the plan; train nothing."""
    from orchestrator.experiment.reader import json_schema, read_file

    if schema:
        print_json(json_schema())
        return 0
    if experiment is None:
        raise click.UsageError("name an experiment file")
    from orchestrator.workflow.check import check_experiment
    from orchestrator.workflow.plan import to_dict

    overrides += ("verdict.until_decided=true",) if until_decided else ()
    checked = check_experiment(read_file(experiment, overrides, log), data_dir, log)
    expected = None
    if estimate or checked.plan.experiment.resources.price_per_hour is not None:
        from orchestrator.tracking.store import tracking_uri as choose
        from orchestrator.workflow.estimate import estimate as expect

        expected = expect(checked, choose(tracking_uri))
    timing = None
    if time:
        from orchestrator.workflow.timing import measured

        timing = measured(checked, log)
    if as_json:
        print_json({**to_dict(checked, expected), **({} if timing is None else {"time": timing.to_dict()})})
    else:
        _print(checked, expected, timing)
    return 0


def _print(checked: "Checked", expected: "Estimate | None", timing: "Timing | None") -> None:
    from orchestrator.experiment.stages import to_come
    from orchestrator.workflow.plan import training_cost

    plan, experiment, dataset = checked.plan, checked.plan.experiment, checked.dataset
    console = plain_console()
    size = "x".join(map(str, dataset.shape))
    splits = dataset.train, dataset.validation, dataset.test
    console.print(
        f"{experiment.name}: {counted(len(plan.trials), 'trial')} of {counted(experiment.trainer.epochs, 'epoch')} "
        f"on {dataset.name} "
        f"({' + '.join(f'{len(split):,}' for split in splits if split is not None)} images, {size}, "
        f"{counted(len(dataset.classes), 'class', 'classes')})",
    )
    table = bare_table(gap=1)
    table.add_column("variant", no_wrap=True)
    table.add_numbers("trials", "parameters", "MACs", "receptive field")
    table.add_column("contract", no_wrap=True)
    for variant in experiment.variants:
        mine = [spec for spec in plan.trials if spec.label == variant.label]
        analysis, contract = checked.analyses[mine[0].name], checked.contracts[mine[0].name]
        macs = "unknown" if analysis.macs is None else large(analysis.macs)
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
        console.print(_settings(plan, plan.experiment.search))
    for later in to_come(experiment):
        console.print(later.words)
    resources = experiment.resources
    console.print(
        f"CPUs per trial: {resources.cpus}, GPUs per trial: {resources.gpus}; scheduler {experiment.scheduler.name}; "
        f"{'at most' if to_come(experiment) else 'about'} {large(training_cost(checked))} multiply-accumulates in "
        "total",
    )
    hint = "in minutes on this machine: add --time" if expected is None else ""
    if said := str(timing) if timing is not None else hint:
        console.print(said)
    if expected is not None:
        console.print(str(expected))
    if plan.rejected_samples:
        were = "was" if plan.rejected_samples == 1 else "were"
        console.print(
            f"{counted(plan.rejected_samples, 'draw')} broke the contract or {were} invalid, and {were} replaced"
        )


def _settings(plan: "Plan", search: "Search") -> Group:
    """The first of the settings that the search has drawn; by variant if not all have the same."""
    same = len({repr(sorted(spec.settings)) for spec in plan.trials}) == 1 and search.per == "shared"
    drawn = {(spec.sample, "" if same else spec.label): spec.settings for spec in plan.trials}
    paths = sorted({path for settings in drawn.values() for path in settings})
    more = f", the first {MOST_SETTINGS} of {len(drawn)}" if len(drawn) > MOST_SETTINGS else ""
    table = bare_table(gap=1)
    for name in [*([] if same else ["variant"]), *short_names(paths).values()]:
        table.add_column(name, justify="left" if name == "variant" else "right", overflow="fold")
    for (_, label), settings in list(drawn.items())[:MOST_SETTINGS]:
        cells = [setting(settings[path]) if path in settings else "" for path in paths]
        table.add_row(*([] if same else [label]), *cells)
    later = (
        "; the others are suggested as trials end" if search.name == "tpe" and search.limit > search.in_flight else ""
    )
    return Group(Text(f"Settings drawn{more}{later}", "bold"), table)
