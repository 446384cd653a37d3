"""What a report published of a network, for the experiments that replicate it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from orchestrator.spec.fields import Range, SeveralProblems, check
from orchestrator.spec.recipe import STRICT

if TYPE_CHECKING:
    from orchestrator.spec.experiment import Experiment

Accuracy = Annotated[float, Range(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a report published of the network that the experiment replicates. It changes nothing that is trained."""

    __pydantic_config__ = STRICT

    last: Accuracy | None = None
    """Published test accuracy of the last epoch. null: not published. Unit: fraction."""
    best: Accuracy | None = None
    """Published test accuracy of the best epoch, which the report chose on the test split: it is compared with the same
    of this experiment's trials only, never used to compare variants. null: not published. Unit: fraction."""
    margin: Annotated[float, Range(gt=0, lt=1)] = 0.005
    """Largest difference from the published accuracy that still counts as replicated. Unit: fraction."""
    curve: str | None = None
    """CSV file with the columns epoch and test_accuracy (percent) that is drawn next to the trials' curves; its path is
    relative to the experiment file."""

    def __post_init__(self) -> None:
        check(self)
        if self.last is None and self.best is None and self.curve is None:
            raise SeveralProblems(["names nothing that was published: give last, best or curve"])
        if self.last is not None and self.best is not None and self.best < self.last:
            raise SeveralProblems([f"best ({self.best:g}) is below last ({self.last:g})"])

    @property
    def figures(self) -> dict[str, float]:
        """The published accuracies by name: ``last``, ``best``."""
        return {name: value for name in ("last", "best") if (value := getattr(self, name)) is not None}


def misuse(published: Published, experiment: "Experiment") -> list[str]:
    """Why the published accuracies cannot be compared with what ``experiment`` measures; a curve is always drawn."""
    if not published.figures:
        return []
    problems = []
    if experiment.trainer.protocol != "published":
        problems.append(
            "published: last and best are of reports that read the test split every epoch; set trainer.protocol: "
            "published, or give the curve only"
        )
    if len(experiment.variants) > 1:
        problems.append("published: last and best belong to one network; list one variant, or give the curve only")
    if experiment.trainer.stop_at_accuracy is not None:
        problems.append("published: trainer.stop_at_accuracy would choose the last epoch by its test accuracy")
    return problems
