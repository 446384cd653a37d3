"""Everything that is checked before anything starts: data, networks, augmentation and contract."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from orchestrator.analysis import Analysis, analyse
from orchestrator.architectures import VARIANTS, build_network
from orchestrator.architectures.arguments import passed
from orchestrator.architectures.probe import Behaviour, probe
from orchestrator.architectures.untracked import source_notes
from orchestrator.contract import ContractCheck, ContractResult, check_contract
from orchestrator.data import Dataset, check_transforms, load_dataset
from orchestrator.errors import ContractError, ExperimentError, VariantError
from orchestrator.experiment.plan import absolute, absolute_references
from orchestrator.experiment.proposals import Proposals
from orchestrator.spec import Contract, Experiment, Plan, TrialSpec
from orchestrator.text import first_line, listed
from orchestrator.training.device import is_under_autocast
from orchestrator.training.layout import autocast_problem, channels_last_problem
from orchestrator.training.try_step import Tried, try_step
from orchestrator.workflow.trainable import Try, batch_sizes, training_notes, training_problems
from orchestrator.workflow.unused_settings import plan_notes, scheduler_notes, unused_settings

QUICK_PASS = (
    1e9  # multiply-accumulates of an image: larger networks are not tried under autocast, which CPUs may emulate
)


class Networks:
    """Every network of an experiment, built and analysed once.

    ``begun``: the launch has; what cannot be trained is then a draw to be replaced, and no reason to end.
    """

    def __init__(self, contract: Contract, dataset: Dataset) -> None:
        self.contract, self.dataset = contract, dataset
        self.begun = False
        self._known: dict[str, tuple[Analysis, ContractResult, Behaviour]] = {}  # by network_key
        self._tried: dict[tuple[str, int, bool], Tried] = {}  # by network_key, images, auxiliary loss
        self._layouts: dict[str, str] = {}  # by network_key: why it does not work channels last
        self._autocasts: dict[str, str] = {}  # by network_key: why it does not work under autocast
        self._latest: tuple[str, nn.Module] | None = None  # by network_key: what was built last

    def judge(self, spec: TrialSpec) -> tuple[Analysis, ContractResult, Behaviour]:
        """The network of ``spec``. Raises VariantError if it cannot be built."""
        key, shape = spec.network_key, self.dataset.shape
        if key not in self._known:
            network = self._network(spec)
            analysis = analyse(network, shape)
            contract = check_contract(analysis, self.contract)
            self._known[key] = analysis, contract, probe(network, shape)
        return self._known[key]

    def take(self, spec: TrialSpec) -> Try:
        """How a training step of ``spec`` is tried, of each kind once."""
        weight, shape = spec.trainer.auxiliary_weight, self.dataset.shape

        def take(images: int) -> Tried:
            if spec.variant in VARIANTS and images > 1:  # tests hold that these can be trained so
                return Tried()
            key = spec.network_key, images, weight > 0
            if key not in self._tried:
                macs = sum(operation.macs for operation in self.judge(spec)[0].operations)
                network, classes = self._network(spec), len(self.dataset.classes)
                self._tried[key] = try_step(network, lambda: self._build(spec), shape, classes, images, macs, weight)
            return self._tried[key]

        return take

    def problems(self, spec: TrialSpec) -> list[str]:
        """Why ``spec`` cannot be trained; one line each."""
        found = training_problems(spec, self.dataset, self.take(spec))
        if not found and spec.trainer.channels_last and (problem := self._layout_problem(spec)):
            found = [
                f"trainer.channels_last: {spec.label} does not work in this layout: {problem}; leave the setting out, "
                "or call reshape or flatten there instead of view"
            ]
        return found

    def notes(self, spec: TrialSpec) -> list[str]:
        """Messages about a trial before it is trained."""
        behaviour = self.judge(spec)[2]
        known = [*training_notes(spec, self.dataset, self.take(spec), behaviour)]
        if is_under_autocast(spec.trainer) and (problem := self._autocast_problem(spec)):
            known.append(
                f"{spec.label} works in float32, and fails in bfloat16 under autocast on the CPU: {problem}; "
                f"trainer.precision is {spec.trainer.precision}: set it to float32 if its trials fail"
            )
        return [*network_notes(spec, self.dataset, behaviour), *known]

    def _layout_problem(self, spec: TrialSpec) -> str:
        """Why ``spec`` cannot be trained channels last; empty if it can, or cannot be trained otherwise either."""
        key = spec.network_key
        if key not in self._layouts:
            batch_size = batch_sizes(spec, self.dataset)[0]
            self._layouts[key] = channels_last_problem(self._build(spec), self.dataset.shape, batch_size)
        return self._layouts[key]

    def _autocast_problem(self, spec: TrialSpec) -> str:
        """Why ``spec`` cannot be trained under autocast, of what can be tried quickly; empty if it can."""
        key, size = spec.network_key, batch_sizes(spec, self.dataset)[0]
        if spec.variant in VARIANTS:
            return ""
        if key not in self._autocasts:
            macs = sum(operation.macs for operation in self.judge(spec)[0].operations)
            is_quick = macs < QUICK_PASS
            self._autocasts[key] = autocast_problem(self._build(spec), self.dataset.shape, size) if is_quick else ""
        return self._autocasts[key]

    def _network(self, spec: TrialSpec) -> nn.Module:
        if self._latest is None or self._latest[0] != spec.network_key:
            self._latest = spec.network_key, self._build(spec)
        return self._latest[1]

    def _build(self, spec: TrialSpec) -> nn.Module:
        return build_network(spec.variant, spec.arguments, len(self.dataset.classes), self.dataset.shape)

    def broken(self, spec: TrialSpec) -> list[ContractCheck]:
        """The limits of the contract that the network of ``spec`` breaks, and once begun, what else is wrong with it.

        Raises VariantError if it cannot be built and nothing has begun.
        """
        try:
            _, contract, _ = self.judge(spec)
        except VariantError as problem:
            if not self.begun and spec.settings:
                given = ", ".join(f"{path} {value}" for path, value in spec.settings.items())
                hint = "a setting for some variants only needs `variants: [...]` in its distribution"
                raise VariantError(f"search.space: with {given}: {first_line(problem)}; {hint}") from problem
            if not self.begun:
                raise
            return [_unfit(first_line(problem))]
        broken = [check for check in contract.checks if not check.passed]
        if self.begun:
            problems = check_transforms(spec.trainer.augmentation, self.dataset.shape)
            broken += map(_unfit, [*problems, *self.problems(spec)])
        return broken


def _unfit(reason: str) -> ContractCheck:
    """A check that fails because the trial cannot be trained at all."""
    return ContractCheck("require training", limit=True, value=None, passed=False, reason=reason)


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
        self.plan.rejected_samples = self.proposals.rejected
        return self.plan.add(new)  # last: whoever looks at the plan finds the rest


def check_experiment(experiment: Experiment, data_dir: Path, log: Callable[[str], None]) -> Checked:
    """Raises a RequestError that lists every faulty variant if the experiment cannot be run."""
    log(f"reading data: {experiment.dataset.name}")
    dataset = load_dataset(experiment.dataset, data_dir)
    transforms = check_transforms(experiment.trainer.augmentation, dataset.shape)
    wrong = [f"trainer.augmentation: {problem}" for problem in transforms]
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
            [*dataset.notes, *plan.notes, *scheduler_notes(experiment), *plan_notes(experiment), *known_notes]
        )
    )
    for note in notes:
        log(note)
    return replace(checked, notes=notes)


def network_notes(spec: TrialSpec, dataset: Dataset, behaviour: Behaviour) -> list[str]:
    """Messages about a trial before it is trained: what its constructor got, what is not tracked or has no effect."""
    given = passed(spec.variant, spec.arguments, len(dataset.classes), dataset.shape, spec.label)
    sources = source_notes(spec.variant, spec.arguments, spec.label)
    return [*given.notes, *sources, *behaviour_notes(spec.label, behaviour), *unused_settings(spec.trainer)]


def behaviour_notes(label: str, behaviour: Behaviour) -> list[str]:
    """Messages about how the network ``label`` will be trained and evaluated."""
    notes = []
    if behaviour.varies_in_evaluation:
        notes.append(
            f"{label} draws random numbers in evaluation mode (a dropout without training=self.training?): its "
            "accuracy is that of one draw, the same for every evaluation"
        )
    if behaviour.unregistered:
        notes.append(
            f"{label} holds layers or parameters that torch does not know of, in {listed(behaviour.unregistered, 3)}: "
            "they are not trained, counted or saved, and a loaded model has others; use torch.nn.ModuleList, "
            "ModuleDict or ParameterList"
        )
    return notes


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
