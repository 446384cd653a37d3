"""What is known of a launch before it trains, in the form in which MLflow is told."""

import json
import subprocess
from pathlib import Path

import torch

from orchestrator import __version__
from orchestrator import records as keys
from orchestrator.architectures import family
from orchestrator.cli.checking import Checked
from orchestrator.data import Dataset
from orchestrator.tracking.runs import CONTRACT, FAMILY, LAYER_KINDS, DatasetFacts, TrialFacts


def trial_facts(checked: Checked) -> dict[str, TrialFacts]:
    """Figures and tags of every trial's network, by trial name; what could not be analysed is left out."""
    facts = {}
    for spec in checked.plan.trials:
        analysis, contract = checked.analyses[spec.name], checked.contracts[spec.name]
        field = analysis.receptive_field
        metrics = {
            keys.PARAMETERS: analysis.parameters,
            keys.MACS: analysis.macs,
            keys.RECEPTIVE_FIELD: field.output,
            keys.RECEPTIVE_FIELD_FEATURES: field.features,
        }
        known = {name: float(value) for name, value in metrics.items() if isinstance(value, int)}
        verdict = "none" if not contract.checks else "passed" if contract.passed else "broken"
        tags = {
            FAMILY: family(spec.variant),
            CONTRACT: verdict,
            LAYER_KINDS: ", ".join(kind for kind, present in analysis.kinds.items() if present),
        }
        facts[spec.name] = TrialFacts(known, tags)
    return facts


def dataset_facts(dataset: Dataset, source: str) -> DatasetFacts:
    """The data set as a run's input."""
    profile = {
        "train": len(dataset.train),
        "test": len(dataset.test),
        "classes": len(dataset.classes),
        "shape": list(dataset.shape),
    }
    return DatasetFacts(dataset.name, dataset.digest, json.dumps({"uri": source}), json.dumps(profile))


def software_tags(folder: Path) -> dict[str, str]:
    """Versions, and the commit of the working folder where there is one."""
    tags = {"torch_version": torch.__version__, "orchestrator_version": __version__}
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):  # no git, or no repository: then there is no commit to name
        return tags
    return {**tags, "git_commit": found.stdout.strip(), "mlflow.source.git.commit": found.stdout.strip()}
