"""The networks of an experiment: built, analysed, tried and judged, each once."""

from collections.abc import Callable

from torch import nn

from orchestrator.analysis import Analysis, analyse
from orchestrator.architectures import VARIANTS, build_network
from orchestrator.architectures.arguments import passed
from orchestrator.architectures.library import library_of
from orchestrator.architectures.probe import Behaviour, probe
from orchestrator.architectures.untracked import source_notes
from orchestrator.contract import ContractCheck, ContractResult, check_contract
from orchestrator.data import Dataset, build_augmentation, check_transforms
from orchestrator.errors import VariantError
from orchestrator.spec import Contract, TrialSpec
from orchestrator.text import first_line, listed
from orchestrator.training.device import is_under_autocast
from orchestrator.training.machine_faults import is_of_machine
from orchestrator.training.suitability import Shape, autocast_problem, channels_last_problem
from orchestrator.training.try_step import Tried, try_step
from orchestrator.workflow.apart import apart
from orchestrator.workflow.trainable import Try, batch_sizes, training_notes, training_problems
from orchestrator.workflow.unused_settings import unused_settings

# Multiply-accumulates of an image: larger networks are not tried under autocast, which CPUs may emulate.
QUICK_PASS = 1e9


class Networks:
    """Every network of an experiment, built and analysed once.

    ``begun``: the launch has; what cannot be trained is then a draw to be replaced, and no reason to end.
    """

    def __init__(self, contract: Contract, dataset: Dataset) -> None:
        self.contract, self.dataset = contract, dataset
        self.begun = False
        self._known: dict[str, tuple[Analysis, ContractResult, Behaviour]] = {}  # by network_key
        self._tried: dict[tuple[str, int, bool, str], Tried] = {}  # by network_key, images, auxiliary loss, optimiser
        self._failing: dict[tuple[str, str], str] = {}  # by network_key and way of computing it: why it fails so
        self._fallbacks: dict[str, list[str]] = {}  # by pipeline: notes
        self._latest: tuple[str, nn.Module] | None = None  # by network_key: what was built last

    @apart()
    def judge(self, spec: TrialSpec) -> tuple[Analysis, ContractResult, Behaviour]:
        """The network of ``spec``. Raises VariantError if it cannot be built."""
        key, shape = spec.network_key, self.dataset.shape
        if key not in self._known:
            network = self._network(spec)
            if spec.variant not in VARIANTS and not library_of(spec.variant):
                self._build(spec)  # as each trial does again: what is made once, for all of them, is refused
            analysis = analyse(network, shape)
            contract = check_contract(analysis, self.contract)
            self._known[key] = analysis, contract, probe(network, shape)
        return self._known[key]

    def take(self, spec: TrialSpec) -> Try:
        """How a training step of ``spec`` is tried, of each kind once."""
        weight, optimizer, shape = spec.trainer.auxiliary_weight, spec.trainer.optimizer, self.dataset.shape

        def take(images: int) -> Tried:
            if spec.variant in VARIANTS and images > 1:  # tests hold that these can be trained so
                return Tried()
            key = spec.network_key, images, weight > 0, optimizer.name
            if key not in self._tried:
                macs = sum(operation.macs for operation in self.judge(spec)[0].operations)
                network, classes = self._network(spec), len(self.dataset.classes)
                self._tried[key] = try_step(
                    network, lambda: self._build(spec), shape, classes, images, macs, weight, optimizer
                )
            return self._tried[key]

        return take

    def problems(self, spec: TrialSpec) -> list[str]:
        """Why ``spec`` cannot be trained; one line each."""
        found = training_problems(spec, self.dataset, self.take(spec))
        if found or not spec.trainer.channels_last:
            return found
        if problem := self._why_it_fails(spec, channels_last_problem):
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
        return [*network_notes(spec, self.dataset, behaviour), *known, *self._augmentation_notes(spec)]

    def _augmentation_notes(self, spec: TrialSpec) -> list[str]:
        """Whether the pipeline has no batched form, and why, in one line."""
        transforms = spec.trainer.augmentation
        key, shape = repr(transforms), self.dataset.shape
        if key not in self._fallbacks:
            lines: list[str] = []
            build_augmentation(transforms, seed=0, mean=(0.5,) * shape[0], shape=shape, on_fallback=lines.append)
            self._fallbacks[key] = lines
        return self._fallbacks[key]

    def _autocast_problem(self, spec: TrialSpec) -> str:
        """Why ``spec`` cannot be trained under autocast, of what can be tried quickly; empty if it can."""
        if spec.variant in VARIANTS or sum(o.macs for o in self.judge(spec)[0].operations) >= QUICK_PASS:
            return ""
        return self._why_it_fails(spec, autocast_problem)

    def _why_it_fails(self, spec: TrialSpec, problem_of: Callable[[nn.Module, Shape, int], str]) -> str:
        key = spec.network_key, problem_of.__name__
        if key not in self._failing:
            try:
                batch_size = batch_sizes(spec, self.dataset)[0]
                self._failing[key] = problem_of(self._build(spec), self.dataset.shape, batch_size)
            except Exception as problem:
                if not is_of_machine(problem):
                    raise
                self._failing[key] = ""  # it is not known
        return self._failing[key]

    def _network(self, spec: TrialSpec) -> nn.Module:
        if self._latest is None or self._latest[0] != spec.network_key:
            self._latest = spec.network_key, self._build(spec)
        return self._latest[1]

    def _build(self, spec: TrialSpec) -> nn.Module:
        return build_network(spec.variant, spec.arguments, len(self.dataset.classes), self.dataset.shape)

    @apart()
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
