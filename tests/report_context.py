"""A made-up trial for tests of reports: odd names, every kind of figure, no training."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import torch
from torch import Tensor, nn

from orchestrator import records as keys
from orchestrator.analysis import analyse
from orchestrator.data import Dataset, Split
from orchestrator.records import Outcome, Record, Status
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.report import render_report
from orchestrator.spec import Recipe, TrialSpec

CLASSES = ("cat", "<script>alert('class')</script>", "$x_1$ | y", "猫", "a very long name of a class, " * 4)


class Net(nn.Module):
    """A block, two branches that are added, and global pooling."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.output = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.output(x + self.branch(x))


def invert(images: Tensor, indices: Tensor, epoch: int) -> Tensor:
    """An augmentation that can be seen."""
    assert images.dtype == torch.uint8
    assert len(images) == len(indices)
    return 255 - images if epoch % 2 else images.float()


def make_dataset(classes: tuple[str, ...] = CLASSES, count: int = 60, size: tuple[int, int] = (12, 12)) -> Dataset:
    stream = torch.Generator().manual_seed(0)

    def split() -> Split:
        images = torch.randint(0, 256, (count, 3, *size), generator=stream, dtype=torch.uint8)
        return Split(images, torch.arange(count) % len(classes))

    return Dataset("noise", split(), split(), classes)


def make_records(epochs: int, evaluated: str = "val", final: bool = True) -> list[Record]:
    made = [
        Record(
            epoch,
            float(epoch),
            {
                keys.TRAIN_LOSS: 2 / epoch,
                keys.TRAIN_ACCURACY: 1 - 0.9 / epoch,
                f"{evaluated}/loss": 2.2 / epoch,
                f"{evaluated}/accuracy": 0.8 - 0.6 / epoch - (0.1 if epoch == epochs > 1 else 0),
                f"{evaluated}/top5_accuracy": 0.9 - 0.3 / epoch,
                keys.LR: 0.1 / epoch,
                keys.IMAGES_PER_SECOND: 1000.0 + epoch,
            },
        )
        for epoch in range(1, epochs + 1)
    ]
    if final:
        best = float(max(1, epochs - 1))
        metrics = {keys.TEST_ACCURACY: 0.5, keys.TEST_LOSS: 1.0, keys.BEST_EPOCH: best}
        if evaluated == "test":  # the published protocol: the last epoch holds the test figures
            metrics = {keys.PUBLISHED_BEST: 0.65, keys.BEST_EPOCH: float(epochs)}
        made.append(Record(epochs, epochs + 1.0, metrics, final=True))
    return made


def make_context(dataset: Dataset | None = None, **changes: object) -> ReportContext:
    """A complete trial; ``changes`` replace parts of it."""
    dataset = dataset or make_dataset()
    torch.manual_seed(0)
    network = Net(len(dataset.classes)).eval()
    spec = TrialSpec(variant="networks.py:<b>Net<b>", seed=3, trainer=Recipe(epochs=5))
    whole = ReportContext(
        spec=spec,
        records=make_records(5),
        dataset=dataset,
        logits=3 * torch.randn(len(dataset.test), len(dataset.classes)),
        network=network,
        training_indices=torch.arange(len(dataset.train) * 5 // 6),
        mean=(0.5, 0.5, 0.5),
        std=(0.3, 0.3, 0.3),
        augmentation=invert,
        analysis=analyse(network, dataset.shape),
        outcome=Outcome(spec.name, Status.COMPLETE),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def rendered(context: ReportContext, folder: Path) -> tuple[set[str], str]:
    """Render without a single warning; returns the figures' names and the page."""
    warnings: list[str] = []
    render_report(context, folder, warnings.append)
    assert warnings == []
    return {path.stem for path in (folder / "figures").glob("*.png")}, (folder / "report.html").read_text("utf-8")


class Page(HTMLParser):
    """Checks that tags are balanced; collects tags, attributes and text."""

    VOID = frozenset({"meta", "img", "br", "hr", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


REASON = "<script>alert('reason')</script> \"quoted\" & more"
