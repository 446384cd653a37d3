"""A network's source is edited: what is trained is never recorded as what it is not."""

import hashlib
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.architectures import build_network, source_digest
from orchestrator.architectures.files import package_digest
from orchestrator.data import Dataset
from orchestrator.errors import VariantError
from orchestrator.experiment.proposals import Proposals
from orchestrator.experiment.reader import read_experiment
from orchestrator.records import Status, TrialResult
from orchestrator.spec import Recipe, TrialSpec
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.trial import Trial

NET = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, num_classes)
    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))
"""
EDITED = NET.replace("relu", "sin")

# A script says what its network's source is, is then edited while it runs, and says so again.
SCRIPT = """
from helper import WIDTH
{net}
if __name__ == "__main__":
    import sys
    from pathlib import Path
    from orchestrator.architectures import source_digest
    from orchestrator.errors import VariantError
    print(source_digest("__main__:Net"))
    for file in sys.argv[1:]:
        text = Path(file).read_text()
        Path(file).write_text(text + "# edited")
        try:
            print(source_digest("__main__:Net"))
        except VariantError as problem:
            print(problem)
        Path(file).write_text(text)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, whose modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def run(*command: str, cwd: Path) -> list[str]:
    return subprocess.run(
        [sys.executable, *command], check=True, capture_output=True, text=True, cwd=cwd
    ).stdout.splitlines()


def test_the_source_of_a_class_in_a_script_is_the_script_with_what_it_imports(folder: Path) -> None:
    script, helper = folder / "script.py", folder / "helper.py"
    helper.write_text("WIDTH = 4\n")
    script.write_text(SCRIPT.format(net=NET))
    first, script_edited, helper_edited = run("script.py", "script.py", "helper.py", cwd=folder)
    assert first == source_digest("script.py:Net")
    assert "script.py was edited since it was imported here" in script_edited
    assert "helper.py was edited since it was imported here" in helper_edited
    script.write_text(SCRIPT.format(net=EDITED))
    edited = source_digest("script.py:Net")
    helper.write_text("WIDTH = 5\n")
    assert len({first, edited, *run("script.py", cwd=folder)}) == 3


def test_no_digest_is_that_of_nothing(folder: Path) -> None:
    (folder / "chunk.py").write_text(NET)  # a name that a module of Python's has, too
    nothing = hashlib.sha256(b"").hexdigest()
    own = ["chunk:Net", "orchestrator.architectures.stride:Stride", "orchestrator.architectures.probe:probe"]
    assert len({nothing, *map(source_digest, own)}) == 4
    with pytest.raises(ValueError, match="no file of absent"):
        package_digest(folder, "absent")


def test_a_network_that_is_edited_after_the_plan_is_neither_trained_nor_given_old_weights(
    folder: Path, dataset: Dataset
) -> None:
    file, variant = folder / "net.py", f"{folder / 'net.py'}:Net"
    file.write_text(NET)
    trainer = Recipe(epochs=1, batch_size=40, device="cpu", threads=1)
    spec = TrialSpec(variant=variant, source_digest=source_digest(variant), trainer=trainer)
    file.write_text(EDITED)
    with pytest.raises(VariantError, match="has changed since this launch was planned: run the same command again"):
        list(run_trial(spec, dataset, folder / "trial"))
    outcome = TrialFolder(folder / "trial").outcome()
    assert outcome is not None
    assert (outcome.status, TrialFolder(folder / "trial").records()) == (Status.FAILED, [])
    file.write_text(NET)  # brought back
    assert len(list(run_trial(spec, dataset, folder / "trial"))) == 2
    trial = Trial("Net/seed-0", folder=folder / "trial")
    assert not trial.model().training
    file.write_text(EDITED)
    with pytest.raises(VariantError, match="has changed since Net/seed-0 was trained with it: bring the old one back"):
        trial.model()


