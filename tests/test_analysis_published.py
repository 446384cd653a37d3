"""Parameters, multiply-accumulates and receptive fields against published figures."""

from typing import Any

import pytest
import torch
from torchvision import models

from orchestrator.analysis import analyse

# Of torchvision's networks, one of each family that is traced in a few seconds.
NETWORKS = (
    "alexnet", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5", "mobilenet_v2",
    "mobilenet_v3_small", "regnet_x_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1",
    "vgg11", "vit_b_32",
)  # fmt: skip
# Pixels before global pooling: Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks".
FIELDS = {"alexnet": 195, "vgg16": 212, "inception_v3": 1311}
WITHOUT_WEIGHTS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"init_weights": False},
}


def built(name: str) -> tuple[torch.nn.Module, int, dict[str, Any]]:
    """The network without memory for weights if it is large, its image size, and what is published of it."""
    published = models.get_model_weights(name).DEFAULT
    device = "meta" if published.meta["num_params"] > 6_000_000 else "cpu"
    with torch.device(device):
        network = models.get_model(name, weights=None, **WITHOUT_WEIGHTS.get(name, {}))
    return network, published.transforms.keywords["crop_size"], published.meta


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_macs_are_those_that_torchvision_publishes(name: str) -> None:
    network, size, published = built(name)
    analysis = analyse(network, (3, size, size))
    assert analysis.parameters == published["num_params"]
    assert analysis.macs is not None
    assert analysis.macs / 1e9 == pytest.approx(published["_ops"], abs=0.0011)
    assert analysis.receptive_field.output is not None


@pytest.mark.parametrize("name", FIELDS)
def test_receptive_fields_are_those_of_araujo_and_others(name: str) -> None:
    network, size, _ = built(name)
    assert analyse(network, (3, size, size)).receptive_field.features == FIELDS[name]
