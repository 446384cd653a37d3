"""Layers replaced on CPUs: dropout keeps torch's law, convolutions keep their sums, a network keeps its state."""

import copy
import itertools
import math
import pickle
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from orchestrator.architectures import VARIANTS, build_network
from orchestrator.data import Dataset
from orchestrator.spec import Optimizer, Recipe, TrialSpec
from orchestrator.training.convolutions import (
    DenseConv2d,
    PaddedConv2d,
    PhasedConv2d,
    RepeatedConv2d,
    SubsampledConv2d,
    faster_class,
)
from orchestrator.training.device import place
from orchestrator.training.dropout import GREATEST, LEAST, SparseDropout, dropped_positions
from orchestrator.training.prepare import prepare, replace_layers, with_class
from orchestrator.trial import run_trial

RATES = [LEAST, 0.01, 0.05, 0.2, GREATEST]


def masks(rate: float, shape: tuple[int, ...], times: int, seed: int = 0) -> Tensor:
    """(times, *shape) bool: what was kept, call by call."""
    torch.manual_seed(seed)
    layer, ones = SparseDropout(rate).train(), torch.ones(shape)
    return torch.stack([layer(ones) != 0 for _ in range(times)])


@pytest.mark.parametrize("rate", RATES)
def test_the_rate_is_the_one_asked_for(rate: float) -> None:
    kept = masks(rate, (100, 1000), 20)
    assert stats.binomtest(int((~kept).sum()), kept.numel(), rate).pvalue > 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_every_position_is_dropped_alike(rate: float) -> None:
    """The first and the last ones too: a gap may begin before the tensor and end after it."""
    times = int(60 / rate)
    by_position = (~masks(rate, (50,), times)).sum(0)
    expected = times * rate
    assert stats.chi2.sf(float(((by_position - expected) ** 2 / (expected * (1 - rate))).sum()), 50) > 1e-3


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_positions_and_steps_are_independent(rate: float) -> None:
    dropped = (~masks(rate, (4000,), 200)).double() - rate
    scale = rate * (1 - rate)
    for lag in (1, 2, 3, 7, 16, 64):
        for apart in (dropped[:, lag:] * dropped[:, :-lag], dropped[lag:] * dropped[:-lag]):
            z = float(apart.mean()) / scale * math.sqrt(apart.numel())
            assert abs(z) < 4, (lag, z)
    runs = dropped[:, :-2] * dropped[:, 1:-1] * dropped[:, 2:]  # three in a row
    assert abs(float(runs.mean())) / scale**1.5 * math.sqrt(runs.numel()) < 4


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_how_many_are_dropped_varies_as_a_binomial_does(rate: float) -> None:
    counts = (~masks(rate, (500,), 3000)).sum(1).double()
    variance = 500 * rate * (1 - rate)
    assert float(counts.var()) == pytest.approx(variance, rel=0.12)


def test_positions_rise_and_stay_inside_even_where_more_gaps_must_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.training.dropout.MARGIN", -5.0)  # standard deviations: always too few at first
    torch.manual_seed(0)
    found = [dropped_positions(20_000, 0.2) for _ in range(50)]
    for positions in found:
        assert bool((positions.diff() > 0).all())
        assert 0 <= int(positions[0]) < int(positions[-1]) < 20_000
    assert stats.binomtest(sum(map(len, found)), 50 * 20_000, 0.2).pvalue > 1e-3


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("inplace", [False, True])
def test_the_gradient_is_the_mask_and_what_is_kept_is_scaled(layout: torch.memory_format, inplace: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 6, 5, 7).contiguous(memory_format=layout).requires_grad_()
    y = SparseDropout(0.2, inplace)(x * 1)
    mask = (y != 0) / 0.8
    torch.testing.assert_close(y, x * mask)
    assert y.is_contiguous(memory_format=layout)
    for gradient in (torch.randn_like(x), torch.randn(4, 6, 5, 7), torch.randn(()).expand(4, 6, 5, 7)):
        (passed,) = torch.autograd.grad(y, x, gradient, retain_graph=True)
        torch.testing.assert_close(passed, gradient * mask)


