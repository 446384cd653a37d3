"""What lies beside a user's file is its own: in any order, however late and however it is imported."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from orchestrator.architectures import build_network, load_network, source_digest
from orchestrator.architectures.untracked import source_notes
from orchestrator.errors import VariantError

HEAD = """
import torch
from torch import nn
class Base(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(3, num_classes)
        self.width = torch.nn.Parameter(torch.zeros(self.find_width()))
    def forward(self, x):
        assert self.find_width() == len(self.width)
        return self.head(self.pool(x).flatten(1))
"""
WAYS = {
    "at the top": "from layers import WIDTH\n{head}class Net(Base):\n    def find_width(self): return WIDTH\n",
    "in a method": "{head}class Net(Base):\n    def find_width(self):\n        from layers import WIDTH\n"
    "        return WIDTH\n",
    "whole": "{head}class Net(Base):\n    def find_width(self):\n        import layers\n        return layers.WIDTH\n",
    "relative": "from .layers import WIDTH\n{head}class Net(Base):\n    def find_width(self): return WIDTH\n",
    "from here": "from . import layers\n{head}class Net(Base):\n    def find_width(self): return layers.WIDTH\n",
    "in a package": "import parts.sizes\n{head}class Net(Base):\n    def find_width(self): return parts.sizes.WIDTH\n",
    "under another name": "{head}class Net(Base):\n    def find_width(self):\n        import parts.sizes as s\n"
    "        return s.WIDTH\n",
    "through another": "from relay import WIDTH\n{head}class Net(Base):\n    def find_width(self): return WIDTH\n",
    "in a circle": "{head}WIDTH_OF = 'layers'\nimport circle\nclass Net(Base):\n"
    "    def find_width(self): return circle.width()\n",
    "by a call": "{head}class Net(Base):\n    def find_width(self): return __import__('layers').WIDTH\n",
}


def write(folder: Path, way: str, width: int) -> str:
    (folder / "parts").mkdir(parents=True)
    (folder / "network.py").write_text(WAYS[way].format(head=HEAD))
    (folder / "layers.py").write_text(f"WIDTH = {width}\n")
    (folder / "relay.py").write_text("import parts\nfrom layers import WIDTH\nassert parts.HERE\n")
    (folder / "circle.py").write_text(
        "import network\ndef width():\n    assert network.Net\n    return __import__(network.WIDTH_OF).WIDTH\n"
    )
    (folder / "parts" / "__init__.py").write_text("HERE = True\nfrom . import sizes\n")
    (folder / "parts" / "sizes.py").write_text("from layers import WIDTH\n")
    return f"{folder / 'network.py'}:Net"


@pytest.mark.parametrize("way", WAYS)
def test_each_file_has_neighbours_of_its_own(way: str, tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", way, 4), write(tmp_path / "b", way, 9)
    for _ in range(2):
        networks = [build_network(first), build_network(second)]
        assert [len(network.width) for network in networks] == [4, 9]
        for network in reversed(networks):
            network(torch.zeros(2, 3, 8, 8))  # an import carried out now finds its own as well
    assert not {"layers", "relay", "parts", "circle", "network"} & sys.modules.keys()


@pytest.mark.parametrize("way", WAYS)
def test_an_edit_beside_the_file_is_another_network(way: str, tmp_path: Path) -> None:
    variant = write(tmp_path, way, 4)
    before, network = source_digest(variant), load_network(variant)
    assert load_network(variant) is network
    (tmp_path / "unused.py").write_text("")
    assert source_digest(variant) == before
    (tmp_path / "layers.py").write_text("WIDTH = 5\n")  # as many bytes, in the same second
    if way != "in a circle":  # a name that is not written there: it is said, below
        assert source_digest(variant) != before
        assert len(build_network(variant).width) == 5


def test_files_of_packages_import_within_them(tmp_path: Path) -> None:
    for folder, width in (("a", 4), ("b", 9)):
        package = tmp_path / folder / "project" / "models"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package.parent / "__init__.py").write_text("NAME = 'project'\n")
        (package.parent / "sizes.py").write_text(f"WIDTH = {width}\n")
        (package / "beside.py").write_text("from project.sizes import WIDTH\n")
        (package / "network.py").write_text(
            f"from ..sizes import WIDTH\nfrom .beside import WIDTH as again\nimport project.models.beside\n{HEAD}"
            "import beside\nclass Net(Base):\n    def find_width(self):\n        from project import NAME, sizes\n"
            "        assert WIDTH == again == beside.WIDTH == sizes.WIDTH == project.models.beside.WIDTH\n"
            "        return WIDTH\n"
        )
    variants = [f"{tmp_path / folder / 'project' / 'models' / 'network.py'}:Net" for folder in "ab"]
    assert [len(build_network(variant).width) for variant in variants] == [4, 9]
    before = source_digest(variants[0])
    (tmp_path / "a" / "project" / "sizes.py").write_text("WIDTH = 6\n")
    assert source_digest(variants[0]) != before
    assert len(build_network(variants[0]).width) == 6


def test_many_threads_get_their_own(tmp_path: Path) -> None:
    variants = [write(tmp_path / str(width), "in a method", width) for width in range(1, 9)]
    found: dict[int, list[int]] = {}

    def build(position: int) -> None:
        found[position] = [len(build_network(v).width) for v in variants[position:] + variants[:position]]

    threads = [threading.Thread(target=build, args=(position,)) for position in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = list(range(1, 9))
    assert found == {position: expected[position:] + expected[:position] for position in range(8)}


def test_the_installed_module_of_a_neighbours_name_stays_everybody_elses(tmp_path: Path) -> None:
    write(tmp_path, "at the top", 4)
    (tmp_path / "yaml.py").write_text("WIDTH = 7\n")
    (tmp_path / "layers.py").write_text("from yaml import WIDTH\n")
    code = (
        "import sys; from orchestrator.architectures import build_network;"
        f"assert len(build_network({str(tmp_path / 'network.py') + ':Net'!r}).width) == 7;"
        "import yaml; assert yaml.safe_load('[1]') == [1]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_what_fails_is_not_half_imported(tmp_path: Path) -> None:
    variant = write(tmp_path, "at the top", 4)
    (tmp_path / "layers.py").write_text("1 / 0\n")
    with pytest.raises(VariantError, match="ZeroDivisionError"):
        load_network(variant)
    (tmp_path / "layers.py").write_text("WIDTH = 3\n")
    assert len(build_network(variant).width) == 3


def test_what_cannot_be_followed_is_said(tmp_path: Path) -> None:
    variant = write(tmp_path, "through another", 4)
    assert source_notes(variant) == []
    assert source_notes("stride") == []
    assert any("circle.py:4: __import__" in n for n in source_notes(write(tmp_path / "c", "in a circle", 4)))
    (tmp_path / "relay.py").write_text(
        "import importlib, sys\nsys.path.append('/elsewhere')\nWIDTH = 4\nexec('WIDTH = 3')\n"
        "importlib.import_module('parts')\ndef evaluate(network): return network.eval()\n"
    )
    assert sorted(places(variant, "relay.py")) == ["2: sys.path", "4: exec", "5: import_module"]


def places(variant: str, file: str) -> list[str]:
    """The lines of ``file`` that something is said of, and what it is about."""
    return [":".join(note.partition(f"{file}:")[2].split(":")[:2]) for note in source_notes(variant)]


def test_a_package_that_imports_from_its_parent_is_followed_there(tmp_path: Path) -> None:
    (tmp_path / "parts" / "inner").mkdir(parents=True)
    (tmp_path / "network.py").write_text(
        f"from .parts.inner.sizes import WIDTH\n{HEAD}class Net(Base):\n    def find_width(self): return WIDTH\n"
    )
    (tmp_path / "layers.py").write_text("WIDTH = 4\n")
    (tmp_path / "parts" / "__init__.py").touch()
    (tmp_path / "parts" / "inner" / "__init__.py").touch()
    (tmp_path / "parts" / "inner" / "sizes.py").write_text("from ...layers import WIDTH\n")
    variant = f"{tmp_path / 'network.py'}:Net"
    before = source_digest(variant)
    assert len(build_network(variant).width) == 4
    (tmp_path / "layers.py").write_text("WIDTH = 5\n")
    assert source_digest(variant) != before
    assert len(build_network(variant).width) == 5


def test_what_decides_a_network_from_outside_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = write(tmp_path / "a", "through another", 4)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "common_blocks.py").write_text("WIDTH = 4\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    (tmp_path / "a" / "relay.py").write_text(
        "import sys as s, os, json\nimport torch, numpy as np\nfrom pathlib import Path\n"
        "from importlib.machinery import SourceFileLoader\nfrom common_blocks import WIDTH\ns.path.insert(0, '.')\n"
        "def read():\n    torch.manual_seed(7)\n    return json.load(open('x.json'))\n"
        "def read_path(): return Path('x').read_text()\ndef width(): return int(os.environ.get('W', '4'))\n"
        "def load(): return SourceFileLoader('x', 'y').load_module()\ndef weights(): return torch.load('x.pt')\n"
        "def table(): return np.load('x.npy')\ntorch.manual_seed(1)\ndef pool(x): return x.seed\n"
    )
    said = sorted(places(variant, "relay.py"), key=lambda place: int(place.partition(":")[0]))
    assert [place.partition(" comes")[0] for place in said] == [
        "5: common_blocks", "6: sys.path", "8: manual_seed", "9: open", "10: read_text", "11: os.environ",
        "12: load_module", "12: SourceFileLoader", "13: load", "14: load",
    ]  # fmt: skip


def test_what_is_not_as_it_looks_is_said(tmp_path: Path) -> None:
    variant = write(tmp_path, "through another", 4)
    (tmp_path / "queue.py").write_text("WIDTH = 9\n")
    (tmp_path / "relay.py").write_text(
        "from importlib import import_module as load\nfrom sys import path\nimport builtins, queue, random\n"
        "import numpy as np, torch\nWIDTH = 4\nload('layers')\nbuiltins.exec('WIDTH = 4')\n"
        "np.random.default_rng(1)\nrandom.Random(1)\ntorch.Generator()\ndef seeded(): return np.random.rand()\n"
    )
    assert sorted(places(variant, "relay.py"), key=lambda place: int(place.partition(":")[0])) == [
        "2: sys.path",
        "3: queue is Python's own module, not queue.py beside this file; rename that file",
        "6: import_module",
        "7: exec",
        "8: default_rng",
        "9: Random",
        "10: Generator",
    ]
