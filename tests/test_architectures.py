"""Every registered variant: its shapes, its exact size, that all of it learns, and that misfits are refused."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from driving import orchestrator
from torch.nn import functional as F

from orchestrator.analysis import analyse
from orchestrator.architectures import VARIANTS, build_network, family, load_network, source_digest
from orchestrator.architectures.arguments import CLASSES, passed
from orchestrator.errors import VariantError

PUBLISHED = {
    "stride": 192_298,
    "grouped_concat": 145_114,
    "dilated_separable": 98_779,
    "dilated_stride": 186_570,
}
# Maps after C1 to C4 as the report of `stride` prints them.
STRIDE_SHAPES = {"c1": (12, 32, 32), "c2": (24, 16, 16), "c3": (32, 16, 16), "c4": (64, 14, 14)}


# Pixels of the smallest square picture whose map is left with a position before pooling.
SMALLEST = {"stride": 5, "grouped_concat": 29, "dilated_separable": 29, "dilated_stride": 25, "depthwise_stride": 1}


def size(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_for_ten_classes(variant: str) -> None:
    logits = build_network(variant).eval()(torch.randn(3, 3, 32, 32))
    assert logits.shape == (3, 10)
    assert logits.dtype == torch.float32
    assert not torch.allclose(logits.exp().sum(dim=1), torch.ones(3)), "log-probabilities, not logits"


@pytest.mark.parametrize(("variant", "parameters"), PUBLISHED.items())
def test_published_parameters(variant: str, parameters: int) -> None:
    assert size(build_network(variant)) == parameters


@pytest.mark.parametrize("variant", VARIANTS)
def test_under_200_000_parameters(variant: str) -> None:
    assert size(build_network(variant)) < 200_000


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_figures_in_the_table_are_those_of_the_network(variant: str) -> None:
    analysis, listed = analyse(build_network(variant), (3, 32, 32)), VARIANTS[variant]
    field = analysis.receptive_field
    assert (listed.parameters, listed.macs, listed.features, listed.output) == (
        analysis.parameters,
        analysis.macs,
        field.features,
        field.output,
    )


def test_published_shapes_of_stride() -> None:
    network, x = build_network("stride").eval(), torch.randn(1, 3, 32, 32)
    for name, shape in STRIDE_SHAPES.items():
        x = getattr(network, name)(x)
        assert x.shape[1:] == shape


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_gets_a_gradient(variant: str) -> None:
    torch.manual_seed(0)
    network = build_network(variant)
    F.cross_entropy(network(torch.randn(8, 3, 32, 32)), torch.arange(8)).backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_overfits_64_pictures(variant: str) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(64, 3, 32, 32), torch.randint(0, 10, (64,))
    network = build_network(variant, {"dropout": 0.0})
    optimizer = torch.optim.Adam(network.parameters(), 0.003)
    for _ in range(80):
        loss = F.cross_entropy(network(images), labels)
        if loss < 0.05:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (network(images).argmax(dim=1) == labels).float().mean() == 1.0


@pytest.mark.parametrize("size", [(28, 28), (48, 48), (64, 40), (8, 8)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_other_sizes_and_class_counts_work_or_are_refused_with_a_reason(variant: str, size: tuple[int, int]) -> None:
    if min(size) < SMALLEST[variant]:
        with pytest.raises(VariantError, match=f"3x{size[0]}x{size[1]}"):
            build_network(variant, num_classes=7, shape=(3, *size))
    else:
        network = build_network(variant, num_classes=7, shape=(3, *size))
        assert network.eval()(torch.zeros(2, 3, *size)).shape == (2, 7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_seed_gives_the_same_weights(variant: str) -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(torch.cat([p.flatten() for p in build_network(variant).parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize("variant", VARIANTS)
def test_family_is_known(variant: str) -> None:
    assert family(variant) in {"stride-based", "dilation-as-downsample", "grouped-concat"}
    assert source_digest(variant) == ""


def test_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(VariantError, match=r"did you mean stride\?.*grouped_concat"):
        load_network("strid")


OWN = """
import torch.nn as nn
class Own(nn.Module):
    def __init__(self, num_classes=10, width=4):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output = nn.Linear(width, num_classes)
    def forward(self, x):
        return self.output(self.features(x))
