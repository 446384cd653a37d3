"""``orchestrator status``: the status of submitted jobs."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import log, options, print_json
from orchestrator.redact import redact
from orchestrator.text import counted

if TYPE_CHECKING:
    from orchestrator.cluster.job import Job

STYLES = {"pending": "dim", "running": "cyan", "complete": "green", "stopped": "yellow", "failed": "red"}


@click.command("status")
@click.argument("job", required=False, metavar="[ID]")
@options("json", "jobs_address", "insecure")
def command(job: str | None, address: str | None, insecure: bool, as_json: bool, debug: bool) -> int:
    """Show the status of every job that `orchestrator submit` started on the cluster, or of job ID."""
    from orchestrator.cluster.address import address_flags, connect, jobs_address
    from orchestrator.cluster.jobs import Jobs

    jobs = Jobs(connect(jobs_address(address), insecure, log))
    if job is not None:
        found = jobs.get(job)
        if as_json:
            print_json(found.to_json())
        else:
            _print_job(found, address_flags(address, insecure))
        return 0
    every = jobs.all()
    if as_json:
        print_json([found.to_json() for found in every])
    else:
        _print_jobs(every, jobs.address)
    return 0


def _print_jobs(jobs: Sequence["Job"], address: str) -> None:
    """One row per job, the oldest first."""
    from rich.text import Text

    from orchestrator.reporting.console import plain_console
    from orchestrator.reporting.terminal_table import bare_table

    console = plain_console()
    if not jobs:
        console.print(
            f"{address} has no jobs of this program; submit one: orchestrator submit EXPERIMENT.yaml",
            soft_wrap=True,
        )
        return
    table = bare_table(gap=1)
    table.add_column("job", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_numbers("trials", "started", "took", "exit code")
    for job in jobs:
        code = str(job.exit_code) if job.has_ended else ""
        status = Text(job.status, style=STYLES.get(job.status, ""))
        table.add_row(job.id, status, job.metadata.get("trials", ""), _clock(job.started), _took(job), code)
    console.print(table)


def _print_job(job: "Job", flags: str) -> None:
    """Everything about one job; ``flags`` are added to suggested commands, so that they find its cluster."""
    from orchestrator.cluster.job import describe
    from orchestrator.reporting.console import plain_console

    console = plain_console()

    def line(text: str) -> None:
        console.print(redact(text), soft_wrap=True)

    line(describe(job, flags))
    trials = counted(int(job.metadata.get("trials", "0")), "trial")
    line(f"experiment {job.metadata.get('experiment', '?')}, {trials}")
    if job.started is not None:
        line(f"started {_clock(job.started)}, {'took' if job.has_ended else 'for'} {_took(job)}")
    line(f"output: orchestrator logs {job.id}{flags}")
    if not job.has_ended:
        line(f"stop it: orchestrator stop {job.id}{flags}")


def _clock(moment: float | None) -> str:
    return "" if moment is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def _took(job: "Job") -> str:
    if job.started is None:
        return ""
    seconds = max(0, round((job.ended or time.time()) - job.started))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
