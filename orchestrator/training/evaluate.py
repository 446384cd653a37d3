"""What a network says about pictures that it does not learn from."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.data.normalisation import Normalisation, apply
from orchestrator.training.device import Placement


def predict(
    network: nn.Module, images: Tensor, normalisation: Normalisation, placement: Placement, batch_size: int
) -> Tensor:
    """Logits (N, classes) float32, on the pictures' device, of images (N, 3, H, W) uint8, in evaluation mode."""
    network.eval()
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


def score(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy (fraction) of logits (N, classes) for labels (N,)."""
    loss = F.cross_entropy(logits, labels)
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    both = torch.stack([loss, accuracy]).tolist()
    return both[0], both[1]
