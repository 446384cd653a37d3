"""Stateless random numbers: SplitMix64 to the bit, the same in any batch, and as uniform as they should be."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.data.random_numbers import integers, mix, mix_one, random_bits, uniform

MASK = (1 << 64) - 1


def splitmix64(state: int) -> int:
    """One output of the reference algorithm, written out in plain integers."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_published_first_outputs_of_seed_0() -> None:
    state, outputs = 0, []
    for _ in range(3):
        outputs.append(splitmix64(state))
        state = (state + 0x9E3779B97F4A7C15) & MASK
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.integers(-(2**63), 2**63 - 1))
def test_mix_is_splitmix64(bits: int) -> None:
    ours = int(mix(torch.tensor(bits)))
    assert ours & MASK == splitmix64((bits - 0x9E3779B97F4A7C15) & MASK)
    assert mix_one(bits) == ours


@given(st.integers(0, 2**31 - 1), st.integers(0, 10_000), st.integers(1, 12), st.permutations(range(8)))
def test_a_draw_depends_on_nothing_else(seed: int, epoch: int, draws: int, order: list[int]) -> None:
    all_draws = random_bits(seed, epoch, torch.arange(8), 12)
    assert torch.equal(random_bits(seed, epoch, torch.tensor(order), draws), all_draws[order, :draws])


def test_every_part_matters() -> None:
    indices = torch.arange(50)
    streams = [random_bits(s, e, indices, 20).flatten() for s in (0, 1, 2) for e in (0, 1, 2)]
    everything = torch.cat(streams)
    assert len(everything.unique()) == len(everything)


@pytest.mark.parametrize("along", ["draws", "indices", "epochs", "seeds"])
def test_uniform_along_every_direction(along: str) -> None:
    n = 20_000
    numbers = {
        "draws": lambda: uniform(1, 1, torch.tensor([7]), n)[0],
        "indices": lambda: uniform(1, 1, torch.arange(n), 1)[:, 0],
        "epochs": lambda: torch.cat([uniform(1, e, torch.tensor([7]), 1)[0] for e in range(2000)]),
        "seeds": lambda: torch.cat([uniform(s, 1, torch.tensor([7]), 1)[0] for s in range(2000)]),
    }[along]()
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    assert stats.kstest(numbers.numpy(), "uniform").pvalue > 0.001
    neighbours = torch.corrcoef(torch.stack((numbers[1:], numbers[:-1])))[0, 1]
    assert abs(float(neighbours)) < 4 / len(numbers) ** 0.5


@given(st.integers(-2000, 2000), st.integers(0, 2000))
def test_integers_stay_within_both_ends(low: int, room: int) -> None:
    ends = torch.tensor([0.0, 1 - 2.0**-24])
    assert integers(ends, low, low + room).tolist() == [low, low + room]