class Wrong(Own):
    def forward(self, x):
        return x
def function():
    pass
"""


def test_a_network_of_ones_own(tmp_path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    network = build_network(f"{file}:Own", {"width": 6}, num_classes=5)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
    assert family(f"{file}:Own") == "custom"
    before = source_digest(f"{file}:Own")
    file.write_text(OWN + "# edited\n")
    assert len(before) == 64
    assert source_digest(f"{file}:Own") != before


LAYERED = """
import torch.nn as nn
from layers import WIDTH
from blocks.stem import stem
class Own(nn.Sequential):
    def __init__(self, num_classes=10):
        super().__init__(stem(WIDTH), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, num_classes))
"""


def layered(folder: Path, width: int, kernel: int) -> str:
    """A network whose file imports a module and a package from beside it."""
    (folder / "blocks").mkdir(parents=True)
    (folder / "net.py").write_text(LAYERED)
    (folder / "layers.py").write_text(f"import torch\nWIDTH = {width}\n")
    (folder / "blocks" / "__init__.py").touch()
    (folder / "blocks" / "stem.py").write_text(
        "import torch.nn as nn\nfrom blocks import kernel\ndef stem(w): return nn.Conv2d(3, w, kernel.SIZE)\n"
    )
    (folder / "blocks" / "kernel.py").write_text(f"SIZE = {kernel}\n")
    return f"{folder / 'net.py'}:Own"


def test_neighbours_of_one_name_are_each_networks_own(tmp_path: Path) -> None:
    first, second = layered(tmp_path / "a", 4, 3), layered(tmp_path / "b", 9, 5)
    for _ in range(2):  # in either order, and again
        assert build_network(first)[0].weight.shape == (4, 3, 3, 3)
        assert build_network(second)[0].weight.shape == (9, 3, 5, 5)
    assert source_digest(first) != source_digest(second)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert source_digest(f"{tmp_path / 'copy' / 'net.py'}:Own") == source_digest(first)


@pytest.mark.parametrize("edited", ["layers.py", "blocks/kernel.py", "blocks/__init__.py"])
def test_an_edited_neighbour_makes_another_network(edited: str, tmp_path: Path) -> None:
    variant = layered(tmp_path, 4, 3)
    before, network = source_digest(variant), load_network(variant)
    assert load_network(variant) is network
    (tmp_path / "unused.py").write_text("")
    assert source_digest(variant) == before
    new = {"layers.py": "WIDTH = 7\n", "blocks/kernel.py": "SIZE = 1\n", "blocks/__init__.py": "# edited\n"}[edited]
    (tmp_path / edited).write_text(new)
    assert source_digest(variant) != before
    weight = build_network(variant)[0].weight
    assert weight.shape == (7 if edited == "layers.py" else 4, 3, *[1 if "kernel" in edited else 3] * 2)


def test_a_neighbour_with_the_name_of_a_library_is_the_networks_own_and_nobody_elses(tmp_path: Path) -> None:
    variant = layered(tmp_path, 4, 3)
    (tmp_path / "layers.py").write_text("from yaml import WIDTH\n")
    (tmp_path / "yaml.py").write_text("WIDTH = 5\n")
    (tmp_path / "torch").mkdir()  # a mere folder: the library comes first, as Python has it
    (tmp_path / "torch" / "script.py").touch()
    import yaml

    assert build_network(variant)[0].weight.shape == (5, 3, 3, 3)
    assert sys.modules["yaml"] is yaml
    assert sys.modules["torch"] is torch


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("Missing", {}, "does not exist.*Own"),
        ("function", {}, "not a torch.nn.Module"),
        ("Wrong", {}, r"logits of shape \(N, 10\)"),
        ("Own", {"wdith": 3}, r"has no parameter wdith \(did you mean width\?\); it has.*width"),
        ("Own", {"width": -1}, "cannot be built"),
    ],
)
def test_a_wrong_network_of_ones_own_is_refused(tmp_path, name: str, arguments: dict, words: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    with pytest.raises(VariantError, match=words):
        build_network(f"{file}:{name}", arguments)


def test_a_file_that_fails_when_read_is_refused(tmp_path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("1 / 0\n")
    with pytest.raises(VariantError, match="ZeroDivisionError"):
        load_network(f"{file}:Net")
    with pytest.raises(VariantError, match="there is no readable file"):
        load_network(f"{tmp_path / 'absent.py'}:Net")


PUBLIC = """
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, {parameters}):
        super().__init__()
        self.stem = nn.Conv2d({channels}, {width}, 3)
        self.head = nn.Linear({width}, {classes})

    def forward(self, x):
        return self.head(F.relu(self.stem(x)).mean((2, 3)))