def test_views_and_halves_are_dropped_as_well() -> None:
    torch.manual_seed(0)
    every_second = torch.ones(40, 60)[:, ::2]
    y = SparseDropout(0.2)(every_second)
    assert y.shape == (40, 30)
    assert set(y.unique().tolist()) == {0.0, 1.25}
    assert SparseDropout(0.25)(torch.ones(99, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert SparseDropout(0.25)(torch.ones(0, 3)).shape == (0, 3)


def test_evaluation_and_other_rates_are_torchs_own() -> None:
    x = torch.randn(100)
    assert SparseDropout(0.2).eval()(x) is x
    assert torch.equal(SparseDropout(0.0)(x), x)
    assert not SparseDropout(1.0)(x).any()
    torch.manual_seed(3)
    ours = SparseDropout(0.5)(x)
    torch.manual_seed(3)
    assert torch.equal(ours, nn.Dropout(0.5)(x))


def test_masks_come_from_the_global_state_and_differ_by_step() -> None:
    again = masks(0.1, (1000,), 3)
    assert torch.equal(masks(0.1, (1000,), 3), again)
    assert not torch.equal(again[0], again[1])
    assert not torch.equal(masks(0.1, (1000,), 3, seed=1), again)


GEOMETRIES = list(
    itertools.product(
        [(4, 6, 1), (4, 4, 4), (4, 8, 4), (4, 4, 2), (1, 3, 1)],  # channels in and out, groups
        [(1, 1), (3, 3), (3, 5)],
        [(1, 1), (2, 2), (3, 3), (1, 2)],  # stride
        [(1, 1), (2, 2), (3, 3), (1, 2)],  # dilation
        [(0, 0), (2, 2), (2, 3)],  # padding
    )
)


@pytest.mark.parametrize(
    ("device", "forms"),
    [
        ("cpu", {SubsampledConv2d, PhasedConv2d, RepeatedConv2d}),
        ("cuda", {SubsampledConv2d, PhasedConv2d, DenseConv2d, PaddedConv2d}),
        ("mps", set()),
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_replaced_convolutions_give_the_same_sums_and_gradients(
    layout: torch.memory_format, device: str, forms: set[type]
) -> None:
    """The forms for a GPU are held here in double precision: their arithmetic is the same everywhere."""
    seen: set[type] = set()
    for (inputs, outputs, groups), kernel, stride, dilation, padding in GEOMETRIES:
        plain = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups).double()
        quick = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups).double()
        quick.load_state_dict(plain.state_dict())
        quick = with_class(quick, faster_class(quick, device))
        if type(quick) is nn.Conv2d:
            continue
        seen.add(type(quick))
        for size in ((13, 16), (12, 15)):
            x = torch.randn(2, inputs, *size, dtype=torch.double).contiguous(memory_format=layout).requires_grad_()
            expected, found = plain(x), quick(x)
            torch.testing.assert_close(found, expected)
            gradient = torch.randn_like(expected)
            torch.testing.assert_close(
                torch.autograd.grad(found, [x, *quick.parameters()], gradient),
                torch.autograd.grad(expected, [x, *plain.parameters()], gradient),
            )
    assert seen == forms


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pixels_that_are_not_seen_get_a_gradient_in_the_layout_of_the_image(layout: torch.memory_format) -> None:
    layer = nn.Conv2d(4, 6, 3, stride=2, dilation=2).to(memory_format=layout)
    layer = with_class(layer, faster_class(layer))
    assert type(layer) is SubsampledConv2d
    x = torch.randn(2, 4, 12, 14).contiguous(memory_format=layout).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x).sum(), x)
    assert gradient.is_contiguous(memory_format=layout)
    assert not gradient[:, :, 1::2].any()
    assert gradient[:, :, ::2, ::2].any()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, 2, "valid", 2),
        nn.Conv2d(4, 4, 3, 1, "same", 2, groups=4),
        nn.Conv2d(4, 4, 3, 1, 1, 2, groups=4, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, 2, 1, 2),
        nn.Conv2d(4, 8, 3, padding=1),
    ],
)
def test_what_has_no_faster_class_is_left(layer: nn.Conv2d) -> None:
    assert faster_class(layer) is nn.Conv2d


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_prepared_network_is_the_same_network(variant: str) -> None:
    torch.manual_seed(0)
    network, x = build_network(variant).eval(), torch.randn(4, 3, 32, 32)
    expected, names = network(x), [name for name, _ in network.named_modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    prepare(network, place(Recipe(device="cpu"), network))
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
    assert [name for name, _ in network.named_modules()] == names
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(type(layer) is nn.Dropout for layer in network.modules())
    build_network(variant).load_state_dict(network.state_dict())


class Own(nn.Dropout):
    pass


def test_a_users_own_layers_are_left_and_shared_ones_stay_shared() -> None:
    shared = nn.Dropout(0.1)
    network = nn.Sequential(shared, nn.Sequential(shared, Own(0.1)), nn.Dropout2d(0.1))
    replace_layers(network)
    assert type(network[0]) is SparseDropout
    assert network[1][0] is network[0]
    assert [type(network[1][1]), type(network[2])] == [Own, nn.Dropout2d]


def test_the_replaced_layer_is_not_changed_and_follows_where_the_network_also_keeps_it_elsewhere() -> None:
    class Listing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.conv = nn.Dropout(0.1), nn.Conv2d(4, 4, 3, stride=2, dilation=2)
            self.listed = [self.drop, self.conv]

    network = Listing()
    drop, conv = network.listed
    replace_layers(network)
    assert [type(network.drop), type(network.conv)] == [SparseDropout, SubsampledConv2d]
    assert [type(drop), type(conv)] == [nn.Dropout, nn.Conv2d]
    network.eval().half()
    assert not drop.training
    assert conv.weight is network.conv.weight
    copied = copy.deepcopy(network)
    assert type(copied.drop) is SparseDropout
    assert copied.conv.weight is not network.conv.weight


DILATED = """
import torch.nn as nn
class Dilated(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=2, dilation=2, stride=2), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
            nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6), nn.Conv2d(6, 12, 3, groups=6), nn.Dropout(0.2, True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, num_classes))
    def forward(self, x):
        return self.net(x)
"""


def test_a_network_of_replaced_layers_learns(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "dilated.py").write_text(DILATED)
    recipe = Recipe(epochs=8, batch_size=16, optimizer=Optimizer(lr=0.1))
    spec = TrialSpec(variant=f"{tmp_path / 'dilated.py'}:Dilated", trainer=recipe)
    assert list(run_trial(spec, dataset, tmp_path / "t"))[-1].metrics["test/accuracy"] > 0.9


class MonteCarlo(nn.Module):
    """Leaves dropout on in evaluation, by the names of its layers, as is usual."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop = nn.Conv2d(3, 8, 3, 2, 2, dilation=2), nn.Dropout(0.3)

    def train(self, mode: bool = True) -> "MonteCarlo":
        super().train(mode)
        for module in self.modules():
            if module.__class__.__name__.startswith("Dropout"):
                module.train()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.conv(x))


def test_layers_that_were_replaced_keep_their_names() -> None:
    network = MonteCarlo()
    before = repr(network)
    replace_layers(network)
    assert (type(network.drop), type(network.conv)) == (SparseDropout, SubsampledConv2d)
    assert repr(network) == before
    network.eval()
    images = torch.ones(2, 3, 16, 16)
    assert not torch.equal(network(images), network(images))
    assert pickle.loads(pickle.dumps(network.drop)).p == 0.3


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_replaced_convolution_takes_an_image_without_a_batch(device: str) -> None:
    torch.manual_seed(0)
    for settings in (
        {"stride": 2, "dilation": 2},
        {"groups": 8, "dilation": 2},
        {"groups": 8},
        {"groups": 4},
        {"dilation": 2},
    ):
        layer = nn.Conv2d(8, 8 if settings.get("dilation") else 16, 3, padding=2, **settings)
        network = nn.Sequential(layer)
        images = torch.randn(3, 8, 9, 9)
        expected = layer(images)
        replace_layers(network, device)
        for image, whole in zip(images, expected, strict=True):
            torch.testing.assert_close(network(image), whole)
