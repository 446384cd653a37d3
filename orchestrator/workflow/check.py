"""Everything that is checked before anything starts: data, networks, augmentation and contract."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.analysis import Analysis
from orchestrator.contract import ContractResult
from orchestrator.data import Dataset, check_transforms, load_dataset
from orchestrator.errors import ContractError, ExperimentError, RequestError, VariantError
from orchestrator.experiment.paths import absolute, absolute_references
from orchestrator.experiment.proposals import Proposals
from orchestrator.reporting.published import read_curve
from orchestrator.spec import Experiment, Plan, TrialSpec
from orchestrator.workflow.apart import apart
from orchestrator.workflow.networks import Networks
from orchestrator.workflow.unused_settings import plan_notes, scheduler_notes


@dataclass(frozen=True)
class Checked:
    """An experiment that can be run: its data, its plan, and each trial's network analysed."""

    plan: Plan
    dataset: Dataset
    proposals: Proposals
    networks: Networks
    analyses: dict[str, Analysis]  # by trial name
    contracts: dict[str, ContractResult]
    notes: tuple[str, ...] = ()  # messages about the networks, for the user

    def begin(self) -> None:
        """What the launch has been begun with stands, as its log tells ``proposals``: plan anew by that."""
        self.networks.begun = True
        known = self.proposals.trials({})
        if [spec.identity() for spec in known] != [spec.identity() for spec in self.plan.trials]:
            self.plan.clear()
            self.analyses.clear()
            self.add(known)

    def add(self, trials: Iterable[TrialSpec]) -> list[TrialSpec]:
        """Add to the plan those of ``trials`` that are new, and return them."""
        new = [spec for spec in trials if spec.name not in self.analyses]
        for spec in new:
            self.analyses[spec.name], self.contracts[spec.name], _ = self.networks.judge(spec)
        self.plan.rejected_samples, self.plan.searching = self.proposals.rejected, self.proposals.searching
        return self.plan.add(new)  # last: whoever looks at the plan finds the rest


@apart()
def check_experiment(experiment: Experiment, data_dir: Path, log: Callable[[str], None]) -> Checked:
    """Raises a RequestError that lists every faulty variant if the experiment cannot be run."""
    log(f"reading data: {experiment.dataset.name}")
    dataset = load_dataset(experiment.dataset, data_dir)
    transforms = check_transforms(experiment.trainer.augmentation, dataset.shape)
    wrong = [f"trainer.augmentation: {problem}" for problem in transforms]
    if experiment.published_curve:
        try:
            read_curve(Path(experiment.published_curve))
        except RequestError as problem:
            wrong.append(f"published.curve: {problem}")
    networks = Networks(experiment.contract, dataset)
    if experiment.search is None:
        _refuse_broken(experiment, networks, wrong)
    if wrong:
        raise ExperimentError(experiment.name, wrong)
    proposals = Proposals(experiment, dataset.digest, networks.broken)
    plan = Plan(experiment=proposals.experiment, trials=(), notes=proposals.notes)
    checked = Checked(plan, dataset, proposals, networks, {}, {})
    checked.add(proposals.trials({}))
    problems = _drawn_augmentation(plan, dataset)
    for spec in plan.trials:
        problems += networks.problems(spec)
    if problems:
        raise ExperimentError(experiment.name, list(dict.fromkeys(problems)))
    known_notes = (note for spec in plan.trials for note in networks.notes(spec))
    notes = tuple(
        dict.fromkeys(
            [
                *dataset.notes,
                *plan.notes,
                *scheduler_notes(experiment, plan.trials),
                *plan_notes(experiment),
                *known_notes,
            ]
        )
    )
    for note in notes:
        log(note)
    return replace(checked, notes=notes)


def _drawn_augmentation(plan: Plan, dataset: Dataset) -> list[str]:
    """Every problem of the pipelines that a search has drawn; each pipeline is checked once."""
    if plan.experiment.search is None:
        return []
    first = {repr(spec.trainer.augmentation): spec for spec in reversed(plan.trials)}
    return [
        f"trainer.augmentation as drawn for {spec.name}: {problem}"
        for spec in first.values()
        for problem in check_transforms(spec.trainer.augmentation, dataset.shape)
    ]


def _refuse_broken(experiment: Experiment, networks: Networks, wrong: Sequence[str]) -> None:
    """Raise one error that names every variant that cannot be built or breaks the contract, and what else is wrong."""
    unfit, broken = [], []
    for variant in experiment.variants:
        arguments = absolute_references(variant.arguments)
        spec = TrialSpec(variant=absolute(variant.name), as_=variant.as_ or "", arguments=arguments)
        try:
            missed = networks.broken(spec)
        except VariantError as problem:
            unfit.append(str(problem))
            continue
        broken += [f"{variant.label}: {check.format()}" for check in missed]
    if wrong and (unfit or broken):
        raise ExperimentError(experiment.name, [*wrong, *unfit, *broken])
    if unfit:
        raise VariantError("\n".join([*unfit, *broken]))
    if broken:
        raise ContractError("\n".join(["the contract is broken, nothing was started:", *(f"  - {b}" for b in broken)]))
