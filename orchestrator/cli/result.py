"""The result of a launch as `run` and `compare` print it: tables for people, one document for programs."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from orchestrator.cli.options import print_json
from orchestrator.records import TrialRow
from orchestrator.reporting.comparison import Comparison, compare
from orchestrator.reporting.terminal import comparison_table, trouble_table
from orchestrator.tracking.lease import close_abandoned
from orchestrator.tracking.read import find_launch, read_trials


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
        trials = [{k: v for k, v in asdict(trial).items() if k != "curve"} for trial in self.trials]
        return {
            "experiment": self.experiment,
            "launch": self.launch,
            "parent_run_id": self.parent_run_id,
            "trials": trials,
            "verdict": self.comparison.verdict,
        }


def read_result(client: Any, experiment: str, launch: str | None = None, target: float | None = None) -> Result:
    """Read a launch and compare its variants; ``target`` (fraction) null means the launch's own."""
    close_abandoned(client, experiment)
    parent, launch, own_target = find_launch(client, experiment, launch)
    trials = read_trials(client, parent)
    return Result(experiment, launch, parent, trials, compare(trials, target or own_target))


def print_result(result: Result, as_json: bool) -> None:
    """Print tables and the verdict in a sentence, or the JSON document."""
    if as_json:
        print_json(result.to_json())
        return
    console = Console()
    console.print(comparison_table(result.comparison))
    if (trouble := trouble_table(result.trials)) is not None:
        console.print(trouble)
    console.print(result.comparison.sentence(), highlight=False)
