"""The report of one trial: every figure, table and page from whole trials, early ends and hostile names."""

import csv
import io
import math
import sys
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor, nn

from orchestrator import records as keys
from orchestrator.contract import analyse
from orchestrator.data import Dataset, Split
from orchestrator.errors import StorageError
from orchestrator.records import Outcome, Record, Status
from orchestrator.reporting import network_tables, report, tables
from orchestrator.reporting.figures import FIGURES, Entry, to_png
from orchestrator.reporting.material import Material
from orchestrator.reporting.pictures import draw_augmentation, draw_misclassified
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


def make_records(epochs: int, judged: str = "val", final: bool = True) -> list[Record]:
    made = [
        Record(
            epoch,
            float(epoch),
            {
                keys.TRAIN_LOSS: 2 / epoch,
                keys.TRAIN_ACCURACY: 1 - 0.9 / epoch,
                f"{judged}/loss": 2.2 / epoch,
                f"{judged}/accuracy": 0.8 - 0.6 / epoch - (0.1 if epoch == epochs > 1 else 0),
                keys.LR: 0.1 / epoch,
            },
        )
        for epoch in range(1, epochs + 1)
    ]
    if final:
        best = float(max(1, epochs - 1))
        metrics = {keys.TEST_ACCURACY: 0.5, keys.TEST_LOSS: 1.0, keys.BEST_EPOCH: best}
        if judged == "test":  # the published protocol: the last epoch holds the test figures
            metrics = {keys.PUBLISHED_BEST: 0.65, keys.BEST_EPOCH: float(epochs)}
        made.append(Record(epochs, epochs + 1.0, metrics, final=True))
    return made


