"""Networks with recurrent layers, and with casts by torch.autocast: all that they compute is counted and seen."""

import pytest
import torch
from torch import Tensor, nn

from orchestrator.analysis.network import analyse

MEAN = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)
GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}


class Recurrent(nn.Module):
    """Goes through the positions of an image, from a first state of zeros."""

    def __init__(self, kind: type[nn.RNNBase], both: bool, layers: int) -> None:
        super().__init__()
        self.states = kind(3, 5, layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(5 * (1 + both), 10)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.states(x.flatten(2).transpose(1, 2))[0].mean(1))
        return found


class Cast(nn.Module):
    """Computes in bfloat16, after a constant that is only on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 16, 3), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            found: Tensor = self.head(torch.relu(self.conv(x - MEAN)).mean((2, 3)))
        return found


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_every_step_of_a_recurrent_layer_counts(kind: type[nn.RNNBase], both: bool, layers: int) -> None:
    """The product of the weights with the first state, which is zeros, as those with all others."""
    directions, gates = 1 + both, 5 * GATES[kind]
    inputs = [3, 5 * directions][:layers]
    expected = sum(4 * 4 * directions * gates * (width + 5) for width in inputs) + 5 * directions * 10
    assert analyse(Recurrent(kind, both, layers), (3, 4, 4)).macs == expected


def test_casts_and_a_constant_on_the_cpu_leave_a_receptive_field() -> None:
    found = analyse(Cast(), (3, 32, 32))
    assert (found.receptive_field.features, found.receptive_field.reason, found.traced_by) == (3, "", "hooks")
    assert not found.hidden
