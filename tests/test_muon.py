"""Muon against torch's own Muon and AdamW, and against the singular value decomposition."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from orchestrator.training import muon
from orchestrator.training.muon import Muon, orthogonal

SETTINGS = {"lr": 0.01, "weight_decay": 0.1, "betas": (0.9, 0.95), "eps": 1e-8}


@given(rows=st.integers(1, 40), columns=st.integers(1, 300), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_it_turns_as_the_singular_vectors_and_gives_them_all_nearly_the_same_weight(
    rows: int, columns: int, scale: float
) -> None:
    torch.manual_seed(rows * 1000 + columns)
    left = torch.linalg.qr(torch.randn(rows, min(rows, columns))).Q
    right = torch.linalg.qr(torch.randn(columns, min(rows, columns))).Q
    singular = torch.empty(min(rows, columns)).uniform_(0.1, 1)
    result = left.T @ orthogonal([scale * left * singular @ right.T])[0] @ right
    assert result.diagonal().min() > 0.6
    assert result.diagonal().max() < 1.3
    assert (result - result.diagonal().diag()).abs().max() < 1e-3


def test_no_gradient_is_no_step_and_not_a_number_stays_one() -> None:
    assert orthogonal([torch.zeros(3, 5)])[0].eq(0).all()
    assert orthogonal([torch.full((3, 5), torch.nan)])[0].isnan().all()


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (64, 3, 3, 3), (16, 32, 1, 1)])
def test_a_kernel_moves_as_torch_moves_it_as_a_matrix(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(shape).to(memory_format=torch.channels_last))
    matrix = nn.Parameter(kernel.detach().reshape(shape[0], -1).clone())
    start = matrix.detach().clone()
    mine = Muon([kernel], momentum=0.95, **SETTINGS)
    theirs = torch.optim.Muon([matrix], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        gradient = torch.randn(shape)
        kernel.grad, matrix.grad = gradient, gradient.reshape(matrix.shape)
        mine.step()
        theirs.step()
    moved, expected = kernel.detach().reshape(matrix.shape) - start, matrix.detach() - start
    assert torch.nn.functional.cosine_similarity(moved.flatten(), expected.flatten(), dim=0) > 0.999
    assert moved.norm().item() == pytest.approx(expected.norm().item(), rel=0.02)  # torch computes in bfloat16


@pytest.mark.parametrize("shape", [(8, 1, 3, 3), (10, 32)])
def test_depthwise_kernels_and_linear_layers_move_as_by_adamw(shape: tuple[int, ...]) -> None:
    assert torch.allclose(*after_steps(shape, decay=0.1), atol=1e-6)


def test_vectors_move_as_by_adamw_without_decay() -> None:
    assert torch.allclose(*after_steps((16,), decay=0.0), atol=1e-6)


@pytest.mark.parametrize("foreach", [False, True])
def test_complex_parameters_move_as_by_adamw(foreach: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one, as torch updates them here by default, or all at once, as it does on a GPU."""
    monkeypatch.setattr(muon, "adamw", partial(muon.adamw, foreach=foreach))
    assert torch.allclose(*after_steps((4, 5), decay=0.1, dtype=torch.complex64), atol=1e-6)


def after_steps(shape: tuple[int, ...], decay: float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Where our optimiser and torch's AdamW, with its own ``decay``, bring the same parameter."""
    torch.manual_seed(0)
    mine, theirs = (nn.Parameter(torch.ones(shape, dtype=dtype)) for _ in range(2))
    optimizers = (
        Muon([mine], momentum=0.95, **SETTINGS),
        torch.optim.AdamW([theirs], **{**SETTINGS, "weight_decay": decay}),
    )
    for _ in range(20):
        mine.grad = theirs.grad = torch.randn(shape, dtype=dtype)
        for optimizer in optimizers:
            optimizer.step()
    assert (mine - 1).abs().max() > 0.01
    return mine.detach(), theirs.detach()