def make_material(dataset: Dataset | None = None, **changes: object) -> Material:
    """A complete trial; ``changes`` replace parts of it."""
    dataset = dataset or make_dataset()
    torch.manual_seed(0)
    network = Net(len(dataset.classes)).eval()
    spec = TrialSpec(variant="networks.py:<b>Net<b>", seed=3, trainer=Recipe(epochs=5))
    whole = Material(
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


def rendered(material: Material, folder: Path) -> tuple[set[str], str]:
    """Render without a single warning; returns the figures' names and the page."""
    warnings: list[str] = []
    render_report(material, folder, warnings.append)
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


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a complete trial, made in a background thread as a launch makes it."""
    folder = tmp_path_factory.mktemp("complete")
    settings = dict(matplotlib.rcParams)
    warnings: list[str] = []
    material = make_material(outcome=Outcome("x", Status.COMPLETE, REASON))
    thread = threading.Thread(target=render_report, args=(material, folder, warnings.append))
    thread.start()
    thread.join()
    assert warnings == []
    assert dict(matplotlib.rcParams) == settings
    return folder


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leave these figures in the table, so that a test that is about one of them is quick."""

    def keep(*names: str) -> None:
        monkeypatch.setattr(report, "FIGURES", {name: FIGURES[name] for name in names})

    return keep


def test_every_figure_and_table_of_a_complete_trial(complete: Path) -> None:
    assert {path.stem for path in (complete / "figures").iterdir()} == set(FIGURES)
    assert {path.name for path in (complete / "tables").iterdir()} == {
        f"{name}.{kind}"
        for name in ("classification_report", "class_accuracy", "layers", "receptive_field")
        for kind in ("csv", "md")
    }
    assert "Not in this report" not in (complete / "report.html").read_text("utf-8")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_decodes_at_its_size_and_shows_something(name: str, complete: Path) -> None:
    figure = FIGURES[name].draw(make_material())
    picture = Image.open(complete / "figures" / f"{name}.png")
    assert picture.size == tuple(int(inches * figure.dpi) for inches in figure.get_size_inches())
    assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_the_page_is_well_formed_self_contained_and_escaped(complete: Path) -> None:
    text = (complete / "report.html").read_text("utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert REASON in page.text
    assert "<b>Net<b>" in page.text
    assert CLASSES[1] in page.text
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in page.sources)
    assert sum(source.startswith("data:") for source in page.sources) == len(FIGURES)
    assert not any(outside in text for outside in ("http:", "https:", "//cdn", "@import", "url("))
    targets = [source[1:] for source in page.sources if source.startswith("#")]
    assert targets == [*FIGURES, "tables"]
    assert all(f'id="{target}"' in text for target in targets)


def test_the_page_states_the_facts(complete: Path) -> None:
    text = " ".join(Page((complete / "report.html").read_text("utf-8")).text)
    analysis = make_material().analysis
    assert analysis is not None
    for fact in ("50.00 %", "5 of 5", "complete", f"{analysis.parameters:,}", "seed 3", "validation 65.00 %"):
        assert fact in text
    assert f"{analysis.receptive_field.output} px" in text


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_trial_that_failed_early_still_gets_a_report(epochs: int, tmp_path: Path) -> None:
    material = make_material(
        records=make_records(epochs, final=False), logits=None, network=None, mean=(), std=(), augmentation=None,
        outcome=Outcome("x", Status.FAILED, "the loss became nan at epoch 1, step 3"),
    )  # fmt: skip
    figures, page = rendered(material, tmp_path)
    assert figures == {"curves", "network", "receptive_field", "class_distribution"}
    assert "the loss became nan" in page
    assert "the trial did not get to its test predictions" in page
    assert not (tmp_path / "tables" / "classification_report.csv").exists()


def test_nothing_but_data_still_gives_a_page(tmp_path: Path) -> None:
    material = make_material(
        records=[], logits=None, network=None, mean=(), std=(), augmentation=None, analysis=None, outcome=None
    )
    figures, page = rendered(material, tmp_path)
    assert figures == {"curves", "class_distribution"}
    assert "unfinished" in Page(page).text


def test_values_that_are_not_numbers_are_left_out_of_the_curves(tmp_path: Path, only: Callable[..., None]) -> None:
    only("curves")
    records = make_records(4)
    broken = dict.fromkeys(records[2].metrics, math.nan) | {keys.LR: math.inf}
    records[2] = replace(records[2], metrics=broken)
    material = make_material(records=records)
    assert [epoch for epoch, _ in material.curve(keys.TRAIN_LOSS)] == [1, 2, 4]
    assert rendered(material, tmp_path)[0] == {"curves"}
    everything = [replace(record, metrics=dict.fromkeys(record.metrics, math.nan)) for record in records]
    assert rendered(make_material(records=everything), tmp_path)[0] == {"curves"}


def test_the_chosen_epoch() -> None:
    assert make_material().chosen_epoch == 4  # as recorded
    assert make_material(records=make_records(5, final=False)).chosen_epoch == 4  # the best validation accuracy
    published = TrialSpec(variant="stride", trainer=Recipe(protocol="published"))
    assert make_material(spec=published, records=make_records(5, "test", final=False)).chosen_epoch == 5
    assert make_material(records=[]).chosen_epoch is None


def test_the_published_protocol_and_curve() -> None:
    spec = TrialSpec(variant="stride", trainer=Recipe(epochs=5, protocol="published"))
    curve = [(epoch, 0.1 * epoch) for epoch in range(1, 9)]
    material = make_material(spec=spec, records=make_records(5, "test"), published=curve)
    texts = [text.get_text() for axes in FIGURES["curves"].draw(material).axes for text in axes.texts]
    assert "published test 80.0 %" in texts
    assert any(text.startswith("test ") for text in texts)
    assert not any("validation" in text for text in texts)


@pytest.mark.parametrize(("final", "accuracy"), [(True, "58.00 %"), (False, "not measured")])
def test_the_test_accuracy_of_the_published_protocol_is_that_of_its_last_epoch(
    final: bool, accuracy: str, tmp_path: Path, only: Callable[..., None]
) -> None:
    only()
    spec = TrialSpec(variant="stride", trainer=Recipe(epochs=5, protocol="published"))
    _, page = rendered(make_material(spec=spec, records=make_records(5, "test", final)), tmp_path)
    text = Page(page).text
    assert text[text.index("Test accuracy") + 1] == accuracy


def test_a_figure_that_fails_costs_one_warning_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: Callable[..., None]
) -> None:
    only("curves", "calibration", "receptive_field")

    def fail(material: Material) -> None:
        raise RuntimeError("planted failure\nsecond line")

    monkeypatch.setitem(report.FIGURES, "calibration", replace(FIGURES["calibration"], draw=fail))
    warnings: list[str] = []
    render_report(make_material(), tmp_path, warnings.append)
    assert warnings == ["figure calibration could not be drawn: RuntimeError: planted failure"]
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"curves", "receptive_field"}
    assert "Calibration: it could not be drawn." in (tmp_path / "report.html").read_text("utf-8")


