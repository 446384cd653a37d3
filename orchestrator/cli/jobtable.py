"""Print jobs: a table of all, or everything about one."""

import time
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.following import in_words
from orchestrator.cluster.jobs import Job
from orchestrator.redact import redact

STYLES = {"pending": "dim", "running": "cyan", "complete": "green", "stopped": "yellow", "failed": "red"}


def print_jobs(jobs: Sequence[Job], address: str) -> None:
    """One row per job, the oldest first."""
    console = Console()
    if not jobs:
        console.print(
            f"{address} has no jobs of this program; submit one: orchestrator submit EXPERIMENT.yaml",
            highlight=False,
            soft_wrap=True,
        )
        return
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("job", overflow="fold")
    table.add_column("status", no_wrap=True)
    for column in ("trials", "started", "took", "exit code"):
        table.add_column(column, justify="right", no_wrap=True)
    for job in jobs:
        code = str(job.exit_code) if job.has_ended else ""
        status = Text(job.status, style=STYLES.get(job.status, ""))
        table.add_row(job.id, status, job.metadata.get("trials", ""), _clock(job.started), _took(job), code)
    console.print(table)


def print_job(job: Job, flags: str) -> None:
    """Everything about one job; ``flags`` are added to suggested commands, so that they find its cluster."""
    console = Console()

    def line(text: str) -> None:
        console.print(redact(text), markup=False, highlight=False, emoji=False, soft_wrap=True)

    line(in_words(job, flags))
    line(f"experiment {job.metadata.get('experiment', '?')}, {job.metadata.get('trials', '?')} trials")
    if job.started is not None:
        line(f"started {_clock(job.started)}, {'took' if job.has_ended else 'for'} {_took(job)}")
    line(f"output: orchestrator logs {job.id}{flags}")
    if not job.has_ended:
        line(f"stop it: orchestrator stop {job.id}{flags}")


def _clock(moment: float | None) -> str:
    return "" if moment is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def _took(job: Job) -> str:
    if job.started is None:
        return ""
    seconds = max(0, round((job.ended or time.time()) - job.started))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
