"""Kinds of layer in networks as the field knows them: torchvision's, each with exactly the kinds that it has."""

import pytest
import torch
from torchvision import models

from orchestrator.analysis import analyse
from orchestrator.contract import check_contract, layer_kinds
from orchestrator.spec import Contract

KINDS = {
    "alexnet": {"max_pool", "dropout"},  # its average pooling leaves 6 x 6 positions
    "vgg11_bn": {"max_pool", "batch_norm", "dropout"},
    "resnet18": {"max_pool", "batch_norm", "residual", "global_average_pooling"},
    "resnext50_32x4d": {"max_pool", "batch_norm", "residual", "global_average_pooling", "grouped"},
    "densenet121": {"max_pool", "batch_norm", "concatenation", "global_average_pooling"},
    "googlenet": {"max_pool", "batch_norm", "concatenation", "global_average_pooling", "dropout"},
    "squeezenet1_1": {"max_pool", "concatenation", "global_average_pooling", "dropout"},
    "shufflenet_v2_x0_5": {
        "max_pool", "batch_norm", "concatenation", "global_average_pooling", "depthwise_separable",
    },
    "mobilenet_v3_small": {"batch_norm", "residual", "global_average_pooling", "dropout", "depthwise_separable"},
    "convnext_tiny": {"residual", "global_average_pooling", "depthwise_separable"},
    "vit_b_32": {"residual"},  # its class token is read, nothing is pooled
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_torchvisions_networks(name: str) -> None:
    with torch.device("meta"):  # no memory for weights
        network = models.get_model(name, weights=None, **({"init_weights": False} if name == "googlenet" else {}))
    analysis = analyse(network, (3, 224, 224))
    kinds, unknown = layer_kinds(analysis)
    assert unknown == ""
    assert {kind for kind, found in kinds.items() if found} == KINDS[name]
    required = Contract(require=tuple(sorted(KINDS[name])), forbid=tuple(sorted(set(kinds) - KINDS[name])))
    assert check_contract(analysis, required).passed
