"""A folder's trial is given only to the network that it is of, also where the source does not tell networks apart."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

import orchestrator as orc
from orchestrator.architectures.files import file_digest
from orchestrator.errors import StorageError

SCRIPT = """
import json, logging, sys, threading
from collections import defaultdict
import torch.nn.functional as F
from torch import nn
import orchestrator
from orchestrator.errors import StorageError

class Head(nn.Module):
    def __init__(self, width=4, num_classes=3):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, width, 3, stride=4), nn.Linear(width, num_classes)
    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))

cfg = {}
class Dict(Head):
    def __init__(self, num_classes=3):
        super().__init__(cfg["width"], num_classes)
class Config:
    width = 4
class Attribute(Head):
    def __init__(self, num_classes=3):
        super().__init__(Config.width, num_classes)
class Nested(Head):
    class Inner:
        def __init__(self):
            self.width = width
    def __init__(self, num_classes=3):
        super().__init__(self.Inner().width, num_classes)
class Activation(Head):
    def forward(self, x):
        return self.head(getattr(F, activation)(self.conv(x)).mean((2, 3)))
class Dropout(Head):
    def forward(self, x):
        return self.head(F.dropout(self.conv(x), probability, self.training).mean((2, 3)))

logger, lock, KINDS = logging.getLogger(__name__), threading.Lock(), {"relu", "gelu", "silu", "elu"}
COUNTS, CALLS, CACHE = {"built": 0}, 0, defaultdict(dict)
class Same(Head):
    def __init__(self, num_classes=3):
        assert "relu" in KINDS and verbose in (True, False)
        super().__init__(4, num_classes)
        COUNTS["built"] += 1
    def forward(self, x):
        global CALLS
        CALLS += 1
        with lock:
            CACHE[x.shape]["seen"] = True
            logger.debug("called")
        return super().forward(x)

def outcome(network):
    try:
        return len(orchestrator.train(network, dataset="tiny.pt", epochs=1, batch_size=32, threads=1).epochs())
    except StorageError as problem:
        return str(problem)

found = {}
for width, activation, probability, verbose in ((4, "relu", 0.1, True), (8, "gelu", 0.6, False)):
    cfg["width"] = Config.width = width
    for network in (Dict, Attribute, Nested, Activation, Dropout, Same):
        found.setdefault(network.__name__, []).append(outcome(network))
print(json.dumps(found))
"""


def test_a_script_that_changes_what_its_network_uses_does_not_get_the_earlier_trial(packed: Path) -> None:
    (packed.parent / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=packed.parent, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("Same") == [1, 1]  # what a network counts, keeps or logs makes no other of it
    for name, (first, second) in found.items():
        assert first == 1
        assert "computes something else now, from the same source" in second, name
    digests = {json.loads(spec.read_text())["source_digest"] for spec in packed.parent.glob("trials/*/*/spec.json")}
    assert digests == {file_digest(packed.parent / "script.py")}


NET = """
import os
from torch import nn
SETTINGS = {"width": 4}
class Net(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, SETTINGS["width"], 3, stride=4), nn.Linear(SETTINGS["width"], num_classes)
        self.slope = float(os.environ.get("SLOPE", 0))
    def forward(self, x):
        return self.head(nn.functional.leaky_relu(self.conv(x), self.slope).mean((2, 3)))
"""


def test_a_changed_variable_of_the_environment_is_noticed(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = packed.parent / "net.py", packed.parent / "trial"
    file.write_text(NET)

    def train() -> None:
        orc.train(f"{file}:Net", dataset=str(packed), epochs=1, batch_size=32, threads=1, out=out)

    train()
    train()
    monkeypatch.setenv("SLOPE", "0.5")
    with pytest.raises(StorageError, match="depends on a value that the source does not say; pass that value"):
        train()
    (out / "initial.json").write_text("{damaged")
    train()  # nothing to compare with


def test_a_changed_container_of_a_module_is_noticed(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (packed.parent / "netted.py").write_text(NET)
    monkeypatch.chdir(packed.parent)
    monkeypatch.syspath_prepend(str(packed.parent))
    import netted  # type: ignore[import-not-found]

    orc.train(netted.Net, dataset=str(packed), epochs=1, batch_size=32, threads=1)
    netted.SETTINGS["width"] = 8
    with pytest.raises(StorageError, match="computes something else now"):
        orc.train(netted.Net, dataset=str(packed), epochs=1, batch_size=32, threads=1)
    del sys.modules["netted"]
