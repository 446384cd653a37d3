"""From an experiment to its plan: every trial that is known before anything starts, fully specified."""

from orchestrator.experiment.proposals import Proposals
from orchestrator.experiment.suggestions.group import Broken
from orchestrator.spec import Experiment, Plan


def make_plan(experiment: Experiment, dataset_digest: str = "", broken: Broken = lambda _: ()) -> Plan:
    """Every trial of ``experiment`` that depends on no result: seeds outermost, so that each variant starts early.

    What is drawn, replaced and noted, and what is refused with an ExperimentError, is described at :class:`Proposals`.
    """
    proposals = Proposals(experiment, dataset_digest, broken)
    trials = tuple(proposals.trials({}))
    return Plan(
        experiment=proposals.experiment,
        trials=trials,
        rejected_samples=proposals.rejected,
        notes=proposals.notes,
    )
