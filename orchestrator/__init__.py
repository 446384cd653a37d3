"""Which network is really better? An experiment file becomes trials, folders, MLflow runs and a verdict.

``import orchestrator as orc`` is quick: everything below is imported when it is first used.
"""

from typing import TYPE_CHECKING

from orchestrator import lazy
from orchestrator.version import __version__

if TYPE_CHECKING:
    from orchestrator.errors import OrchestratorError
    from orchestrator.spec import Experiment
    from orchestrator.workflow.api import load, plan, report, run, train
    from orchestrator.workflow.comparison import Comparison
    from orchestrator.workflow.display import Display
    from orchestrator.workflow.inspect import Inspection, inspect
    from orchestrator.workflow.plan import Plan
    from orchestrator.workflow.results import Results
    from orchestrator.workflow.trial import Trial

_HOMES = {
    "Comparison": "workflow.comparison",
    "Display": "workflow.display",
    "Experiment": "spec",
    "Inspection": "workflow.inspect",
    "OrchestratorError": "errors",
    "Plan": "workflow.plan",
    "Results": "workflow.results",
    "Trial": "workflow.trial",
    "inspect": "workflow.inspect",
    "load": "workflow.api",
    "plan": "workflow.api",
    "report": "workflow.api",
    "run": "workflow.api",
    "train": "workflow.api",
}
__all__ = [
    "Comparison",
    "Display",
    "Experiment",
    "Inspection",
    "OrchestratorError",
    "Plan",
    "Results",
    "Trial",
    "__version__",
    "inspect",
    "load",
    "plan",
    "report",
    "run",
    "train",
]
__getattr__ = lazy.names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