def test_every_trial_of_a_launch_is_of_the_source_that_was_planned_first(folder: Path) -> None:
    file = folder / "net.py"
    file.write_text(NET)
    settings = {
        "name": "x",
        "variants": ["net.py:Net", {"name": "net.py:Net", "as": "other"}],
        "search": {"name": "tpe", "samples": 3, "concurrency": 1,
                   "space": {"trainer.optimizer.lr": {"loguniform": [0.01, 0.5]}}},
        "confirm": {"seeds": [7]},
    }  # fmt: skip
    proposals = Proposals(read_experiment(settings, "x"))
    results: dict[str, TrialResult] = {}
    known = proposals.trials(results)
    [planned] = {spec.source_digest for spec in known}
    for text in (EDITED, "no Python", NET):  # also what could not even be loaded
        file.write_text(text)
        ended = TrialResult(Status.COMPLETE, 1, 0.5, None, 1.0, {1: 0.5})
        results |= {spec.name: ended for spec in known if spec.name not in results}
        before, known = len(known), proposals.trials(results)
        assert len(known) > before
        assert {spec.source_digest for spec in known} == {planned}


@pytest.mark.parametrize("edited", ["mod.py", "blocks.py", "../beside.py"])
def test_a_module_that_is_edited_after_its_import_is_refused(edited: str, folder: Path) -> None:
    package = folder / "pk"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "mod.py").write_text("from pk import blocks\n" + NET)
    (package / "blocks.py").write_text("import beside\n")
    (package / "unused.py").write_text("")
    (folder / "beside.py").write_text("")
    variant, file = "pk.mod:Net", package / edited
    build_network(variant)
    before = source_digest(variant)
    (package / "unused.py").write_text("# edited: nobody has imported it")
    assert source_digest(variant) != before
    old = file.read_text()
    file.write_text(f"{old}# edited\n")
    name = file.resolve().name
    with pytest.raises(
        VariantError, match=rf"{name} was edited since it was imported here.*: restart this process, or"
    ):
        source_digest(variant)
    file.write_text(old)
    now = source_digest(variant)
    file.write_text(f"{old}# edited\n")
    os.utime(file, (1, 1))  # a compiled file is not taken for it
    importlib.reload(sys.modules[{"mod.py": "pk.mod", "blocks.py": "pk.blocks"}.get(edited, "beside")])
    assert source_digest(variant) != now


# As a notebook's kernel has it: cells without a file, whose lines are kept.
CELLS = """
import linecache, sys
del sys.modules["__main__"].__file__
sys.path.insert(0, ".")
import functools, types, torch
from torch import nn
from orchestrator.architectures.digest import source_digest
from orchestrator.architectures.untracked import source_notes
from orchestrator.errors import VariantError
CELL = '''
import blocks
from blocks import act
WIDTH, SIZES, TABLE, ACT = 1, {"a": [3, 4]}, torch.zeros(2), torch.relu
UNUSED = 1
OPTIONS = types.SimpleNamespace(bias=True)
make = functools.partial(nn.Conv2d, 3, kernel_size=3)
def scale(x, by=2):
    return x * by
def twice(function):
    @functools.wraps(function)
    def inner(self, x):
        return function(self, function(self, x))
    return inner
class Base(nn.Module):
    pad = 0
class Net(Base):
    width = 4
    layer = nn.ReLU
    def __init__(self, num_classes):
        super().__init__()
        self.width = self.width + WIDTH + SIZES["a"][0]
        self.conv, self.head = make(self.width, bias=OPTIONS.bias), nn.Linear(self.width, num_classes)
    @property
    def gain(self):
        return 1
    @staticmethod
    def shift():
        return TABLE
    @torch.no_grad()
    def frozen(self):
        return 1
    @twice
    def act(self, x):
        return act(x)
    def forward(self, x):
        return self.head(scale(ACT(self.act(self.conv(x)))).mean((2, 3)))
'''
def cell(number, text):
    name = f"/tmp/ipykernel_1/{number}.py"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    exec(compile(text, name, "exec"), globals())
def shown(text="", before=CELL):
    cell(len(linecache.cache), before + text)
    try:
        print(source_digest("__main__:Net"))
    except VariantError as problem:
        print(problem)
    UNUSED
EDITS = [
    ("width = 4", "width = 40"), ("WIDTH, SIZES, TABLE, ACT = 1,", "WIDTH, SIZES, TABLE, ACT = 2,"),
    ('{"a": [3, 4]}', '{"a": [3, 5]}'), ("zeros(2)", "ones(2)"), ("torch.relu", "torch.sin"), ("by=2", "by=3"),
    ("bias=True", "bias=False"), ("kernel_size=3", "kernel_size=1"), ("x * by", "x + by"), ("pad = 0", "pad = 1"),
    ("layer = nn.ReLU", "layer = nn.GELU"), ("        return 1\\n    @static", "        return 2\\n    @static"),
    ("        return 1\\n    @twice", "        return 2\\n    @twice"), ("return act(x)", "return act(x) + 1"),
    ("function(self, function(self, x))", "function(self, x)"),
]
shown()
shown()
shown(before=CELL.replace("UNUSED = 1", "UNUSED = 2"))
print(source_notes("__main__:Net"))
for old, new in EDITS:
    assert CELL.count(old) == 1, old
    shown(before=CELL.replace(old, new))
shown("Net.width = 7\\n")
shown("GENERATOR = torch.Generator()\\ndef scale(x):\\n    return x + torch.rand(1, generator=GENERATOR)\\n")
print(source_notes("__main__:Net"))
file = open("blocks.py", "a")
file.write("# edited")
file.close()
shown()
"""