def test_a_network_that_breaks_costs_its_figure_only(tmp_path: Path, only: Callable[..., None]) -> None:
    only("activation_maps", "network")
    warnings: list[str] = []
    render_report(make_material(network=nn.Linear(2, 2)), tmp_path, warnings.append)
    assert len(warnings) == 1
    assert "figure activation_maps" in warnings[0]
    assert [path.stem for path in (tmp_path / "figures").iterdir()] == ["network"]


def test_predictions_that_are_not_numbers_do_not_cost_the_report(tmp_path: Path, only: Callable[..., None]) -> None:
    only("calibration", "misclassified")
    warnings: list[str] = []
    render_report(make_material(logits=torch.full((60, 5), math.nan)), tmp_path, warnings.append)
    assert (tmp_path / "report.html").exists()
    assert all("could not be" in warning for warning in warnings)


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    material = make_material(logits=None, network=None, analysis=None, augmentation=None)
    with pytest.raises(StorageError, match="file"):
        render_report(material, tmp_path / "file", lambda _: None)


def test_the_classification_report_is_scikit_learns() -> None:
    dataset = make_dataset()
    labels = (torch.arange(60) ** 0.8).long() % len(CLASSES)  # classes of different sizes
    dataset = replace(dataset, test=Split(dataset.test.images, labels))
    material = make_material(dataset)
    rows = list(csv.reader(io.StringIO(tables.classification_report(material).to_csv())))
    expected = precision_recall_fscore_support(material.labels, material.predicted, zero_division=0)
    for position, name in enumerate(CLASSES):
        assert rows[1 + position][0] == name
        np.testing.assert_allclose(
            [float(cell) for cell in rows[1 + position][1:]], [column[position] for column in expected]
        )
    for name, average in (("macro avg", "macro"), ("weighted avg", "weighted")):
        row = next(row for row in rows if row[0] == name)
        wanted = precision_recall_fscore_support(material.labels, material.predicted, average=average, zero_division=0)
        np.testing.assert_allclose([float(cell) for cell in row[1:4]], wanted[:3])
    assert float(rows[-1][3]) == pytest.approx((material.predicted == material.labels).mean())


def test_a_class_without_test_pictures() -> None:
    dataset = make_dataset(("one", "other", "never"))
    labels = torch.arange(60) % 2
    material = make_material(Dataset("x", dataset.train, Split(dataset.test.images, labels), dataset.classes))
    assert tables.classification_report(material).rows[2] == ["never", 0.0, 0.0, 0.0, 0]
    assert tables.class_accuracy(material).rows[2] == ["never", 0, 0, None, None, None]
    for entry in FIGURES.values():
        to_png(entry.draw(material))


