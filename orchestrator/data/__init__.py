"""Images: where they come from, how they are split, normalised and augmented. Needs only torch to be imported."""

from typing import TYPE_CHECKING

from orchestrator import lazy

if TYPE_CHECKING:
    from orchestrator.data.augment.base import Augmentation
    from orchestrator.data.augment.build import build_augmentation, check_transforms
    from orchestrator.data.dataset import Dataset, Split
    from orchestrator.data.normalisation import Normalisation, apply, measure
    from orchestrator.data.packed import save_packed
    from orchestrator.data.sources import load_dataset
    from orchestrator.data.validation_split import train_validation_indices

__all__ = [
    "Augmentation",
    "Dataset",
    "Normalisation",
    "Split",
    "apply",
    "build_augmentation",
    "check_transforms",
    "load_dataset",
    "measure",
    "save_packed",
    "train_validation_indices",
]
__getattr__ = lazy.names(
    __name__,
    {
        "Augmentation": "augment.base",
        "Dataset": "dataset",
        "Normalisation": "normalisation",
        "Split": "dataset",
        "apply": "normalisation",
        "build_augmentation": "augment.build",
        "check_transforms": "augment.build",
        "load_dataset": "sources",
        "measure": "normalisation",
        "save_packed": "packed",
        "train_validation_indices": "validation_split",
    },
)
