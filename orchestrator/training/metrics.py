"""The metrics of images. To add one, add a line here: every record, table, figure and MLflow run then has it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Batch:
    """One training step after its backward pass, on the device. A metric must not make the host wait for it."""

    loss: Tensor  # (), mean over the images
    logits: Tensor  # (B, classes)
    labels: Tensor  # (B,) int64
    parameters: Sequence[nn.Parameter]  # with gradients, before clipping; in float16 times the scale of the loss


# ``train/NAME``: the sum over the images of a batch, (). A record has the mean over the images of its epoch.
TRAINING: Mapping[str, Callable[[Batch], Tensor]] = {
    "loss": lambda batch: batch.loss * len(batch.labels),
    "accuracy": lambda batch: (batch.logits.argmax(dim=1) == batch.labels).sum(),
}

# ``val/NAME`` after every epoch and ``test/NAME`` at the end, or ``test/NAME`` after every epoch in the published
# protocol: of logits (N, classes) float32 for labels (N,) int64, on the CPU. None if it says nothing of such logits.
EVALUATION: Mapping[str, Callable[[Tensor, Tensor], Tensor | None]] = {
    "loss": F.cross_entropy,
    "accuracy": lambda logits, labels: (logits.argmax(dim=1) == labels).float().mean(),
    "top5_accuracy": lambda logits, labels: top_accuracy(logits, labels, 5),
}


def top_accuracy(logits: Tensor, labels: Tensor, count: int) -> Tensor | None:
    """Fraction of images with fewer than ``count`` logits above that of the true class; None of too few classes."""
    if logits.shape[1] <= count:
        return None
    above = logits > logits.gather(1, labels[:, None])  # unlike topk, as quick as argmax for few classes
    return (above.sum(dim=1) < count).float().mean()
