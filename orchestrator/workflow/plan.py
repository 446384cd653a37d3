"""What a launch of an experiment would do: every trial, each network's figures, and every problem."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ExperimentError, RequestError
from orchestrator.experiment.stages import to_come
from orchestrator.spec import Experiment, TrialSpec
from orchestrator.spec.fields import to_json
from orchestrator.text import counted
from orchestrator.workflow.check import Checked, check_experiment

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.workflow.estimate import Estimate

DASH = "  - "  # before each problem in the text of an error that lists several


@dataclass(frozen=True)
class Plan:
    """An experiment with all of its trials; ``problems`` is empty if it can be run."""

    experiment: Experiment
    trials: tuple[TrialSpec, ...]  # in the order in which they start; empty if there are problems
    problems: tuple[str, ...] = ()
    # The data and the analysed networks; None if there are problems, and in a copy, which has the document of them.
    checked: Checked | None = field(default=None, compare=False, repr=False)
    _document: dict[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user, to read before the networks are trained."""
        return () if self.problems else tuple(self.to_dict()["notes"])

    def to_dict(self) -> dict[str, Any]:
        """The document of ``validate --json``. Raises ExperimentError if there are problems."""
        document = self._document if self.checked is None else to_dict(self.checked)
        if document is None:
            raise ExperimentError(self.experiment.name, self.problems)
        return document

    def table(self) -> "pd.DataFrame":
        """One row per trial: its settings, parameters, MACs and receptive field; raises as :meth:`to_dict` does."""
        import pandas as pd

        rows = [{**row, "receptive_field": row["receptive_field"]["output"]} for row in self.to_dict()["trials"]]
        return pd.DataFrame(rows).drop(columns=["identity", "contract"])

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: neither images nor networks."""
        return {**vars(self), "checked": None, "_document": None if self.problems else self.to_dict()}

    def __repr__(self) -> str:
        if self.problems:
            return "\n".join([f"{self.experiment.name} cannot be run:", *self.problems])
        trials = counted(len(self.trials), "trial")
        said = f"{self.experiment.name}: {trials} of {counted(self.experiment.trainer.epochs, 'epoch')}"
        return "\n".join([said, *(later.words for later in to_come(self.experiment))])

    def _repr_html_(self) -> str:
        from html import escape

        table = "" if self.problems else self.table().to_html(index=False, na_rep="")
        return f"<p style='white-space: pre-line'>{escape(repr(self))}</p>{table}"


def plan(experiment: Experiment, data_dir: Path, log: Callable[[str], None] = lambda _: None) -> Plan:
    """Check ``experiment``, its data and its networks, and list its trials; nothing is trained.

    Whatever prevents it from running is in ``problems``; only a file that cannot be read as an experiment raises.
    """
    try:
        checked = check_experiment(experiment, data_dir, log)
    except RequestError as problem:
        return Plan(experiment, (), tuple(_one_by_one(str(problem).splitlines())))
    return Plan(checked.plan.experiment, checked.plan.trials, (), checked)


def _one_by_one(lines: list[str]) -> list[str]:
    """What a list of problems lists, without its heading and its dashes; ``lines`` where they are no list."""
    return [line.removeprefix(DASH) for line in lines if line.startswith(DASH)] or lines


def training_cost(checked: Checked) -> float:
    """Multiply-accumulates of the whole launch: about three forward passes per image (forward and backward).

    Of trials that results may make known, the most that they can be.
    """
    further = sum(later.seeds for later in to_come(checked.plan.experiment))
    cost, dearest = 0.0, dict[str, float]()
    for spec in checked.plan.trials:
        held_out = 0 if spec.trainer.protocol == "published" else checked.dataset.held_out(spec.dataset.validation)
        images = (len(checked.dataset.train) - held_out) * spec.trainer.epochs
        one = 3.0 * images * (checked.analyses[spec.name].macs or 0)
        dearest[spec.label] = max(dearest.get(spec.label, 0.0), one)
        cost += one
    return cost + further * sum(dearest.values())


def to_dict(checked: Checked, expected: "Estimate | None" = None) -> dict[str, Any]:
    """The document of ``validate --json``; ``expected`` is what the launch would take, if that was asked for."""
    return {
        "experiment": to_json(checked.plan.experiment),
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
        "estimate": None if expected is None else expected.to_dict(),
        "notes": list(checked.notes),
        "to_come": [asdict(later) for later in to_come(checked.plan.experiment)],
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
