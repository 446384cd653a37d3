"""What training leaves, and what is said before it: for tests of both."""

from pathlib import Path

from orchestrator.data import Dataset, save_packed
from orchestrator.experiment.reader import read_experiment
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder
from orchestrator.workflow.check import check_experiment


def weights(folder: Path) -> str:
    """The digest of a trial's chosen weights."""
    return checkpoint.content_digest(checkpoint.load(TrialFolder(folder).best)["network"])


def check(tree: dict, dataset: Dataset, folder: Path) -> str:
    """What is said about an experiment that can be run."""
    save_packed(dataset, folder / "data.pt")
    tree = {"name": "x", "dataset": {"name": str(folder / "data.pt")}, **tree}
    return "\n".join(check_experiment(read_experiment(tree, "x"), folder, lambda _: None).notes)
