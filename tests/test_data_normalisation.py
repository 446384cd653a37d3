"""Normalisation against numpy in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data import Normalisation, measure, train_validation_indices
from orchestrator.data.arrays import from_arrays, to_arrays
from orchestrator.data.normalisation import apply, from_sums


@st.composite
def image_batches(draw) -> torch.Tensor:
    shape = (draw(st.integers(1, 9)), 3, draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    seed, low, span = draw(st.integers(0, 10**6)), draw(st.integers(0, 255)), draw(st.integers(1, 256))
    stream = torch.Generator().manual_seed(seed)
    return torch.randint(low, min(low + span, 256), shape, generator=stream, dtype=torch.uint8)


def oracle(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    values = images.numpy().astype(np.float64) / 255
    return values.mean(axis=(0, 2, 3)), values.std(axis=(0, 2, 3))


@given(image_batches())
def test_figures_are_numpys(images):
    mean, std = oracle(images)
    measured = measure(images)
    np.testing.assert_allclose(measured.mean, mean, rtol=1e-12)
    varies = np.array([len(images[:, c].unique()) > 1 for c in range(3)])
    np.testing.assert_allclose(np.array(measured.std)[varies], std[varies], rtol=1e-9)
    np.testing.assert_array_equal(np.array(measured.std)[~varies], 1 / 255)


def test_figures_do_not_depend_on_how_the_images_are_cut_into_parts(monkeypatch):
    images = torch.randint(0, 256, (50, 3, 5, 5), dtype=torch.uint8)
    whole = measure(images)
    monkeypatch.setattr("orchestrator.data.normalisation.SUMMED_AT_A_TIME", 7)
    assert measure(images) == whole


def test_figures_of_a_split_come_from_sums_worked_out_once(dataset):
    """Every trial of a launch normalises what it learns from without reading the images for it."""
    handed_over = from_arrays(to_arrays(dataset))
    for seed in range(3):
        learned, _ = train_validation_indices(dataset.train.labels, 0.3, seed)
        expected = measure(dataset.train.images[learned])
        assert from_sums(handed_over.sums[learned], 16 * 16) == expected


@given(image_batches(), st.sampled_from([torch.uint8, torch.float32, torch.float16, torch.float64]))
def test_applied_to_bytes_and_floats_it_is_numpys_too(images, dtype):
    measured = measure(images)
    result = apply(images.to(dtype), measured)
    assert result.dtype == torch.float32
    mean, std = (np.array(figures).reshape(1, 3, 1, 1) for figures in (measured.mean, measured.std))
    expected = (images.numpy().astype(np.float64) / 255 - mean) / std
    np.testing.assert_allclose(result.numpy(), expected, atol=2e-4, rtol=1e-5)  # float32 at up to 255 grey levels


def test_normalised_images_have_mean_zero_and_variance_one():
    images = torch.randint(20, 200, (64, 3, 8, 8), dtype=torch.uint8)
    result = apply(images, measure(images)).double()
    torch.testing.assert_close(result.mean(dim=(0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(result.std(dim=(0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-5, rtol=0)


def test_memory_format_is_kept():
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    assert apply(images, measure(images)).is_contiguous(memory_format=torch.channels_last)
    assert apply(images.contiguous(), measure(images)).is_contiguous()


def test_gradients_flow_even_after_a_first_use_in_inference():
    normalisation = Normalisation((0.1, 0.2, 0.3), (0.2, 0.25, 0.5))
    images = torch.rand(2, 3, 4, 4) * 255
    with torch.inference_mode():
        apply(images, normalisation)
    images.requires_grad_()
    apply(images, normalisation).sum().backward()
    expected = torch.tensor([1 / (255 * 0.2), 1 / (255 * 0.25), 1 / (255 * 0.5)]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    torch.testing.assert_close(images.grad, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_works_where_the_images_are():
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    normalisation = measure(images.cuda())
    torch.testing.assert_close(apply(images.cuda(), normalisation).cpu(), apply(images, normalisation))