# Values of a notebook that are equal, or differ in what only an attribute, a buffer or a bit of the tensor says.
VALUES = """
import warnings, torch
from torch import nn
from orchestrator.architectures.values import OpaqueValueError, as_text
warnings.simplefilter("ignore")
class Layer(nn.Module):
    def __init__(self, by=2, table=0.0):
        super().__init__()
        self.by, self.scale = by, nn.Linear(1, 1)
        nn.init.ones_(self.scale.weight), nn.init.ones_(self.scale.bias)
        self.register_buffer("table", torch.full((2,), table), persistent=False)
def listed(kind, by):
    made = kind([1, 2]) if kind is not Dict else kind({1: 2})
    made.by = by
    return made
class List(list): pass
class Tuple(tuple): pass
class Dict(dict): pass
class Bare: pass
torch.manual_seed(0)
numbers = torch.randn(4, 4)
complex_ = torch.complex(numbers, numbers + 1)
text = lambda value: as_text(value, lambda found: found.__qualname__)
def differ(one, other):
    assert text(one()) == text(one()), text(one())
    assert text(one()) != text(other()), text(one())
differ(Layer, lambda: Layer(by=3))
differ(Layer, lambda: Layer(table=1.0))
differ(lambda: nn.Sequential(nn.ReLU(), Layer()), lambda: nn.Sequential(nn.ReLU(), Layer(by=3)))
for kind in (List, Tuple, Dict):
    differ(lambda: listed(kind, 1), lambda: listed(kind, 2))
assert text(complex_.conj()) == text(complex_.conj().resolve_conj())
assert text(complex_.conj().imag) == text(-complex_.imag)
differ(lambda: complex_, complex_.conj)
def aliased(by):
    layer = Layer()
    layer.parts = [layer.scale, Layer(by)]
    return layer
differ(lambda: aliased(1), lambda: aliased(2))
assert text(Bare()) == text(Bare())
first = nn.ModuleList([Layer() for _ in range(9)])
for layer in first:
    layer.above = [first]
for opaque in (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), first):
    try:
        print(text(opaque))
    except OpaqueValueError as problem:
        print("opaque:", problem)
"""


def test_values_that_differ_have_different_texts(tmp_path: Path) -> None:
    (tmp_path / "values.py").write_text(VALUES)
    assert run("values.py", cwd=tmp_path) == ["opaque: Tensor", "opaque: tuple"]


def test_whatever_a_class_of_a_notebook_uses_is_its_source(folder: Path) -> None:
    (folder / "blocks.py").write_text("def act(x):\n    return x\n")
    (folder / "cells.py").write_text(CELLS)
    first, again, unused, notes, *edited, noted, stale = run("cells.py", cwd=folder)
    assert first == again == unused
    assert notes == "[]"
    assert len(edited) == 17
    assert len({first, *edited}) == 18
    assert noted.startswith("['Net: GENERATOR (Generator): its content is not tracked")
    assert "blocks.py was edited since it was imported here" in stale
    one, *_ = run("cells.py", cwd=folder)  # blocks.py has been edited
    assert one not in {first, *edited}
    (folder / "blocks.py").write_text("def act(x):\n    return x\n")
    assert run("cells.py", cwd=folder)[: 4 + len(edited)] == [first, again, unused, notes, *edited]
