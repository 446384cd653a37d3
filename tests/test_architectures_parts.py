"""What a new network starts from: its own constructor alone, no image that was tried and no earlier network."""

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from orchestrator.architectures import VARIANTS, build_network, load_network
from orchestrator.architectures.parts import own_parts
from orchestrator.data import Dataset
from orchestrator.errors import VariantError
from orchestrator.experiment.reader import read_experiment
from orchestrator.spec import Recipe, TrialSpec
from orchestrator.trial import run_trial
from orchestrator.workflow.check import check_experiment

NETWORKS = """
import random
import torch
from torch import nn
from torch.nn import functional as F


class Base(nn.Module):
    def __init__(self, num_classes=10, channels=3):
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 8, 3), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))


class Scaled(Base):  # starts from the statistics of the first images that it sees
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.register_buffer("is_set", torch.tensor(False))

    def forward(self, x):
        x = self.conv(x)
        if not self.is_set:
            with torch.no_grad():
                self.scale.copy_(1 / x.std((0, 2, 3), keepdim=True)[0])
            self.is_set.fill_(True)
        return self.head((x * self.scale).relu().mean((2, 3)))


class Cached(Base):  # keeps a table from its first images on
    def __init__(self, num_classes=10):
        super().__init__(num_classes, channels=4)
        self.grid = None

    def forward(self, x):
        if self.grid is None:
            self.grid = torch.linspace(0, 1, x.shape[-1], device=x.device).repeat(x.shape[-2], 1)
        return super().forward(torch.cat([x, self.grid.expand(len(x), 1, -1, -1)], 1))


class Lazy(nn.Sequential):
    def __init__(self, num_classes=10):
        super().__init__(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(num_classes))


class Grown(Base):  # makes its last layer when it knows the size, and the size of its table
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.last = None
        self.register_buffer("table", torch.zeros(0))

    def forward(self, x):
        if self.last is None:
            self.last = nn.Linear(10, 10)
            self.table = torch.zeros(x.shape[-1])
        return self.last(super().forward(x)) + self.table.sum()


class Hooked(Base):  # its hook writes to the network itself, whatever copy is run
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.kept = {}
        self.conv.register_forward_hook(lambda layer, given, found: self.kept.update(maps=found))

    def forward(self, x):
        self.conv(x)
        return self.head(self.kept.pop("maps").mean((2, 3)))


class Drawing(Base):  # draws in evaluation too
    def forward(self, x):
        return super().forward(F.dropout(x, 0.5)) * random.random()


class Shared(Base):
    def __init__(self, num_classes=10, act=nn.PReLU(8)):
        super().__init__(num_classes)
        self.act = act

    def forward(self, x):
        return self.head(self.act(self.conv(x)).mean((2, 3)))


TABLE = torch.rand(3, 1, 1)
COUNTS = torch.zeros(1)
FROZEN = nn.Conv2d(3, 3, 1).requires_grad_(False)


class Constant(Base):  # what it shares never changes
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.register_buffer("table", TABLE)

    def forward(self, x):
        return super().forward(x * self.table)


class Frozen(Base):  # what it shares is not trained, but moves to a GPU with it
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.frozen = FROZEN

    def forward(self, x):
        return super().forward(self.frozen(x))


class Counted(Base):
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.register_buffer("counts", COUNTS)

    def forward(self, x):
        if self.training:
            self.counts += 1
        return super().forward(x)


WEIGHTS = torch.rand(10, 8)
ARRAY = torch.rand(10, 8).numpy()
FLAT = torch.rand(12, 8)
PRETRAINED = {"weight": torch.rand(10, 8), "bias": torch.rand(10)}


class Made(Base):  # its first weights are the user's own tensor, as is what it counts with
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.head.weight = nn.Parameter(WEIGHTS[:num_classes])
        self.register_buffer("counts", COUNTS.view(-1))


class Put(Base):
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.head.weight.data = WEIGHTS


class Loaded(Base):
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.head.load_state_dict(PRETRAINED, assign=True)


class FromArray(Base):
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.head.weight = nn.Parameter(torch.from_numpy(ARRAY))


class Embedded(Base):
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.table = nn.Embedding.from_pretrained(WEIGHTS, freeze=False)

    def forward(self, x):
        return super().forward(x) + self.table.weight.sum()


class Views(Base):  # one tensor of the user's, in parts that overlap
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.all = nn.Parameter(FLAT)
        self.head.weight = nn.Parameter(FLAT[2:])
        self.columns = self.all.data.t()

    def forward(self, x):
        return super().forward(x) + self.columns.sum()


class Late(Base):  # makes its last layer when it is run
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.more = None

    def forward(self, x):
        if self.more is None:
            self.more = nn.Parameter(WEIGHTS)
        return super().forward(x) + self.more.sum()


class Expanded(Base):
    def __init__(self, num_classes=10):
        super().__init__(num_classes, channels=5)
        rows, columns = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)
        self.register_buffer("rows_again", rows)
        self.register_buffer("unsaved", torch.zeros(1).expand(4), persistent=False)
        self.scale = nn.Parameter(torch.ones(1).expand(5, 1, 1))

    def forward(self, x):
        grid = torch.stack([self.rows, self.columns]).expand(len(x), -1, -1, -1)
        return super().forward(torch.cat([x, grid], 1) * self.scale)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETWORKS)
    return tmp_path / "nets.py"


@pytest.mark.parametrize("variant", [*VARIANTS, *("Base", "Scaled", "Cached", "Lazy", "Grown", "Hooked", "Drawing")])
def test_weights_and_random_numbers_are_those_of_making_and_running_it_once(variant: str, file: Path) -> None:
    """Whatever run that is: trials of the same seed keep their bits."""
    name = variant if variant in VARIANTS else f"{file}:{variant}"
    load_network(name)  # reading a file may draw as well

    def seed() -> None:
        torch.manual_seed(5)
        random.seed(5)

    seed()
    built = build_network(name)
    drawn = torch.rand(1), random.random()
    seed()
    made = load_network(name)() if variant in VARIANTS else load_network(name)(num_classes=10)
    with torch.no_grad():
        made.eval()(torch.zeros(2, 3, 32, 32))
    assert drawn == (torch.rand(1), random.random())
    assert built.training
    expected = made.state_dict()
    assert list(built.state_dict()) == list(expected)
    for key, tensor in built.state_dict().items():
        assert torch.equal(tensor, expected[key]) or (variant, key) in {("Scaled", "scale"), ("Scaled", "is_set")}


def test_a_network_that_starts_from_its_first_images_has_seen_none(file: Path) -> None:
    scaled = build_network(f"{file}:Scaled")
    assert not scaled.is_set
    assert torch.equal(scaled.scale, torch.ones(8, 1, 1))
    assert build_network(f"{file}:Cached").grid is None


def test_what_makes_its_parameters_in_its_first_run_has_them(file: Path) -> None:
    assert build_network(f"{file}:Grown").table.shape == (32,)
    assert isinstance(build_network(f"{file}:Grown").last, nn.Linear)
    assert not any(map(nn.parameter.is_lazy, build_network(f"{file}:Lazy").parameters()))


def test_a_layer_that_is_made_once_for_all_networks_is_refused(file: Path) -> None:
    first = build_network(f"{file}:Shared")
    with pytest.raises(VariantError, match=r"act\.weight is that of a network that was built before.*the constructor"):
        build_network(f"{file}:Shared")
    assert first.act.weight is not None


def test_so_is_one_that_is_not_trained_for_it_would_move_with_each_of_them(file: Path) -> None:
    first = build_network(f"{file}:Frozen")
    with pytest.raises(VariantError, match=r"frozen\.weight is that of .* would share it with another: .*constructor"):
        build_network(f"{file}:Frozen")
    assert first.frozen.weight is not None


def test_constants_may_be_shared_as_long_as_they_are_constant(file: Path) -> None:
    first = build_network(f"{file}:Constant")
    first.load_state_dict({name: tensor.clone() for name, tensor in first.state_dict().items()})
    assert build_network(f"{file}:Constant").table is first.table
    counted = build_network(f"{file}:Counted")
    assert build_network(f"{file}:Counted").counts is counted.counts
    counted(torch.zeros(2, 3, 32, 32))
    with pytest.raises(VariantError, match="counts is that of a network"):
        build_network(f"{file}:Counted")


@pytest.mark.parametrize("variant", ["Made", "Put", "Loaded", "FromArray", "Embedded", "Views", "Late"])
def test_weights_made_from_a_tensor_that_stays_start_as_that_was_in_every_network(variant: str, file: Path) -> None:
    def build() -> nn.Module:
        torch.manual_seed(5)
        return build_network(f"{file}:{variant}")

    load_network(f"{file}:{variant}")  # reading the file draws as well
    first = build()
    before = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    with torch.no_grad():
        for tensor in (*first.parameters(), *first.buffers()):
            tensor += 1
    trained = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    second = build()
    assert all(torch.equal(tensor, before[name]) for name, tensor in second.state_dict().items())
    assert all(torch.equal(tensor, trained[name]) for name, tensor in first.state_dict().items())


def test_what_shares_memory_in_a_network_goes_on_sharing_it(file: Path) -> None:
    for _ in range(2):
        network = build_network(f"{file}:Views")
        with torch.no_grad():
            network.all += 1
        assert torch.equal(network.head.weight, network.all[2:])
        assert torch.equal(network.columns, network.all.t())
        assert network.head.weight.data_ptr() == network.all[2:].data_ptr()


def test_what_a_network_has_for_itself_is_not_copied() -> None:
    for variant in VARIANTS:
        network = load_network(variant)()
        taken = [tensor.data_ptr() for tensor in network.state_dict().values()]
        own_parts(network)
        assert taken == [tensor.data_ptr() for tensor in network.state_dict().values()]


def test_a_trial_after_another_is_the_trial_alone(file: Path, dataset: Dataset, tmp_path: Path) -> None:
    def train(seed: int, folder: str) -> list[dict[str, float]]:
        spec = TrialSpec(variant=f"{file}:Made", seed=seed, trainer=Recipe(epochs=1, batch_size=32))
        records = list(run_trial(spec, dataset, tmp_path / folder))
        return [{name: value for name, value in r.metrics.items() if "loss" in name or "acc" in name} for r in records]

    alone = train(1, "alone")
    train(0, "other")
    assert train(1, "after") == alone


def test_a_shared_layer_is_found_before_anything_starts(file: Path, packed: Path) -> None:
    tree = {"name": "x", "variants": [f"{file}:Shared"], "dataset": {"name": str(packed)}}
    with pytest.raises(VariantError, match=r"act\.weight is that of a network"):
        check_experiment(read_experiment(tree, "x"), packed.parent, lambda _: None)


def test_what_was_expanded_gets_memory_of_its_own(file: Path) -> None:
    network = build_network(f"{file}:Expanded", shape=(3, 16, 16))
    assert all(network.get_buffer(name).is_contiguous() for name in ("rows", "columns"))
    assert network.rows is network.rows_again
    assert network.unsaved.is_contiguous()
    assert network.scale.is_contiguous()
    assert torch.equal(network.columns, torch.linspace(-1, 1, 16).repeat(16, 1))


def test_a_trial_with_expanded_buffers_is_trained_to_its_end(file: Path, dataset: Dataset, tmp_path: Path) -> None:
    spec = TrialSpec(variant=f"{file}:Expanded", trainer=Recipe(epochs=1, batch_size=32))
    assert list(run_trial(spec, dataset, tmp_path / "t"))[-1].final
