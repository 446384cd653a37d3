"""The numbers behind the figures, against values calculated by hand and independent oracles."""

import itertools

import numpy as np
import pytest
import torch
from font_context import installed
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.architectures import VARIANTS, build_network
from orchestrator.reporting.activation import activation_maps, last_spatial_map
from orchestrator.reporting.measures import calibration, wilson_interval
from orchestrator.reporting.style import literal, spread


def test_wilson_interval_by_hand() -> None:
    # Wilson (1927), n = 10, p = 0.4, z = 1.959964: (0.4 + z²/20 ± z √(0.024 + z²/400)) / (1 + z²/10)
    assert wilson_interval(4, 10) == pytest.approx((0.168180, 0.687326), abs=1e-6)
    low, high = wilson_interval(0, 10)
    assert low == 0
    assert high == pytest.approx(0.277533, abs=1e-6)


def test_expected_calibration_error_by_hand() -> None:
    # Bins of 1/15: 0.95 and 1.0 fall into the last one (above 14/15 = 0.9333), 0.5 into the eighth (0.4667, 0.5333].
    confidences = np.array([0.95, 1.0, 0.5, 0.5, 0.5])
    correct = np.array([True, False, True, False, False])
    found = calibration(confidences, correct)
    # Last bin: accuracy 1/2, confidence 0.975, 2 of 5 images. Eighth: accuracy 1/3, confidence 0.5, 3 of 5.
    assert found.expected_error == pytest.approx(2 / 5 * (0.975 - 0.5) + 3 / 5 * (0.5 - 1 / 3))
    assert found.counts.tolist() == [0] * 7 + [3] + [0] * 6 + [2]
    assert np.isnan(found.accuracies[0])


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    found = calibration(np.array([0.25, 0.5, 0.75, 1.0]), np.array([True] * 4), bins=4)
    assert found.counts.tolist() == [1, 1, 1, 1]


@given(arrays.arrays(np.float64, st.integers(1, 80), elements=st.floats(0.0001, 1)), st.integers(1, 20), st.randoms())
def test_calibration_error_against_a_plain_loop(confidences: np.ndarray, bins: int, chance: object) -> None:
    correct = np.array([chance.random() < 0.5 for _ in confidences])  # type: ignore[attr-defined]
    found = calibration(confidences, correct, bins)
    error = 0.0
    for position in range(bins):
        inside = [i for i, c in enumerate(confidences) if int(np.ceil(c * bins)) - 1 == position]
        if inside:
            gap = abs(np.mean([correct[i] for i in inside]) - np.mean([confidences[i] for i in inside]))
            error += len(inside) / len(confidences) * gap
    assert found.expected_error == pytest.approx(error, abs=1e-9)
    assert found.counts.sum() == len(confidences)


@given(st.lists(st.floats(-10, 10), max_size=6), st.floats(0.01, 3))
def test_labels_are_spread_apart_in_order(positions: list[float], gap: float) -> None:
    moved = spread(positions, gap)
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    assert all(moved[b] - moved[a] >= gap - 1e-9 for a, b in itertools.pairwise(order))
    assert sum(moved) == pytest.approx(sum(positions), abs=1e-6)


def test_text_from_people_is_one_plain_line() -> None:
    assert literal("a\nb  c") == "a b c"
    assert literal("$x$") == r"\$x\$"
    assert literal("abcdefgh", 5) == "abcd…"
    with installed():
        assert literal("猫 é") == r"\u732b é"


class Cam(nn.Module):
    """Features, global average pooling and one linear layer: here Grad-CAM is the class-activation map itself."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 5, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.output = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.pool(self.features(x)).flatten(1))


def test_activation_maps_are_the_weighted_features() -> None:
    torch.manual_seed(0)
    network, images, targets = Cam().eval(), torch.randn(3, 3, 8, 8), torch.tensor([0, 3, 1])
    with torch.no_grad():
        expected = F.relu(torch.einsum("nk,nkhw->nhw", network.output.weight[targets], network.features(images)))
    expected = expected / expected.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(activation_maps(network, images, targets), expected)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_the_last_map_of_a_residual_is_the_sum() -> None:
    network = build_network("grouped_concat").eval()
    place = last_spatial_map(network, torch.zeros(1, 3, 32, 32))
    assert place.module is network.pool
    assert place.before  # what enters the pooling is y + conv(y), which no module returns


@pytest.mark.parametrize("variant", VARIANTS)
def test_activation_maps_of_every_variant(variant: str) -> None:
    torch.manual_seed(0)
    maps = activation_maps(build_network(variant).eval(), torch.randn(2, 3, 32, 32), torch.tensor([1, 2]))
    assert maps.shape == (2, 32, 32)
    assert 0 <= maps.min() <= maps.max() <= 1
