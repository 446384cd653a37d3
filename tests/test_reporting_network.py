"""The drawing of a network and its tables: every block, branch and join in its place."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from orchestrator.analysis import analyse
from orchestrator.architectures import VARIANTS, build_network
from orchestrator.reporting.figures import to_png
from orchestrator.reporting.network import _box, _lane, _place, _skips, draw_network
from orchestrator.reporting.network_layout import IMAGE, MOST_LINES, Block, blocks

SHAPE = (3, 32, 32)


def layout(network: nn.Module) -> dict[str, Block]:
    return {block.name: block for block in blocks(analyse(network, SHAPE))}


def test_branches_stand_side_by_side_and_joins_are_boxes() -> None:
    found = layout(build_network("grouped_concat"))
    assert found["c2_left"].rank == found["c2_right"].rank == found["c1"].rank + 1
    (concatenate,) = (block for block in found.values() if block.join and block.lines == ["concatenate"])
    assert concatenate.inputs == ["c2_left", "c2_right"]
    assert concatenate.shape == (128, 12, 12)
    (add,) = (block for block in found.values() if block.join and block.lines == ["add"])
    assert sorted(add.inputs) == ["c4", "c4_residual"]
    assert found["c3"].lines == ["conv 3×3 → 128, depthwise", "conv 1×1 → 32 · ReLU · norm · dropout"]
    assert found["c1"].lines == ["conv 3×3 → 16, stride 2 · ReLU · norm · dropout"]
    assert found[IMAGE].shape == SHAPE
    boxes = {name: _box(block) for name, block in found.items()}
    assert _skips(boxes) == [("c4", add.name)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_drawn_without_overlaps(variant: str) -> None:
    network = build_network(variant)
    analysis = analyse(network, SHAPE)
    boxes = {block.name: _box(block) for block in blocks(analysis)}
    width, height = _place(boxes, len(_skips(boxes)))
    for first, second in itertools.combinations(boxes.values(), 2):
        beside = abs(first.x - second.x) >= (first.width + second.width) / 2
        assert beside or first.y + first.height < second.y or second.y + second.height < first.y
    for box in boxes.values():
        assert box.width / 2 < box.x < width - box.width / 2
        assert 0 < box.y < height - box.height
        assert all(boxes[source].y < box.y for source in box.block.inputs)
    assert {name for name, _ in network.named_children()} <= set(boxes)
    assert sum(block.block.parameters for block in boxes.values()) == analysis.parameters
    figure = draw_network(analysis, variant)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert variant in texts
    assert {" × ".join(map(str, box.block.shape)) for box in boxes.values()} <= set(texts)
    assert to_png(figure).startswith(b"\x89PNG")


class Shortcuts(nn.Module):
    """Two sums that pass by the same layers, one inside the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.output = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second(self.first(x)) + x
        return self.output(inner + x)


def test_skips_run_beside_one_another() -> None:
    found = layout(Shortcuts())
    assert [block.rank for block in found.values()] == [0, 1, 2, 3, 4, 5]
    boxes = {name: _box(block) for name, block in found.items()}
    skips = _skips(boxes)
    assert [source for source, _ in skips] == [IMAGE, IMAGE]
    width, _ = _place(boxes, len(skips))
    lanes = [_lane(boxes, skips, number) for number in range(len(skips))]
    beside = [box.x + box.width / 2 for name, box in boxes.items() if name != "output"]
    assert max(beside) < lanes[0] < lanes[1] < width


class Flat(nn.Module):
    """Layers without blocks, one of them used twice, and more in one block than fits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.relu = nn.ReLU()
        self.pre = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 1))
        self.deep = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(40)))
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.output = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(x)))
        x = self.conv(self.pre(x))
        return self.output(torch.flatten(self.pool(self.deep(x)), 1))


def test_lone_followers_repeated_modules_and_deep_blocks() -> None:
    found = layout(Flat())
    assert list(found) == [IMAGE, "conv", "pre", "conv (2)", "deep", "pool", "output"]
    assert found["conv"].lines == ["conv 3×3 → 3 · norm · ReLU"]
    assert found["pre"].lines == ["ReLU", "conv 1×1 → 3"]
    assert found["conv (2)"].inputs == ["pre"]
    assert found["pool"].lines == ["average pooling → 2×2 · flatten"]
    assert found["pool"].shape == (12,)
    assert len(found["deep"].lines) == MOST_LINES
    assert "… 27 more …" in found["deep"].lines
