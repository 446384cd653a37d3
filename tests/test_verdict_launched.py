"""A launch of five seeds on handwritten digits, one of whose variants is crippled: the verdict from file to page."""

import json
import os
from pathlib import Path

import pytest
from driving import orchestrator

import orchestrator as orc

NETWORKS = '''
import torch.nn as nn


class Wide(nn.Module):
    """A small network that learns digits in seconds."""

    def __init__(self, num_classes=10, width=24):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Flatten(), nn.Linear(width * 64, num_classes),
        )

    def forward(self, x):
        return self.net(x)


class Narrow(Wide):
    def __init__(self, num_classes=10):
        super().__init__(num_classes, width=20)


class Crippled(Wide):
    """Sees a corner of each image only."""

    def forward(self, x):
        corner = x.clone()
        corner[:, :, 8:, :] = 0
        return self.net(corner)
'''
EXPERIMENT = """
name: crippled
variants: ["networks.py:Wide", "networks.py:Narrow", "networks.py:Crippled"]
seeds: [0, 1, 2, 3, 4]
dataset: {name: digits}
trainer: {epochs: 3, batch_size: 64, optimizer: {lr: 0.1}}
verdict: {margin: 0.01}
tracking: {models: none, reports: none}
"""


@pytest.mark.slow
@pytest.mark.ray
def test_every_variant_is_better_than_the_crippled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "networks.py").write_text(NETWORKS)
    (tmp_path / "crippled.yaml").write_text(EXPERIMENT)
    ran = orchestrator("run", "crippled.yaml", "--quiet", "--json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    verdict = document["verdict"]
    pairs = {(pair["a"], pair["b"]): pair for pair in verdict["pairs"]}
    for name in ("Wide", "Narrow"):
        pair = pairs[name, "Crippled"]
        assert pair["decision"] == "better"
        assert pair["n"] == 5
        assert pair["p_adjusted"] <= 0.05
        assert pair["low"] > 0
        assert pair["low_both"] > 0  # of these images and of others
        assert pair["p_a_beats_b"] == 1
    assert "Crippled" not in verdict["leaders"]
    assert verdict["equivalence_margin"] == 0.01
    assert verdict["variants"][-1]["variant"] == "Crippled"
    assert all(row["forward_seconds"] > 0 for row in verdict["variants"])
    assert {"parameters", "macs", "seconds", "forward_seconds", "forward_seconds_batched"} == verdict["front"].keys()

    monkeypatch.chdir(tmp_path)
    results = orc.load("crippled", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    assert results.to_dict() == document
    against = results.compare(baseline="Crippled", confidence=0.9)
    assert {pair.b for pair in against.verdict.pairs} == {"Crippled"}
    assert against.sentence.startswith("Better than the baseline Crippled: ")
    assert results.compare().pairs()["decision"].tolist().count("better") == 2
    assert results.compare().table()["variant"].tolist() == [row["variant"] for row in verdict["variants"]]

    page = orchestrator("compare", "crippled", "--html", "page.html", "--figure", "figure.svg", cwd=tmp_path)
    assert page.returncode == 0, page.stderr
    assert "no images" not in page.stderr  # the digits are at hand
    assert "Crippled" in (tmp_path / "page.html").read_text()
    table = orchestrator("compare", "crippled", "--baseline", "Crippled", cwd=tmp_path).stdout
    assert table.count(" better") >= 2
