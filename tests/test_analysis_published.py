"""Parameters, multiply-accumulates and receptive fields against published figures."""

from typing import Any

import pytest
from torch import nn
from torchvision import models
from torchvision.models.swin_transformer import ShiftedWindowAttentionV2

from orchestrator.analysis import Analysis, analyse

# Of torchvision's networks, one of each family that is traced in a few seconds.
NETWORKS = (
    "alexnet", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5", "mobilenet_v2",
    "mobilenet_v3_small", "regnet_x_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1",
    "vgg11", "vit_b_32",
)  # fmt: skip
# Pixels before global pooling: Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks".
FIELDS = {"alexnet": 195, "vgg16": 212, "inception_v3": 1311}
WITHOUT_INITIAL_VALUES = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}
# What no rule of receptive fields follows: attention over the windows of a map, taken apart and joined again.
NOT_FOLLOWED = ("maxvit", "swin")


def every() -> list[Any]:
    """Every classification network of torchvision with each of its image sizes: 80 networks and more."""
    found = {}
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            found.setdefault(f"{name}-{weights.transforms().crop_size[0]}", (name, weights))
    return [pytest.param(name, weights, id=label) for label, (name, weights) in found.items()]


@pytest.fixture
def without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters take no memory: each goes to the meta device when it becomes one of a module's, and stays there."""
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, None if parameter is None else nn.Parameter(parameter.detach().to("meta")))

    monkeypatch.setattr(nn.Module, "register_parameter", on_meta)


def built(name: str, size: int) -> nn.Module:
    """As torchvision builds it for its weights, which are not downloaded."""
    settings: dict[str, Any] = dict(WITHOUT_INITIAL_VALUES.get(name, {}))
    if name.startswith("vit"):
        settings["image_size"] = size
    return models.get_model(name, weights=None, **settings)


def compare(name: str, weights: Any) -> Analysis:
    """Analyse it, and compare parameters and MACs with the published ones, which are given in billions."""
    size = weights.transforms().crop_size[0]
    network = built(name, size)
    analysis = analyse(network, (3, size, size))
    assert analysis.parameters - parameters_of_removed_heads(name, network) == weights.meta["num_params"]
    assert analysis.macs is not None
    published = analysis.macs + macs_of_weights_alone(network)
    assert round(published / 1e9, 3) == pytest.approx(weights.meta["_ops"], abs=0.0001)
    return analysis


def parameters_of_removed_heads(name: str, network: nn.Module) -> int:
    """GoogLeNet without weights has the two auxiliary heads that it loses with them; Inception keeps its own."""
    if name != "googlenet":
        return 0
    return sum(p.numel() for head in (network.aux1, network.aux2) for p in head.parameters())


def macs_of_weights_alone(network: nn.Module) -> int:
    """Swin V2 computes its position bias by two linear layers from a table of offsets, the same for every image.

    torchvision counts them for each image; the analysis does not count what does not depend on the image.
    """
    found = 0
    for module in network.modules():
        if isinstance(module, ShiftedWindowAttentionV2):
            offsets = module.relative_coords_table.shape[:-1].numel()
            layers = [layer for layer in module.cpb_mlp if isinstance(layer, nn.Linear)]
            found += offsets * sum(layer.in_features * layer.out_features for layer in layers)
    return found


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("without_memory")
def test_parameters_and_macs_are_those_that_torchvision_publishes(name: str) -> None:
    analysis = compare(name, models.get_model_weights(name).DEFAULT)
    assert analysis.receptive_field.output is not None


@pytest.mark.slow
@pytest.mark.parametrize(("name", "weights"), every())
@pytest.mark.usefixtures("without_memory")
def test_every_network_of_torchvision(name: str, weights: Any) -> None:
    analysis = compare(name, weights)
    field, (_, size, _) = analysis.receptive_field, analysis.input_shape
    if name.startswith(NOT_FOLLOWED):
        assert (field.features, field.output) == (None, None)
        assert field.reason == "_softmax: it combines positions that lie differently for each unit"
    elif name.startswith("vit"):  # a patch; then every token sees the whole image
        patch = int(name.rpartition("_")[2])
        assert (field.features, field.output) == (patch, size // patch * patch)
    else:  # global pooling sees the whole image and some of the padding around it
        assert isinstance(field.features, int)
        assert isinstance(field.output, int)
        assert size <= field.output <= size + 2 * field.features


@pytest.mark.usefixtures("without_memory")
def test_parameters_without_values_are_analysed() -> None:
    """On the meta device also a small network, and one that cannot run on such an image says so itself."""
    network = built("vit_b_32", 64)
    assert analyse(network, (3, 64, 64)).receptive_field.output == 64
    with pytest.raises(AssertionError, match="Wrong image height"):
        analyse(network, (3, 96, 96))


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.usefixtures("without_memory")
def test_receptive_fields_are_those_of_araujo_and_others(name: str) -> None:
    size = models.get_model_weights(name).DEFAULT.transforms().crop_size[0]
    assert analyse(built(name, size), (3, size, size)).receptive_field.features == FIELDS[name]
