"""An experiment: which variants, seeds, recipe, search, resources and contract, as one YAML file says them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from orchestrator.spec.fields import Range, SeveralProblems, check, from_json
from orchestrator.spec.published import Published
from orchestrator.spec.recipe import STRICT, Count, Recipe
from orchestrator.spec.relations import relation_problems
from orchestrator.spec.scheduler import Scheduler
from orchestrator.spec.search import Confirm, Search
from orchestrator.spec.trial import DatasetSpec, as_problem, label_problem, variant_label
from orchestrator.spec.verdict import VerdictSettings

Layer = Literal[
    "depthwise_separable",
    "dilated",
    "global_average_pooling",
    "grouped",
    "residual",
    "concatenation",
    "max_pool",
    "batch_norm",
    "dropout",
]


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Limits that every variant must meet, checked before training starts."""

    __pydantic_config__ = STRICT

    max_parameters: Count | None = None
    """Largest number of parameters. null: no limit. Unit: parameters."""
    max_macs: Count | None = None
    """Largest number of multiply-accumulates per image. null: no limit. Unit: MACs."""
    min_receptive_field: Count | None = None
    """Smallest receptive field of the network's output, global pooling included. null: no limit. Unit: pixels."""
    require: tuple[Layer, ...] = ()
    """Kinds of layers that the network must contain."""
    forbid: tuple[Layer, ...] = ()
    """Kinds of layers that the network must not contain."""

    def __post_init__(self) -> None:
        check(self)
        if both := sorted(set(self.require) & set(self.forbid)):
            raise SeveralProblems([f"both required and forbidden: {', '.join(both)}"])


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One network, with arguments for its constructor."""

    __pydantic_config__ = STRICT

    name: str
    """A built-in variant, `path/to/file.py:Class`, `package.module:Class`, `timm:name` or `torchvision:name`; a
    function that returns a network will do as well as a class."""
    as_: str | None = None
    """The variant's name in tables, figures and folders. null: the name of its class."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments for the network's constructor; the number of classes is added."""

    def __post_init__(self) -> None:
        if problem := label_problem(self.name):
            raise SeveralProblems([f"name: {problem}"])
        if self.as_ is not None and (problem := as_problem(self.as_)):
            raise SeveralProblems([f"as: {problem}"])

    @property
    def label(self) -> str:
        """The name people read."""
        return self.as_ or variant_label(self.name)


def _variant(given: Any) -> Any:
    """What Python code may give instead of a Variant, as one: its name, or a mapping."""
    if isinstance(given, str):
        return Variant(name=given)
    if not isinstance(given, Mapping):
        return given
    try:
        return from_json(Variant, dict(given), "variants")
    except ValueError as problem:
        raise SeveralProblems([str(problem)]) from problem


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The share of a machine that one trial gets."""

    __pydantic_config__ = STRICT

    cpus: Annotated[float, Range(gt=0)] | Literal["auto"] = "auto"
    """CPU cores of one trial. auto: 1, or with a GPU that GPU's share of the machine's cores. Unit: cores."""
    gpus: Annotated[float, Range(ge=0)] | Literal["auto"] = "auto"
    """GPUs of one trial, also a fraction of one. auto: where there is a GPU, the share that is measured before the
    first trial starts, else 0. Unit: GPUs."""
    max_concurrent_trials: Count | None = None
    """Largest number of trials that run at the same time. null: as many as fit."""
    price_per_hour: Annotated[float, Range(ge=0)] | None = None
    """Price of a GPU for an hour, or where trials get no GPU, of a CPU core. A trial is charged for its share while it
    trains. null: no prices are shown. Unit: your currency."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Failures:
    """How often a failed trial is retried. Errors and divergence are not retried, because they would recur."""

    __pydantic_config__ = STRICT

    infrastructure: Annotated[int, Range(ge=0)] = 10
    """How often a trial is retried after its worker or node was lost. Unit: retries."""
    out_of_memory: Annotated[int, Range(ge=0)] = 1
    """How often a trial is retried after it ran out of memory, with a larger share of the machine. Unit: retries."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """What MLflow stores of each trial besides its metrics. Neither setting changes what is trained."""

    __pydantic_config__ = STRICT

    models: Literal["best", "all", "none"] = "best"
    """Which trials become MLflow models. best: one per variant, the seed with the best validation accuracy."""
    reports: Literal["chosen", "all", "none"] = "chosen"
    """Which trials get figures, tables and report.html. chosen: all, but of a search only those that are compared."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment file."""

    __pydantic_config__ = STRICT

    name: str
    """Name of the experiment in MLflow and of its folder: letters, digits, `-`, `_` and `.`."""
    description: str = ""
    """Free text, shown in MLflow."""
    variants: tuple[Variant, ...]
    """The networks to compare; a bare name or a mapping with `name` and `arguments`."""
    seeds: tuple[Annotated[int, Range(ge=0, lt=2**31)], ...] = (0,)
    """Random seeds for weights, data order and validation split; every variant is trained once with each."""
    dataset: DatasetSpec = field(default_factory=DatasetSpec)
    """The dataset."""
    trainer: Recipe = field(default_factory=Recipe)
    """The training recipe, the same for every variant."""
    search: Search | None = None
    """A search over settings. null: no search."""
    confirm: Confirm | None = None
    """What is trained when the search is over, to compare the variants by. null: the search's own trials."""
    scheduler: Scheduler = field(default_factory=Scheduler)
    """Whether trials may be stopped early."""
    resources: Resources = field(default_factory=Resources)
    """What one trial gets of a machine."""
    failures: Failures = field(default_factory=Failures)
    """How often failed trials are retried."""
    max_checkpoint_bytes: Count | None = None
    """Limit for the checkpoints of finished trials; the worst are deleted first, and the best trial of each variant is
    always kept. null: no limit. Unit: bytes."""
    contract: Contract = field(default_factory=Contract)
    """Limits that every variant must meet, checked before training starts."""
    verdict: VerdictSettings = field(default_factory=VerdictSettings)
    """How the verdict on the variants is reached."""
    tracking: Tracking = field(default_factory=Tracking)
    """What MLflow stores of each trial besides its metrics."""
    published: Published | None = None
    """What a report published of the network that is replicated. null: nothing."""
    target_accuracy: Annotated[float, Range(gt=0, le=1)] = 0.85
    """Accuracy that the column "epochs to target" counts to. Unit: fraction."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "variants", tuple(map(_variant, self.variants)))
        check(self)
        if problems := relation_problems(self):
            raise SeveralProblems(problems)

    @property
    def published_curve(self) -> str | None:
        """The file of the published curve, or None."""
        return None if self.published is None else self.published.curve
