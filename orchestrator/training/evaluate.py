"""What a network says about images that it does not learn from."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.data.normalisation import Normalisation, apply
from orchestrator.errors import DivergedError
from orchestrator.training.device import Placement
from orchestrator.training.randomness import seed_everything


def predict(
    network: nn.Module, images: Tensor, normalisation: Normalisation, placement: Placement, batch_size: int, seed: int
) -> Tensor:
    """Logits (N, classes) float32, on the images' device, of images (N, 3, H, W) uint8, in evaluation mode.

    What a network draws in evaluation mode depends on ``seed`` alone: measured twice, it gives the same logits.
    """
    network.eval()
    seed_everything(seed, "evaluation")
    logits = []
    with torch.inference_mode():
        for batch in images.split(batch_size):
            pictures = apply(batch.to(placement.device), normalisation).contiguous(
                memory_format=placement.memory_format
            )
            with torch.autocast(
                placement.device.type, placement.precision, enabled=placement.precision != torch.float32
            ):
                logits.append(network(pictures).float().to(images.device))
    return torch.cat(logits).clone()


def score(logits: Tensor, labels: Tensor, where: str) -> tuple[float, float]:
    """Mean cross-entropy and accuracy (fraction) of logits (N, classes) for labels (N,).

    Raises DivergedError, which says ``where``, if a logit or the loss is not a finite number: argmax would still name a
    class, and an accuracy would come of it.
    """
    if broken := int((~torch.isfinite(logits)).any(dim=1).sum()):
        raise DivergedError(f"the logits of {broken:,} of {len(labels):,} images became inf or nan", where)
    loss = F.cross_entropy(logits, labels)
    if not torch.isfinite(loss):
        raise DivergedError(f"the loss became {float(loss)}", where)
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    both = torch.stack([loss, accuracy]).tolist()
    return both[0], both[1]
