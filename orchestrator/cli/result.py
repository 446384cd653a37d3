"""The result of a launch as `run` and `compare` print it: tables for people, one document for programs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.choice import chosen_trials, representative
from orchestrator.cli.options import print_json
from orchestrator.errors import RequestError, StorageError
from orchestrator.files import write_atomically, write_text
from orchestrator.records import Status, TrialRow
from orchestrator.reporting.verdict.comparison import Comparison, compare
from orchestrator.reporting.verdict.tables import comparison_table, difference_table, settings_table, trouble_table
from orchestrator.reporting.verdict.wording import sentence
from orchestrator.tracking.artifacts import WALL_SECONDS, log_comparison
from orchestrator.tracking.lease import close_abandoned
from orchestrator.tracking.read import find_launch, read_right, read_trials
from orchestrator.tracking.registry import CHALLENGER, CHAMPION, Registered, register


@dataclass(frozen=True)
class Result:
    """One launch, read back from MLflow."""

    experiment: str
    launch: str
    parent_run_id: str
    trials: list[TrialRow]
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        """The document of ``--json``; accuracies are fractions."""
        return {
            "experiment": self.experiment,
            "launch": self.launch,
            "parent_run_id": self.parent_run_id,
            "trials": [asdict(trial) for trial in self.trials],
            "verdict": self.comparison.verdict,
        }


def read_result(client: Any, experiment: str, launch: str | None = None, target: float | None = None) -> Result:
    """Read a launch and compare its variants; ``target`` (fraction) null means the launch's own."""
    close_abandoned(client, experiment)
    parent, launch, own_target = find_launch(client, experiment, launch)
    trials = read_trials(client, parent, target)
    compared = [trial for mine in chosen_trials(trials).values() for trial in mine]
    return Result(
        experiment, launch, parent, trials, compare(trials, target or own_target, read_right(client, compared))
    )


def print_result(result: Result, as_json: bool, registered: Sequence[Registered] = ()) -> None:
    """Print tables and the verdict in a sentence, or the JSON document; and what was registered."""
    if as_json:
        more = {"registered": [asdict(entry) for entry in registered]} if registered else {}
        print_json({**result.to_json(), **more})
        return
    console = Console()
    console.print(comparison_table(result.comparison))
    tables = settings_table(result.comparison), difference_table(result.comparison), trouble_table(result.trials)
    for table in tables:
        if table is not None:
            console.print()
            console.print(table)
    console.print()
    console.print(sentence(result.comparison), highlight=False)
    for entry in registered:
        line = f"registered: models:/{entry.model}@{entry.alias} is version {entry.version}, {entry.trial}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def launch_metrics(result: Result, resources: Mapping[str, float], wall_seconds: float) -> dict[str, float]:
    """What the launch's own run says of it, so that launches can be compared.

    ``resources`` are those of one trial; ``wall_seconds`` are those of this process, added to those of earlier ones.
    """
    trained = sum(trial.seconds or 0.0 for trial in result.trials)
    metrics = {f"trials/{status}": sum(t.status == status for t in result.trials) for status in Status}
    best = result.comparison.rows[0].test_accuracy if result.comparison.rows else None
    return {
        **metrics,
        **({} if best is None else {"best_variant/test_accuracy": best}),  # mean over its compared trials
        WALL_SECONDS: wall_seconds,
        "cpu_seconds": trained * resources.get("CPU", 0.0),  # held while training, busy or not
        "gpu_seconds": trained * resources.get("GPU", 0.0),
    }


def publish_result(client: Any, result: Result, page: str, metrics: Mapping[str, float]) -> None:
    """Put the comparison's ``page`` and the launch's ``metrics`` into MLflow, at the launch's own run."""
    log_comparison(client, result.parent_run_id, sentence(result.comparison), page, metrics)


def register_result(client: Any, result: Result, model: str) -> list[Registered]:
    """Register the networks of the two best variants as versions of ``model``. Raises RequestError if it cannot."""
    mine = chosen_trials(result.trials)
    best = [trial for row in result.comparison.rows if (trial := representative(mine[row.variant])) is not None]
    if not best:
        raise RequestError(f"nothing to register: no trial of {result.experiment} is complete")
    tags = {"experiment": result.experiment, "launch": result.launch, "evidence": result.comparison.evidence}
    return register(
        client, model, dict(zip((CHAMPION, CHALLENGER), best, strict=False)), sentence(result.comparison), tags
    )


def write_result(result: Result, figure: Path | None, html: Path | None) -> None:
    """Draw the comparison into ``figure`` and write its page into ``html``. Raises StorageError."""
    if figure is None and html is None:
        return
    from orchestrator.reporting.verdict.figure import draw_comparison
    from orchestrator.reporting.verdict.page import comparison_page

    if figure is not None:
        drawn, kind = draw_comparison(result.comparison, result.trials), figure.suffix[1:].lower()
        with _writing(figure):
            write_atomically(figure, lambda partial: drawn.savefig(partial, format=kind))
    if html is not None:
        page = comparison_page(result.experiment, result.launch, result.comparison, result.trials)
        with _writing(html):
            write_text(html, page)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise StorageError(f"{file} cannot be written: {problem.strerror}") from problem
