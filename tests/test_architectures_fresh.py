"""What a process holds differs from what its file says: no network gets the trial of another one."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.architectures import source_digest
from orchestrator.architectures.locate import name_of
from orchestrator.errors import VariantError
from orchestrator.spec import TrialSpec
from orchestrator.trial.source import refuse_edited_since_trained

NET = """
from torch import nn
WIDTH = 8
NAMES = []
NAMES.append("Net")
def made(num_classes):
    return nn.Linear(WIDTH, num_classes)
class Net(nn.Module):
    depth = 1
    def __init__(self, num_classes=10):
        super().__init__()
        self.head = made(num_classes) if NAMES else None
    def forward(self, x):
        return self.head(x)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A user's module, imported; it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "freshly.py").write_text(NET)
    importlib.invalidate_caches()
    yield importlib.import_module("freshly")
    del sys.modules["freshly"]


def test_a_changed_constant_of_a_module_is_refused(module: ModuleType) -> None:
    """Workers import the file, and would not see it; also where only a function that the class calls uses it."""
    digest = source_digest("freshly:Net")
    module.WIDTH = 32  # type: ignore[attr-defined]
    with pytest.raises(VariantError, match=r"WIDTH of freshly is 32 here, and .*freshly\.py sets it to 8"):
        source_digest("freshly:Net")
    module.WIDTH = 8  # type: ignore[attr-defined]
    assert source_digest("freshly:Net") == digest


@pytest.mark.parametrize("edit", [("super().__init__()", "super().__init__(); self.a = 1"), ("WIDTH = 8", "WIDTH = 9")])
def test_an_edit_between_import_and_first_use_is_refused(module: ModuleType, edit: tuple[str, str]) -> None:
    file = Path(str(module.__file__))
    file.write_text(NET.replace(*edit))
    with pytest.raises(VariantError, match=r"edited since it was imported|WIDTH of freshly is 8 here"):
        source_digest("freshly:Net")
    importlib.reload(module)
    assert source_digest("freshly:Net") == source_digest("freshly:Net")


@pytest.mark.parametrize(
    "override",
    ["try:\n    from settings_of_mine import *\nexcept ImportError:\n    pass", "globals().update(WIDTH=32)"],
    ids=["star import", "globals()"],
)
def test_a_constant_that_its_own_file_overrides_is_none(override: str, tmp_path: Path, module: ModuleType) -> None:
    (tmp_path / "settings_of_mine.py").write_text("WIDTH = 32")
    Path(str(module.__file__)).write_text(f"{NET}\n{override}\n")
    importlib.reload(module)
    assert module.WIDTH == 32
    assert source_digest("freshly:Net")


AWKWARD = """
class Settings(dict):
    __getattr__ = dict.__getitem__
SETTINGS = Settings(width=8)
class Lazy:
    def __getattr__(self, name):
        raise ModuleNotFoundError(name)
onnx = Lazy()
"""


def test_objects_of_a_module_that_look_up_attributes_themselves_are_left_alone(module: ModuleType) -> None:
    Path(str(module.__file__)).write_text(NET + AWKWARD)
    importlib.reload(module)
    assert source_digest("freshly:Net")


def test_the_same_code_further_down_is_no_edit(module: ModuleType) -> None:
    Path(str(module.__file__)).write_text("\n\n# The same code\n" + NET)
    assert source_digest("freshly:Net")


def test_a_class_that_autoreload_has_updated_is_found_by_its_name(module: ModuleType) -> None:
    """It is another object than the module's, with the same content; an older one is called so."""
    before = module.Net
    importlib.reload(module)
    assert before is not module.Net
    assert name_of(before) == "freshly:Net"
    file = Path(str(module.__file__))
    file.write_text(NET.replace("depth = 1", "depth = 2"))
    importlib.reload(module)
    with pytest.raises(VariantError, match=r"Net is an older version of freshly\.Net: import it again"):
        name_of(before)
    before.depth = 2
    assert name_of(before) == "freshly:Net"


def test_weights_outlive_an_update_of_the_library() -> None:
    """They are loaded strictly; a class of the user's that the library's network is given may still not be edited."""
    refuse_edited_since_trained(TrialSpec(variant="torchvision:resnet18", source_digest="that of an older version"))
    given = {"norm_layer": {"class": "torch.nn:BatchNorm2d"}}
    with pytest.raises(VariantError, match="has changed since"):
        refuse_edited_since_trained(TrialSpec(variant="torchvision:resnet18", arguments=given, source_digest="another"))