def test_the_receptive_field_table_goes_from_one_pixel_to_the_output() -> None:
    rows = {str(row[0]): row for row in network_tables.receptive_field(make_material()).rows}
    assert rows["first.0"][2:] == [3, 1, 2, 1, 1, 2, "6 × 6", 1, 3]
    assert rows["branch"][2:] == [3, 1, 1, 1, 2, 2, "6 × 6", 3, 7]
    joined = next(row for row in rows.values() if row[1] == "add")
    assert joined[-2:] == [7, 7]  # of the branch that sees most
    assert rows["output.0"][-2:] == [7, 7 + 5 * 2]


def test_markdown_cells_hold_what_they_are_given() -> None:
    table = tables.Table("t", "T", ("name", "value"), [["a|b <i>&\nc", 1234], [None, 0.5]])
    assert table.to_markdown() == (
        "## T\n\n| name | value |\n| --- | ---: |\n| a\\|b &lt;i>&amp; c | 1,234 |\n|  | 0.5000 |\n"
    )


@pytest.mark.parametrize("wrong", [0, 1, 7])
def test_few_errors(wrong: int) -> None:
    dataset = make_dataset()
    labels = dataset.test.labels.clone()
    labels[:wrong] = (labels[:wrong] + 1) % len(CLASSES)
    logits = 5 * nn.functional.one_hot(labels, len(CLASSES)).float()
    figure = draw_misclassified(make_material(dataset, logits=logits))
    texts = [text.get_text() for axes in figure.axes for text in axes.texts] + [t.get_text() for t in figure.texts]
    assert sum(text.startswith("true: ") for text in texts) == wrong
    assert ("All 60 test pictures are classified correctly." in texts) == (wrong == 0)
    to_png(figure)


def test_the_most_confident_errors_come_first() -> None:
    material = make_material()
    figure = draw_misclassified(material)
    shown = [text.get_text() for text in figure.axes[0].texts if " · " in text.get_text()]
    percents = [int(text.rpartition("· ")[2].removesuffix(" %")) for text in shown]
    assert percents == sorted(percents, reverse=True)
    assert percents[0] == round(100 * material.confidences[~material.correct].max())


def test_augmentation_shows_training_pictures_and_what_becomes_of_them() -> None:
    seen: list[tuple[int, list[int]]] = []

    def watch(images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        seen.append((epoch, indices.tolist()))
        assert torch.equal(images, dataset.train.images[indices])
        return images

    dataset = make_dataset()
    training = torch.tensor([3, 5, 8, 13, 21, 34, 55])
    draw_augmentation(make_material(dataset, training_indices=training, augmentation=watch))
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4]
    assert all(sorted(indices) == training.tolist() for _, indices in seen)


@pytest.mark.parametrize(("classes", "size"), [(2, (12, 20)), (120, (8, 8))], ids=["two and oblong pictures", "many"])
def test_any_number_of_classes_and_any_shape(classes: int, size: tuple[int, int], tmp_path: Path) -> None:
    dataset = make_dataset(tuple(f"class {i}" for i in range(classes)), count=2 * classes, size=size)
    material = make_material(dataset)
    assert rendered(material, tmp_path)[0] == set(FIGURES)


def test_many_classes_take_no_memory_by_their_square() -> None:
    count = 10_000
    material = make_material(make_dataset(tuple(f"class {i}" for i in range(count))))
    tracemalloc.start()
    try:
        rows = [*tables.classification_report(material).rows, *tables.class_accuracy(material).rows]
        drawn = [FIGURES[name].draw(material) for name in ("confusion_matrix", "class_accuracy")]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < count**2
    assert len(rows) == 2 * count + 3
    assert [text.get_text() for text in drawn[0].texts] == [
        "10,000 classes are not drawn: each cell would be smaller than a pixel."
    ]
    to_png(drawn[0])


def test_every_figure_needs_what_a_trial_may_lack() -> None:
    for entry in FIGURES.values():
        assert isinstance(entry, Entry)
        assert set(entry.needs) <= set(report.ABSENT)
        assert entry.caption.endswith(".")


def test_importing_the_room_imports_no_matplotlib() -> None:
    import subprocess

    code = "import sys, orchestrator.reporting; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
