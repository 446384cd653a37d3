"""The recipe: everything about training that is not the network, the data or the seed."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from orchestrator.spec.fields import Range, check

Positive = Annotated[float, Range(gt=0)]
NotNegative = Annotated[float, Range(ge=0)]
Count = Annotated[int, Range(ge=1)]

STRICT = {"extra": "forbid"}  # read by pydantic: unknown keys are refused


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An optimiser; the names and meanings are torch's. A field that an optimiser lacks is ignored.

    muon is torch's Muon with ``match_rms_adamw`` for the kernels that mix channels, and AdamW for everything else.
    """

    __pydantic_config__ = STRICT

    name: Literal["sgd", "adam", "adamw", "rmsprop", "muon"] = "sgd"
    lr: Positive = 0.1
    weight_decay: NotNegative = 0.0005  # decoupled for adamw and muon, added to the gradient for the others
    momentum: Annotated[float, Range(ge=0, lt=1)] = 0.9  # sgd, rmsprop and muon
    nesterov: bool = False  # sgd only
    alpha: Annotated[float, Range(gt=0, lt=1)] = 0.99  # rmsprop's smoothing constant
    beta1: Annotated[float, Range(ge=0, lt=1)] = 0.9  # adam, adamw and muon
    beta2: Annotated[float, Range(ge=0, lt=1)] = 0.999  # adam, adamw and muon
    eps: Positive = 1e-8  # all but sgd

    def __post_init__(self) -> None:
        check(self)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum greater than 0")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate moves; ``interval`` null means what the schedule usually does."""

    __pydantic_config__ = STRICT

    name: Literal["onecycle", "cosine", "exponential", "step", "plateau", "constant"] = "onecycle"
    interval: Literal["batch", "epoch"] | None = None  # onecycle and cosine default to batch, the others to epoch
    max_lr: Positive | None = None  # onecycle's peak; null means the optimiser's lr
    warmup: Annotated[float, Range(ge=0, lt=1)] = 0.3  # onecycle: fraction of the steps spent rising
    div_factor: Positive = 25.0  # onecycle: peak / first rate
    final_div_factor: Positive = 10_000.0  # onecycle: first rate / last rate
    anneal: Literal["cos", "linear"] = "cos"  # onecycle: the shape of both slopes
    cycle_momentum: bool = False  # onecycle: momentum (or beta1) moves from 0.95 down to 0.85 and back
    total_steps: Count | None = None  # onecycle and cosine: steps of a full cycle; null means exactly the training
    min_lr: NotNegative = 0.0  # cosine and plateau: the floor
    gamma: Annotated[float, Range(gt=0, le=1)] = 0.1  # exponential, step and plateau: the factor
    step_size: Count = 30  # step: intervals between two factors
    patience: Annotated[int, Range(ge=0)] = 5  # plateau: epochs without a better accuracy before a factor

    def __post_init__(self) -> None:
        check(self)
        if self.name == "plateau" and self.interval == "batch":
            raise ValueError("plateau follows the accuracy of an epoch: interval must be epoch")

    @property
    def per_batch(self) -> bool:
        """Whether the rate moves after every batch rather than after every epoch."""
        usual = "batch" if self.name in ("onecycle", "cosine") else "epoch"
        return (self.interval or usual) == "batch"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The ``trainer`` section of an experiment file: one recipe, shared by every variant."""

    __pydantic_config__ = STRICT

    epochs: Count = 25
    batch_size: Count = 128  # images
    # Leave out the last batch of an epoch if it is smaller (other images every epoch). false: every image is learned
    # from, and a small last batch counts in the running statistics of batch normalisation as much as a whole one.
    drop_last: bool = False
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    # An Albumentations pipeline: one transform a line, in its own names; Normalize is implied at the end.
    augmentation: tuple[dict[str, dict[str, Any]], ...] = ()
    label_smoothing: Annotated[float, Range(ge=0, lt=1)] = 0.0
    l1: NotNegative = 0.0  # times the sum of the weights' magnitudes, added to the loss
    l2: NotNegative = 0.0  # times the sum of the weights' squares, added to the loss
    gradient_clip: Positive | None = None  # largest global norm of the gradient
    stop_at_accuracy: Annotated[float, Range(gt=0, le=1)] | None = None  # fraction; ends the trial when reached
    # validation: every choice is made on a held-out part of the training split, the test split is read once.
    # published: the test split every epoch and nothing held out, as the reports did; for replication only.
    protocol: Literal["validation", "published"] = "validation"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: bfloat16 where the hardware has it
    channels_last: bool | None = None  # null: where it helps this network on this device
    # Record a step and replay it (CUDA, not with float16): only for a network that computes in the same way
    # at every step; off until it has been measured on a GPU.
    cuda_graph: bool = False
    # CPU threads, which decide the last bits; auto: as many as `resources.cpus` says, or one, when a plan is made.
    threads: Count | Literal["auto"] = "auto"
    evaluation_batch_size: Count = 1000  # images; no gradients, so larger than batch_size

    def __post_init__(self) -> None:
        check(self)
        for position, transform in enumerate(self.augmentation):
            if len(transform) != 1:
                raise ValueError(f"augmentation[{position}]: one transform an entry, as `- HorizontalFlip: {{p: 0.5}}`")
