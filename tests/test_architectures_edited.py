"""A network's source is edited: what is trained is never recorded as what it is not."""

import hashlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.architectures import build_network, load_network, source_digest
from orchestrator.architectures.files import package_digest
from orchestrator.errors import VariantError

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
    importlib.invalidate_caches()
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
