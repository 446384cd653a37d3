"""What is known about a launch before training, in the form that MLflow gets."""

import getpass
import json
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch

from orchestrator import records as keys
from orchestrator.architectures import family
from orchestrator.data import Dataset
from orchestrator.scheduling.launch_folder import LaunchFolder
from orchestrator.scheduling.take_over import origin
from orchestrator.spec import DatasetSpec, TrialSpec
from orchestrator.spec.fields import to_json
from orchestrator.tracking.runs import DatasetFacts, TrialFacts
from orchestrator.tracking.tags import CONTRACT, FAMILY, LAYER_KINDS, SOURCE_NAME, SOURCE_TYPE, TAKEN_OVER, USER
from orchestrator.version import __version__
from orchestrator.workflow.check import Checked


def trial_facts(checked: Checked, folder: LaunchFolder, trials: Iterable[TrialSpec]) -> dict[str, TrialFacts]:
    """Metrics and tags of each trial's network, by trial name; what could not be analysed is omitted."""
    facts = {}
    for spec in trials:
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
            LAYER_KINDS: ", ".join(kind for kind, present in contract.kinds.items() if present),
            **({} if (launch := origin(folder.trial(spec.name))) is None else {TAKEN_OVER: launch}),
        }
        facts[spec.name] = TrialFacts(known, tags)
    return facts


def dataset_facts(dataset: Dataset, spec: DatasetSpec) -> DatasetFacts:
    """The dataset as a run's input, with the settings by which it is read again."""
    profile = {
        "train": len(dataset.train),
        **({} if dataset.validation is None else {"validation": len(dataset.validation)}),
        "test": len(dataset.test),
        "classes": len(dataset.classes),
        "shape": list(dataset.shape),
    }
    source = {"uri": spec.name, "settings": to_json(spec)}
    return DatasetFacts(dataset.name, dataset.digest, json.dumps(source), json.dumps(profile))


def run_tags(source: Path | None, as_job: bool) -> dict[str, str]:
    """Tags of every run of a launch: versions, the commit of the working folder, and by MLflow's convention who ran it.

    ``source`` is the experiment file; None keeps the one with which the launch was started.
    """
    tags = {
        keys.TORCH_VERSION: torch.__version__,
        "orchestrator_version": __version__,
        SOURCE_TYPE: "JOB" if as_job else "LOCAL",
    }
    if source is not None:
        tags[SOURCE_NAME] = str(source.resolve())
    with suppress(OSError, KeyError, ImportError):  # in a container, a user may have no name
        tags[USER] = getpass.getuser()
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):  # no git or no repository: no commit
        return tags
    return {**tags, "git_commit": found.stdout.strip(), "mlflow.source.git.commit": found.stdout.strip()}
