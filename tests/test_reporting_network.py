"""The drawing of a network and its tables: every block, branch and join in its place."""

import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import models

from orchestrator.analysis import analyse
from orchestrator.architectures import VARIANTS, build_network
from orchestrator.reporting.figures import to_png
from orchestrator.reporting.network import EARLIER, _box, _lane, _place, _skips, draw_network
from orchestrator.reporting.network_box import SIDE, Inside, inside
from orchestrator.reporting.network_layout import IMAGE, Block, blocks
from orchestrator.reporting.network_lines import GIVEN, JOINS, MOST_LINES, Line, Repeat, fitted

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
    assert found["deep"].lines == ["conv 1×1 → 3"]
    assert found["deep"].repeats == [Repeat(0, 1, 40)]


class Squeeze(nn.Module):
    """Squeeze-and-excitation: a gate computed from the whole map."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class Inner(nn.Module):
    """A residual branch with a gate in it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(6, 6, 3, padding=1), Squeeze()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate(self.conv(x))


class Nested(nn.Module):
    """Skips inside skips: ``depth`` residual branches, all their results joined, and a shortcut past everything."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.inner = nn.ModuleList(Inner() for _ in range(depth))
        self.mix = nn.Conv2d(6 * depth, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for inner in self.inner:
            found.append(inner(found[-1]))
        return x + self.mix(torch.cat(found[1:], 1))


def test_joins_inside_a_block_know_their_branches() -> None:
    block = layout(nn.Sequential(nn.Conv2d(3, 6, 1), Nested(1)))["1"]
    inner = ["conv 3×3 → 6", "global average pooling", "conv 1×1 → 2", "conv 1×1 → 6", "multiply", "add"]
    assert block.lines == [*inner, "concatenate", "conv 1×1 → 6", "add"]
    joins = {place: set(line.sources) for place, line in enumerate(block.flow) if len(line.sources) > 1}
    assert joins == {4: {0, 3}, 5: {GIVEN, 4}, 8: {GIVEN, 7}}


def test_what_repeats_is_drawn_once_with_all_of_its_branches() -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 1), Nested(5))
    block = layout(network)["1"]
    assert block.repeats == [Repeat(0, 6, 5)]
    multiply, add, concatenate, _, last = block.flow[4:]
    assert (multiply.sources, add.sources, last.sources) == ({0, 3}, {GIVEN, 4}, {GIVEN, 7})
    assert (concatenate.sources, concatenate.again) == ({5}, {5})  # of the last repetition, and of those before it
    assert str(concatenate) == "concatenate (5 inputs)"
    texts = [text.get_text() for text in draw_network(analyse(network, SHAPE), "nested").axes[0].texts]
    assert {"× 5", EARLIER} <= set(texts)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small", "googlenet", "shufflenet_v2_x0_5"])
def test_every_join_of_torchvisions_networks_is_in_the_picture(name: str) -> None:
    with torch.device("meta"):  # no memory for weights
        network = models.get_model(name, weights=None, **({"init_weights": False} if name == "googlenet" else {}))
    analysis = analyse(network, (3, 64, 64))
    words: Counter[str] = Counter()
    for block in blocks(analysis):
        assert not any(line.hidden for line in block.flow)
        for place, line in enumerate(block.flow):
            times = math.prod(r.times for r in block.repeats if r.first <= place < r.first + r.count)
            word = line.text.partition(" · ")[0]
            words[word] += times
            if word in JOINS.values():
                branches = len(line.sources | line.again) if block.name == block.label and not block.join else 2
                assert branches > 1, (block.name, line)
    computed = Counter(JOINS[row.type.lower()] for row in analysis.layers if row.type.lower() in JOINS)
    assert {word: words[word] for word in computed} == computed
    assert computed
    to_png(draw_network(analysis, name))


@st.composite
def flows(draw: st.DrawFn) -> list[Line]:
    """Lines that are fed by any lines before them."""
    count = draw(st.integers(1, 12))
    before = [st.frozensets(st.integers(GIVEN, place - 1), min_size=1, max_size=4) for place in range(count)]
    return [Line(f"line {place}", draw(sources), "") for place, sources in enumerate(before)]


@given(flows())
def test_a_box_shows_exactly_the_branches_that_there_are(flow: list[Line]) -> None:
    places = inside(Block("block", [], (), flow=flow))
    assert places.lines == sorted(places.lines)
    seen = set()
    for lane in places.lanes:
        for branch in lane:
            leaves = [_line_at(places, y - SIDE) for y in branch.leaves] + [GIVEN] * len(branch.edge)
            seen |= {(leave, _line_at(places, y + SIDE)) for leave in leaves for y in branch.arrives}
        ends = sorted(branch.ends for branch in lane)
        assert all(first[1] < second[0] for first, second in itertools.pairwise(ends))
    above = {place for place in range(len(flow)) if not any(_between(places, place, y) for y in places.apart)}
    seen |= {(place - 1, place) for place in above}
    assert seen == {(source, place) for place, line in enumerate(flow) for source in line.sources}


def _line_at(places: Inside, y: float) -> int:
    (found,) = (place for place, middle in enumerate(places.lines) if middle == pytest.approx(y))
    return found


def _between(places: Inside, place: int, y: float) -> bool:
    return (places.lines[place - 1] if place else 0.0) < y < places.lines[place]


def test_a_block_without_repetitions_is_shortened_and_says_what_is_hidden() -> None:
    lines = [Line(f"line {i}", frozenset({i - 1} if i % 5 else {i - 1, max(GIVEN, i - 4)}), str(i)) for i in range(30)]
    short, repeats = fitted(lines)
    assert (len(short), repeats) == (MOST_LINES, [])
    assert short[10].text == "… 17 more, 4 of them joining branches …"
    assert [line.text for line in short[-3:]] == ["line 27", "line 28", "line 29"]
    assert all(GIVEN <= source < place for place, line in enumerate(short) for source in line.sources)


def test_a_branch_leaves_before_the_normalisation_that_it_passes_by() -> None:
    class Before(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return x + self.second(torch.relu(self.norm(x)))

    block = layout(nn.Sequential(Before(), nn.Flatten(), nn.Linear(3072, 2)))["0"]
    assert block.lines == ["conv 1×1 → 3", "norm", "conv 1×1 → 3", "add · flatten"]
    assert block.flow[3].sources == {0, 2}
