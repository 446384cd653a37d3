"""Run a network on random images to find out how it may be trained and evaluated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from orchestrator.analysis.outputs import main_output
from orchestrator.architectures.arguments import Shape
from orchestrator.architectures.unregistered import unregistered

IMAGES = 4  # in the batch that is tried
DRAWS = 3  # differently seeded evaluations that are compared


@dataclass(frozen=True)
class Behaviour:
    """The findings about a network; False for one that cannot run on random images."""

    varies_in_evaluation: bool  # it draws random numbers in evaluation mode: the same images give different logits
    uses_batch_statistics: bool  # in training mode it normalises an image with the others of its batch
    unregistered: tuple[str, ...] = ()  # attributes with layers or parameters that torch does not know of


def probe(network: nn.Module, shape: Shape) -> Behaviour:
    """Try ``network`` on random images of ``shape``. Its running statistics and torch's random state change."""
    images = torch.randn(IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        varies, together = _found(_varies, network, images), _found(_uses_batch_statistics, network, images)
    return Behaviour(varies, together, unregistered(network))


def _found(look: Callable[[nn.Module, Tensor], bool], network: nn.Module, images: Tensor) -> bool:
    try:
        return look(network, images)
    except Exception:  # whatever a user's network raises; where that matters, it is said with the trial or before it
        return False


def _varies(network: nn.Module, images: Tensor) -> bool:
    outputs = []
    network.eval()
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        outputs.append(main_output(network(images.clone())))  # it may change its input
    return any(not torch.allclose(outputs[0], other, rtol=0, atol=0, equal_nan=True) for other in outputs[1:])


def _uses_batch_statistics(network: nn.Module, images: Tensor) -> bool:
    network.train()
    with _BatchNormalisation() as watched:
        network(images)
    return bool(watched.seen)


class _BatchNormalisation(TorchDispatchMode):
    """Detects every batch normalisation with the batch's own statistics, from any layer or function."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would import its compiler, for nothing."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "batch_norm" in func.__name__:
            names = [argument.name for argument in func._schema.arguments]
            given = {**dict(zip(names, args, strict=False)), **(kwargs or {})}
            images = given["input"].shape[0]  # instance normalisation is one of a single, very wide image
            self.seen |= bool(given.get("training", True)) and images == IMAGES
        return func(*args, **(kwargs or {}))
