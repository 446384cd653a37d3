"""A project that names everything by relative paths: its networks and images from the experiment."""

import json
from pathlib import Path
from typing import Any

import torch
from conftest import make_dataset

from orchestrator.data import save_packed

# Reads files of the working directory when it is made and when it is called; how slow it is, a file says.
NETWORK = """
import time
from pathlib import Path

import torch
from torch import nn

import shared


class Net(nn.Module):
    def __init__(self, num_classes=3, width=6):
        super().__init__()
        classes = open("classes.txt").read().split()
        assert len(classes) == num_classes
        first = nn.Conv2d(3, width, 3, stride=4)
        first.load_state_dict({**first.state_dict(), "bias": torch.load("weights/bias.pt")[:width]})
        self.net = nn.Sequential(first, shared.Norm(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        pace = Path("pace")
        if self.training and pace.exists():
            time.sleep(float(pace.read_text()))
        return self.head(self.net(x) * float(Path("scale.txt").read_text()))
"""
EXPERIMENT: dict[str, Any] = {
    "name": "placed",
    "variants": [
        {"name": "nets/net.py:Net", "as": "wide", "arguments": {"width": 8}},
        {"name": "nets/net.py:Net", "as": "narrow"},
    ],
    "seeds": [0, 1],
    "dataset": {"name": "images.pt"},
    "trainer": {"epochs": 3, "batch_size": 32, "optimizer": {"lr": 0.1}},
    "verdict": {"baseline": "narrow"},
    "contract": {"max_parameters": 10_000},
}


def make_project(home: Path) -> Path:
    for place, text in {
        "exp/nets/net.py": NETWORK,
        "exp/nets/shared.py": "from torch.nn import BatchNorm2d as Norm\n",
        "exp/placed.yaml": json.dumps(EXPERIMENT),
        "classes.txt": "a b c",
        "scale.txt": "1.5",
    }.items():
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text(text)
    (home / "weights").mkdir()
    torch.save(torch.ones(16), home / "weights" / "bias.pt")
    save_packed(make_dataset(), home / "exp" / "images.pt")
    return home
