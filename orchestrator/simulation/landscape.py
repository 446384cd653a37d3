"""What searched settings do to a simulated trial: a bowl in each of them, and how fast it learns."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

from orchestrator.experiment.distributions import extremes
from orchestrator.simulation.curves import stream
from orchestrator.spec import Distribution
from orchestrator.spec.distribution import LOGARITHMIC

INNER = 0.2, 0.8  # where in its range the optimum of a setting may lie
SHIFT = 0.1  # how far, at most, the optimum of one variant lies from what variants have in common


@dataclass(frozen=True)
class Landscape:
    """What the settings in ``space`` are worth in the world ``world``, by variant."""

    space: Mapping[str, Distribution]
    world: str

    def loss(self, variant: str, settings: Mapping[str, Any]) -> float:
        """Sum over the settings: 0 at the optimum, 1 at the far end of a range or for the worst choice."""
        return sum(self._loss(variant, path, value) for path, value in settings.items() if path in self.space)

    def slowness(self, variant: str, settings: Mapping[str, Any]) -> float:
        """Mean over the settings of how slowly they make the network learn: from -1 to 1, linear in each."""
        known = [path for path in settings if path in self.space]
        if not known:
            return 0.0
        return sum(self._tilt(path) * (2 * self._position(path, settings[path]) - 1) for path in known) / len(known)

    def _loss(self, variant: str, path: str, value: Any) -> float:
        choices = self.space[path].choice
        if choices is not None:
            levels = [_number(self.world, "choice", variant, path, json.dumps(choice)) for choice in choices]
            level = _number(self.world, "choice", variant, path, json.dumps(value))
            return (level - min(levels)) / max(max(levels) - min(levels), 1e-9)
        low, high = INNER
        common = low + SHIFT + (high - low - 2 * SHIFT) * _number(self.world, "optimum", path)
        optimum = common + SHIFT * (2 * _number(self.world, "optimum", path, variant) - 1)
        return float(((self._position(path, value) - optimum) / max(optimum, 1 - optimum)) ** 2)

    def _tilt(self, path: str) -> float:
        return 2 * _number(self.world, "tilt", path) - 1

    def _position(self, path: str, value: Any) -> float:
        """Where ``value`` lies in its range, from 0 to 1; logarithmically where it is drawn so."""
        distribution = self.space[path]
        if distribution.choice is not None:
            return _number(self.world, "position", path, json.dumps(value))
        if (normal := distribution.normal) is not None:
            return NormalDist(*normal).cdf(value)
        low, high = extremes(distribution)
        if distribution.kind in LOGARITHMIC:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return float(min(max((value - low) / max(high - low, 1e-12), 0.0), 1.0))


@lru_cache(maxsize=10_000)
def _number(*parts: str) -> float:
    """A number between 0 and 1 that depends on ``parts`` only."""
    return float(stream(*parts).random())