"""


def public(folder: Path, parameters: str, classes: str, width: str = "8", channels: str = "3") -> str:
    text = PUBLIC.format(parameters=parameters, classes=classes, width=width, channels=channels)
    (folder / "public.py").write_text(text)
    return f"{folder / 'public.py'}:Net"


@pytest.mark.parametrize("name", CLASSES)
def test_the_number_of_classes_is_known_by_its_usual_names(name: str, tmp_path: Path) -> None:
    variant = public(tmp_path, f"{name}=1000", name)
    assert build_network(variant, num_classes=7).head.out_features == 7
    assert passed(variant, {}, 7, (3, 32, 32)).notes == (f"passed to Net: {name}=7",)
    assert passed(variant, {name: 7}, 7, (3, 32, 32)).known == {}


def test_in_channels_that_mean_a_width_are_left_alone_and_said(tmp_path: Path) -> None:
    """As in two public ResNets for CIFAR-10, where passing 3 makes another network without a word."""
    variant = public(tmp_path, "num_classes=10, in_channels=16", "num_classes", width="in_channels")
    assert build_network(variant).stem.out_channels == 16
    [note] = passed(variant, {}, 10, (3, 32, 32)).notes
    assert "num_classes=10; in_channels keeps 16" in note
    assert build_network(variant, {"in_channels": 5}).stem.out_channels == 5


@pytest.mark.parametrize("parameter", ["in_channels", "in_channels=1", "in_chans=3"])
def test_channels_that_can_only_be_the_images_are_passed(parameter: str, tmp_path: Path) -> None:
    name = parameter.partition("=")[0]
    variant = public(tmp_path, f"{parameter}, num_classes=10", "num_classes", channels=name)
    assert build_network(variant).stem.in_channels == 3
    assert f"{name}=3" in passed(variant, {}, 10, (3, 32, 32)).notes[0]


def test_class_names_are_no_number_of_classes(tmp_path: Path) -> None:
    variant = public(tmp_path, "classes=('a', 'b')", "len(classes)")
    assert build_network(variant, num_classes=2).head.out_features == 2


def test_an_unknown_name_of_the_number_of_classes_is_hinted_at(tmp_path: Path) -> None:
    variant = public(tmp_path, "outputs=1000", "outputs")
    with pytest.raises(VariantError, match=r"such as num_classes: it has outputs; set the right one"):
        build_network(variant)
    assert build_network(variant, {"outputs": 10}).head.out_features == 10


def test_what_was_passed_is_said_by_inspect(tmp_path: Path) -> None:
    variant = public(tmp_path, "num_classes=10, in_channels=16", "num_classes", width="in_channels")
    told = orchestrator("inspect", variant, cwd=tmp_path)
    assert "in_channels keeps 16" in told.stdout.replace("\n", " ")
    plain = json.loads(orchestrator("inspect", variant, "--json", cwd=tmp_path).stdout)
    assert any("passed to Net: num_classes=10" in note for note in plain["notes"])
    assert plain["parameters"] == 16 * 27 + 16 + 16 * 10 + 10


def test_a_flag_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "flags.py").write_text(
        "from torch import nn\nclass Flags(nn.Module):\n    def __init__(self, classes=True, in_channels=True):\n"
        "        super().__init__()\n        assert classes is True and in_channels is True\n"
        "        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(3, 10)\n"
        "    def forward(self, x):\n        return self.head(self.pool(x).flatten(1))\n"
    )
    assert "nothing" in passed(f"{tmp_path / 'flags.py'}:Flags", {}, 10, (3, 8, 8)).notes[0]
    build_network(f"{tmp_path / 'flags.py'}:Flags")
