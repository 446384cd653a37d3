"""The published pipeline, rebuilt: PyTorch's DataLoader, one picture at a time through Albumentations, float32."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from orchestrator.architectures import build_network
from orchestrator.spec import Optimizer, Recipe, Schedule

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10, as the reports give them
PIPELINE: tuple[dict[str, dict[str, Any]], ...] = (  # the limits that the reports leave open are Albumentations' own
    {"HorizontalFlip": {"p": 0.5}},
    {"ShiftScaleRotate": {"shift_limit": 0.0625, "scale_limit": 0.1, "rotate_limit": 45, "p": 0.5}},
    {
        "CoarseDropout": {
            "num_holes_range": [1, 1],
            "hole_height_range": [16, 16],
            "hole_width_range": [16, 16],
            "fill": [125, 123, 114],
            "p": 0.5,
        }
    },
)
Settings = tuple[int, Optimizer]  # images of a batch, and the optimiser
SETTINGS: dict[str, Settings] = {  # as published; `stride` does not state its own
    "stride": (128, Optimizer(name="adam", lr=0.001, weight_decay=0.0)),
    "grouped_concat": (128, Optimizer(name="adam", lr=0.01, weight_decay=1e-5)),
    "dilated_separable": (64, Optimizer(lr=0.07, weight_decay=0.0)),
    "dilated_stride": (128, Optimizer(lr=0.01, weight_decay=0.0)),
    "depthwise_stride": (16, Optimizer(name="rmsprop", lr=0.01, momentum=0.0, weight_decay=0.0)),
}


def recipe(variant: str, epochs: int = 1) -> Recipe:
    """The same recipe as ours says it; the learning rate stays where it is, for it costs nothing."""
    batch_size, optimizer = SETTINGS[variant]
    return Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule=Schedule(name="constant"),
        augmentation=PIPELINE,
        device="cpu",
    )


class Pictures(TorchDataset[tuple[Tensor, int]]):
    """uint8 pictures (N, H, W, 3) as arrays, augmented, normalised and made a tensor one at a time."""

    def __init__(self, images: Tensor, labels: Tensor, augmented: bool) -> None:
        import albumentations as A
        import cv2

        cv2.setNumThreads(0)
        self.images = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = labels.tolist()
        steps = [getattr(A, name)(**given) for entry in PIPELINE for name, given in entry.items()] if augmented else []
        self.transform = A.Compose([*steps, A.Normalize(MEAN, STD), A.ToTensorV2()])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(image=self.images[index])["image"], self.labels[index]


def optimizer_for(s: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """torch's optimiser with its own defaults for how it is carried out."""
    if s.name == "adam":
        return torch.optim.Adam(network.parameters(), s.lr, weight_decay=s.weight_decay)
    if s.name == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), s.lr)
    return torch.optim.SGD(network.parameters(), s.lr, s.momentum, weight_decay=s.weight_decay)


class Pipeline:
    """One network in training as the reports train it; ``settings`` are a batch size and an optimiser."""

    def __init__(
        self,
        variant: str,
        images: Tensor,
        labels: Tensor,
        settings: Settings,
        seed: int = 0,
        workers: int = 0,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.network = build_network(variant).to(device)
        self.optimizer = optimizer_for(settings[1], self.network)
        self.loader = DataLoader(Pictures(images, labels, True), settings[0], shuffle=True, num_workers=workers)

    def train(self) -> tuple[float, float]:
        """One epoch: every step reads its loss and its hits back. Returns mean loss and accuracy (fraction)."""
        self.network.train()
        total, hits, seen = 0.0, 0, 0
        for batch, labels in self.loader:
            self.optimizer.zero_grad()
            labels = labels.to(self.device)
            logits = self.network(batch.to(self.device))
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(labels)
            hits += (logits.argmax(dim=1) == labels).sum().item()
            seen += len(labels)
        return total / seen, hits / seen

    def test(self, loader: Any) -> tuple[float, float]:
        """Mean loss and accuracy (fraction) on a test loader, with its own batch size, without gradients."""
        self.network.eval()
        total, hits, seen = 0.0, 0, 0
        with torch.no_grad():
            for batch, labels in loader:
                labels = labels.to(self.device)
                logits = self.network(batch.to(self.device))
                total += F.cross_entropy(logits, labels, reduction="sum").item()
                hits += (logits.argmax(dim=1) == labels).sum().item()
                seen += len(labels)
        return total / seen, hits / seen


def train_whole(
    variant: str,
    seed: int,
    settings: Settings,
    epochs: int,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    workers: int,
    tell: Callable[[dict[str, float]], None],
) -> None:
    """A whole training, the test split read every epoch; ``tell`` is given each epoch's figures."""
    pipeline = Pipeline(variant, *train, settings, seed, workers)
    tests: Any = DataLoader(Pictures(*test, False), settings[0], num_workers=workers)
    for epoch in range(1, epochs + 1):
        loss, accuracy = pipeline.train()
        test_loss, test_accuracy = pipeline.test(tests)
        tell(
            {
                "epoch": epoch,
                "train_loss": loss,
                "train_accuracy": accuracy,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
            }
        )
