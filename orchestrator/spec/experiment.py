"""An experiment: which variants, seeds, recipe, search, resources and contract, as one YAML file says them."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from orchestrator.spec.fields import Range, check, to_plain
from orchestrator.spec.recipe import STRICT, Count, Recipe
from orchestrator.spec.trial import DatasetSpec, TrialSpec, digest, label_problem, variant_label

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


LONGEST_NAME = 100  # characters


def name_problem(name: str) -> str | None:
    """Why no experiment can have this name, or None; its folder in the storage folder bears it."""
    if not name or any(not (c.isalnum() or c in "-_.") for c in name) or name[0] in "-.":
        return f"letters, digits, '-', '_' and '.' only, not {name!r}"
    return f"at most {LONGEST_NAME} characters" if len(name.encode()) > LONGEST_NAME else None


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Limits that every variant must keep, checked before any training time is spent."""

    __pydantic_config__ = STRICT

    max_parameters: Count | None = None
    max_macs: Count | None = None  # multiply-accumulates for one picture
    min_receptive_field: Count | None = None  # pixels, of the output (after global pooling)
    require: tuple[Layer, ...] = ()
    forbid: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        check(self)
        if both := sorted(set(self.require) & set(self.forbid)):
            raise ValueError(f"required and forbidden at once: {', '.join(both)}")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One architecture: a built-in name or a user's own network, with arguments for its constructor."""

    __pydantic_config__ = STRICT

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if problem := label_problem(self.name):
            raise ValueError(f"name: {problem}")

    @property
    def label(self) -> str:
        """The name people read."""
        return variant_label(self.name)


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """What one searched setting is drawn from; exactly one of the four, in Ray Tune's words."""

    __pydantic_config__ = STRICT

    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    randint: tuple[int, int] | None = None  # the upper end is not included
    choice: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        given = [k for k in ("uniform", "loguniform", "randint", "choice") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of uniform, loguniform, randint, choice")
        bounds = self.uniform or self.loguniform or self.randint
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(f"{given[0]}: the lower end must be below the upper end, not {list(bounds)}")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError("loguniform: the lower end must be greater than 0")
        if self.choice is not None and not self.choice:
            raise ValueError("choice: needs at least one value")


@dataclass(frozen=True, kw_only=True)
class Search:
    """A random search: ``samples`` draws, shared by all variants and seeds so that they stay comparable."""

    __pydantic_config__ = STRICT

    space: dict[str, Distribution]  # dotted path (trainer.optimizer.lr, arguments.width) to its distribution
    samples: Annotated[int, Range(ge=1, le=10_000)] = 8
    seed: Annotated[int, Range(ge=0)] = 0  # of the draws, not of the training

    def __post_init__(self) -> None:
        check(self)
        if not self.space:
            raise ValueError("space: needs at least one setting to search")


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """Who may end a trial early: nobody (fifo), or asynchronous successive halving on validation accuracy."""

    __pydantic_config__ = STRICT

    name: Literal["fifo", "asha"] = "fifo"
    grace_period: Count = 1  # asha: epochs every trial gets
    reduction_factor: Annotated[int, Range(ge=2)] = 3  # asha: one trial in this many goes on at each rung

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one trial gets; ``auto``: one core on a CPU machine, the measured share of a GPU and its cores elsewhere."""

    __pydantic_config__ = STRICT

    cpus: Annotated[float, Range(gt=0)] | Literal["auto"] = "auto"
    gpus: Annotated[float, Range(ge=0)] | Literal["auto"] = "auto"
    max_concurrent_trials: Count | None = None

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Failures:
    """How often a trial is taken up again, by kind of failure. Errors and divergence would only come again."""

    __pydantic_config__ = STRICT

    infrastructure: Annotated[int, Range(ge=0)] = 10  # its worker or node was lost; not the trial's fault
    out_of_memory: Annotated[int, Range(ge=0)] = 1  # each time with a larger share of the machine

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """What MLflow gets of each trial besides its records; neither changes what is trained."""

    __pydantic_config__ = STRICT

    # Which trials become MLflow models. best: one of each variant, the seed chosen by validation accuracy.
    models: Literal["best", "all", "none"] = "best"
    # Which trials get figures, tables and a page. chosen: every trial, but of a search only those that are compared.
    reports: Literal["chosen", "all", "none"] = "chosen"

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment file."""

    __pydantic_config__ = STRICT

    name: str
    description: str = ""
    variants: tuple[Variant, ...]
    seeds: tuple[Annotated[int, Range(ge=0, lt=2**31)], ...] = (0,)
    dataset: DatasetSpec = field(default_factory=DatasetSpec)
    trainer: Recipe = field(default_factory=Recipe)
    search: Search | None = None
    scheduler: Scheduler = field(default_factory=Scheduler)
    resources: Resources = field(default_factory=Resources)
    failures: Failures = field(default_factory=Failures)
    # bytes, for checkpoints of finished trials; the best trial of each variant is kept whatever it takes
    max_checkpoint_bytes: Count | None = None
    contract: Contract = field(default_factory=Contract)
    tracking: Tracking = field(default_factory=Tracking)
    published_curve: str | None = None  # CSV with columns epoch, test_accuracy (per cent), drawn beside our curves
    target_accuracy: Annotated[float, Range(gt=0, le=1)] = 0.85  # fraction; what "epochs to target" counts to

    def __post_init__(self) -> None:
        check(self)
        problems = []
        if problem := name_problem(self.name):
            problems.append(f"name: {problem}")
        names = [variant.name for variant in self.variants]
        for what, values in (("variants", [v.label for v in self.variants]), ("seeds", [str(s) for s in self.seeds])):
            if not values:
                problems.append(f"{what}: needs at least one")
            if twice := sorted({v for v in values if values.count(v) > 1}):
                hint = (
                    " (a network is called by its class: rename one of them)"
                    if what == "variants" and len(set(names)) > 1
                    else ""
                )
                problems.append(f"{what}: named twice: {', '.join(twice)}{hint}")
        if self.scheduler.name == "asha" and self.trainer.protocol == "published":
            problems.append("scheduler: asha follows validation accuracy, which the published protocol does not have")
        if self.search is not None and self.trainer.protocol == "published":
            problems.append("search: by the published protocol settings would be chosen by test images")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An experiment with every trial spelled out, in the order in which they are started."""

    experiment: Experiment
    trials: tuple[TrialSpec, ...]
    rejected_samples: int = 0  # draws that broke the contract and were drawn again
    notes: tuple[str, ...] = ()  # what a person should know of it

    def __post_init__(self) -> None:
        names = [trial.name for trial in self.trials]
        if len(set(names)) != len(names):  # each has a folder of its name
            raise ValueError(f"two trials have one name: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")

    def identity(self) -> str:
        """Hash of everything that decides what the launch leaves behind: the trials and the scheduler."""
        trials = [trial.identity() for trial in self.trials]
        return digest([self.experiment.name, trials, to_plain(self.experiment.scheduler)])
