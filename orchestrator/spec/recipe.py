"""The recipe: everything about training except the network, the data and the seed."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from orchestrator.spec.fields import Range, SeveralProblems, check, key_of

Positive = Annotated[float, Range(gt=0)]
NotNegative = Annotated[float, Range(ge=0)]
Count = Annotated[int, Range(ge=1)]

# Read by pydantic: unknown keys are rejected, and fields are called by their keys in files.
STRICT = {"extra": "forbid", "alias_generator": key_of}


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The optimiser. Names and meanings are torch's; settings that the chosen optimiser does not have are ignored."""

    __pydantic_config__ = STRICT

    name: Literal["sgd", "adam", "adamw", "rmsprop", "muon"] = "sgd"
    """torch's optimiser of that name; muon is Muon for kernels that mix channels and AdamW for everything else."""
    lr: Positive = 0.1
    """Learning rate. 0.1 suits sgd; the others usually need 0.001 to 0.005."""
    weight_decay: NotNegative = 0.0005
    """Weight decay: decoupled from the gradient for adamw and muon, added to the gradient for the others."""
    decay_vectors: bool = True
    """Whether parameters of one dimension (biases, normalisation) decay as well; ignored by muon, where they never
    do."""
    momentum: Annotated[float, Range(ge=0, lt=1)] = 0.9
    """Momentum of sgd, rmsprop and muon; ignored by the others."""
    nesterov: bool = False
    """Nesterov momentum; sgd only."""
    alpha: Annotated[float, Range(gt=0, lt=1)] = 0.99
    """Smoothing constant of the squared gradients; rmsprop only."""
    beta1: Annotated[float, Range(ge=0, lt=1)] = 0.9
    """Decay rate of the mean of gradients; adam, adamw and the AdamW part of muon."""
    beta2: Annotated[float, Range(ge=0, lt=1)] = 0.999
    """Decay rate of the mean of squared gradients; adam, adamw and the AdamW part of muon."""
    eps: Positive = 1e-8
    """Added to the denominator for numerical stability; ignored by sgd."""

    def __post_init__(self) -> None:
        check(self)
        if self.nesterov and self.momentum == 0:
            raise SeveralProblems(["nesterov needs momentum greater than 0"])


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning-rate schedule. Settings that the chosen schedule does not have are ignored."""

    __pydantic_config__ = STRICT

    name: Literal["onecycle", "cosine", "exponential", "step", "plateau", "constant"] = "onecycle"
    """How the learning rate changes: torch's OneCycleLR, CosineAnnealingLR, ExponentialLR, StepLR, ReduceLROnPlateau
    or not at all."""
    interval: Literal["batch", "epoch"] | None = None
    """When the learning rate changes. null: after every batch for onecycle and cosine, after every epoch otherwise."""
    max_lr: Positive | None = None
    """Peak learning rate of onecycle. null: the optimiser's lr."""
    warmup: Annotated[float, Range(ge=0, lt=1)] = 0.3
    """onecycle: part of the training in which the rate rises. Unit: fraction."""
    div_factor: Positive = 25.0
    """onecycle: the first learning rate is the peak divided by this."""
    final_div_factor: Positive = 10_000.0
    """onecycle: the last learning rate is the first divided by this."""
    anneal: Literal["cos", "linear"] = "cos"
    """onecycle: shape of the rise and the fall, cosine or linear."""
    cycle_momentum: bool = False
    """onecycle: also move momentum (or beta1) from 0.95 down to 0.85 and back."""
    total_steps: Count | None = None
    """onecycle and cosine: length of one cycle. null: the whole training. Unit: intervals (batches or epochs)."""
    min_lr: NotNegative = 0.0
    """cosine and plateau: the lowest learning rate."""
    gamma: Annotated[float, Range(gt=0, le=1)] = 0.1
    """exponential, step and plateau: the factor that the learning rate is multiplied by."""
    step_size: Count = 30
    """step: how often the factor is applied. Unit: intervals (epochs, or batches with `interval: batch`)."""
    patience: Annotated[int, Range(ge=0)] = 5
    """plateau: how long to wait for a better accuracy before the factor is applied. Unit: epochs."""

    def __post_init__(self) -> None:
        check(self)
        if self.name == "plateau" and self.interval == "batch":
            raise SeveralProblems(["plateau uses the accuracy of an epoch: interval must be epoch"])

    @property
    def per_batch(self) -> bool:
        """Whether the rate moves after every batch rather than after every epoch."""
        usual = "batch" if self.name in ("onecycle", "cosine") else "epoch"
        return (self.interval or usual) == "batch"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training recipe, the same for every variant."""

    __pydantic_config__ = STRICT

    epochs: Count = 25
    """Passes over the training images. Unit: epochs."""
    batch_size: Count = 128
    """Images per optimiser step. Unit: images."""
    drop_last: bool = False
    """Leave out the last batch of an epoch if it is smaller (other images every epoch). false: every image is learned
    from, and a small last batch counts in the running statistics of batch normalisation as much as a full one."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """The optimiser and its settings."""
    schedule: Schedule = field(default_factory=Schedule)
    """The learning-rate schedule."""
    augmentation: tuple[dict[str, dict[str, Any]], ...] = ()
    """An Albumentations pipeline for the training images: a list with one transform per entry, by its name in
    Albumentations. Normalize is added at the end and need not be written."""
    label_smoothing: Annotated[float, Range(ge=0, lt=1)] = 0.0
    """Label smoothing of the cross-entropy loss. Unit: fraction."""
    auxiliary_weight: NotNegative = 0.0
    """Factor of the loss of each auxiliary output that is added to the loss, for networks that return
    `(logits, auxiliary, ...)` or a mapping with `logits`. 0: auxiliary outputs are ignored."""
    l1: NotNegative = 0.0
    """Factor of the sum of absolute weights that is added to the loss."""
    l2: NotNegative = 0.0
    """Factor of the sum of squared weights that is added to the loss."""
    gradient_clip: Positive | None = None
    """Largest global norm of the gradient; larger gradients are scaled down. null: no clipping."""
    stop_at_accuracy: Annotated[float, Range(gt=0, le=1)] | None = None
    """End the trial once its validation accuracy (published protocol: test accuracy) reaches this. null: never.
    Unit: fraction."""
    protocol: Literal["validation", "published"] = "validation"
    """validation: model selection uses held-out training images, and the test split is read once, at the end.
    published: the test split is evaluated every epoch and nothing is held out; only for replicating reports that did
    so."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train. auto: cuda if the trial has a GPU, else mps if there is one, else cpu."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the forward and backward pass. auto: bfloat16 where the hardware supports
    it, else float16 on CUDA and float32 elsewhere."""
    channels_last: bool | None = None
    """Use the channels-last memory layout. null: yes on CUDA and CPU, for networks with convolutions that
    work in it; one that calls `view` where only `reshape` works does not."""
    cuda_graph: bool = True
    """Record the whole training step as a CUDA graph and replay it: bit-identical results, and one launch per step for
    the host. What cannot be recorded is computed step by step, and one line says why. false: never record."""
    compile: bool = False
    """Compile the network for the training step with torch.compile, which takes up to a minute at the start. Dropout
    masks and rounding differ from those without."""
    deterministic: bool = True
    """Use deterministic kernels only. false: torch may choose its fastest (cudnn.benchmark), whose results can differ
    between runs, so that a resumed trial need not be bit-identical."""
    threads: Count | Literal["auto"] = "auto"
    """CPU threads of one trial; their number affects the last bits of the result. auto: `resources.cpus` if that is a
    number, else 1; `orchestrator train` uses torch's default. Unit: threads."""
    evaluation_batch_size: Count = 1000
    """Images per batch in evaluation, which needs no gradients and so less memory. Unit: images."""

    def __post_init__(self) -> None:
        check(self)
        for position, transform in enumerate(self.augmentation):
            if len(transform) != 1:
                raise SeveralProblems(
                    [f"augmentation[{position}]: one transform per entry, as `- HorizontalFlip: {{p: 0.5}}`"]
                )
