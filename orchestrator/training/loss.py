"""The loss of what a network returns: of its logits, and as the recipe says of those of its auxiliary heads."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from orchestrator.analysis.outputs import auxiliary_outputs, main_output


def classification_loss(
    output: Any, labels: Tensor, label_smoothing: float = 0.0, auxiliary_weight: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The loss, (), and the logits (B, classes) that the network classifies by; labels: (B,) int64.

    With ``auxiliary_weight`` the loss of each auxiliary output is added, times this: 0.3 is that of Szegedy et al.,
    "Going Deeper with Convolutions", 2015. Outputs that are no logits of the same shape are left out.
    """
    logits: Tensor = main_output(output)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    if auxiliary_weight:
        for further in auxiliary_logits(output):
            added = F.cross_entropy(further.float(), labels, label_smoothing=label_smoothing)
            loss = loss + auxiliary_weight * added
    return loss, logits


def auxiliary_logits(output: Any) -> list[Tensor]:
    """The auxiliary outputs that are logits: those of the shape of the main ones."""
    shape = main_output(output).shape
    return [part for part in auxiliary_outputs(output) if part.shape == shape]
