"""Small images, and data sets as they are read: for tests of what data is made of."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from orchestrator.data import Dataset, load_dataset
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec

T = TypeVar("T")


def pixels(seed: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(source: np.ndarray | Image.Image, kind: str = "PNG") -> bytes:
    image = source if isinstance(source, Image.Image) else Image.fromarray(source)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def encoded(seed: int, kind: str = "PNG") -> bytes:
    return encode(pixels(seed, 8, 8), kind)


def expected(seeds: range) -> torch.Tensor:
    return torch.stack([torch.from_numpy(pixels(seed)).permute(2, 0, 1) for seed in seeds])


def read(name: str | Path, data_dir: Path = Path("nowhere"), **settings: Any) -> Dataset:
    return load_dataset(DatasetSpec(name=str(name), **settings), data_dir)


def attempt(action: Callable[[], T]) -> T | DataError:
    try:
        return action()
    except DataError as refused:
        return refused
