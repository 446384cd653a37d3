"""Single figures and tables: what they show of odd, missing and many values."""

import csv
import io
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from report_context import CLASSES, make_context, make_dataset, make_records, rendered
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor, nn

from orchestrator import records as keys
from orchestrator.data import Dataset, Split
from orchestrator.records import Record
from orchestrator.reporting import network_tables, report, tables
from orchestrator.reporting.figures import FIGURES, FigureEntry, to_png
from orchestrator.reporting.images import draw_augmentation, draw_misclassified
from orchestrator.reporting.report import TABLES, render_report
from orchestrator.spec import Recipe, TrialSpec
from orchestrator.training.learner import Learner


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leave these figures in the table, so that a test that is about one of them is quick."""

    def keep(*names: str) -> None:
        monkeypatch.setattr(report, "FIGURES", {name: FIGURES[name] for name in names})

    return keep


def test_epochs_that_lack_a_value_are_left_out_of_the_curves(tmp_path: Path, only: Callable[..., None]) -> None:
    only("curves")
    records = make_records(4)
    records[2] = replace(records[2], metrics={})
    context = make_context(records=records)
    assert [epoch for epoch, _ in context.curve(keys.TRAIN_LOSS)] == [1, 2, 4]
    assert rendered(context, tmp_path)[0] == {"curves"}
    nothing = [replace(record, metrics={}) for record in records]
    assert rendered(make_context(records=nothing), tmp_path)[0] == {"curves"}


def test_the_chosen_epoch() -> None:
    assert make_context().chosen_epoch == 4  # as recorded
    assert make_context(records=make_records(5, final=False)).chosen_epoch == 4  # the best validation accuracy
    assert make_context(records=[]).chosen_epoch is None


@given(epochs=st.lists(st.tuples(st.sampled_from([0.8, 0.9, 0.95]), st.sampled_from([0.3, 0.4, 0.5])), min_size=1))
@pytest.mark.parametrize("protocol", ["validation", "published"])
def test_without_a_final_record_the_chosen_epoch_is_the_one_whose_weights_were_kept(
    protocol: Any, epochs: list[tuple[float, float]]
) -> None:
    """The trainer itself is the oracle, for accuracies and losses that are often equal."""
    split = "val" if protocol == "validation" else "test"
    network = torch.nn.Linear(1, 1)
    learner = Learner(network, None, None, None, None)  # type: ignore[arg-type] # keeping needs the weights only
    records = []
    for epoch, (accuracy, loss) in enumerate(epochs, 1):
        records.append(Record(epoch, 0.0, {f"{split}/accuracy": accuracy, f"{split}/loss": loss}))
        learner.keep(records[-1], accuracy, loss)
    spec = TrialSpec(variant="stride", trainer=Recipe(protocol=protocol))
    assert make_context(spec=spec, records=records).chosen_epoch == learner.best_epoch


def test_every_metric_is_in_the_figures_and_the_table_of_metrics() -> None:
    context = make_context()
    titles = {axes.get_title(loc="left") for axes in FIGURES["metrics"].draw(context).axes}
    assert {"val/top5 accuracy", "images per second"} <= titles
    columns, rows = tables.metrics(context)
    assert columns[0] == "epoch"
    assert set(columns[1:]) == {name for record in context.records for name in record.metrics}
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5]
    measured = dict(zip(columns, rows[-1], strict=True))
    assert (measured["val/top5_accuracy"], measured["test/accuracy"]) == (pytest.approx(0.84), 0.5)
    assert rows[0][columns.index("test/accuracy")] is None


def test_the_published_protocol_and_curve() -> None:
    spec = TrialSpec(variant="stride", trainer=Recipe(epochs=5, protocol="published"))
    curve = [(epoch, 0.1 * epoch) for epoch in range(1, 9)]
    context = make_context(spec=spec, records=make_records(5, "test"), published=curve)
    texts = [text.get_text() for axes in FIGURES["curves"].draw(context).axes for text in axes.texts]
    assert "published test 80.0 %" in texts
    assert any(text.startswith("test ") for text in texts)
    assert not any("validation" in text for text in texts)


def test_a_network_that_breaks_costs_its_figure_only(tmp_path: Path, only: Callable[..., None]) -> None:
    only("activation_maps", "network")
    warnings: list[str] = []
    render_report(make_context(network=nn.Linear(2, 2)), tmp_path, warnings.append)
    assert len(warnings) == 1
    assert "figure activation_maps" in warnings[0]
    assert [path.stem for path in (tmp_path / "figures").iterdir()] == ["network"]


@pytest.mark.parametrize("wrong", [0, 1, 7])
def test_few_errors(wrong: int) -> None:
    dataset = make_dataset()
    labels = dataset.test.labels.clone()
    labels[:wrong] = (labels[:wrong] + 1) % len(CLASSES)
    logits = 5 * nn.functional.one_hot(labels, len(CLASSES)).float()
    figure = draw_misclassified(make_context(dataset, logits=logits))
    texts = [text.get_text() for axes in figure.axes for text in axes.texts] + [t.get_text() for t in figure.texts]
    assert sum(text.startswith("true: ") for text in texts) == wrong
    assert ("All 60 test images are classified correctly." in texts) == (wrong == 0)
    to_png(figure)


def test_the_most_confident_errors_come_first() -> None:
    context = make_context()
    figure = draw_misclassified(context)
    shown = [text.get_text() for text in figure.axes[0].texts if " · " in text.get_text()]
    percents = [int(text.rpartition("· ")[2].removesuffix(" %")) for text in shown]
    assert percents == sorted(percents, reverse=True)
    assert percents[0] == round(100 * context.confidences[~context.correct].max())


def test_augmentation_shows_training_images_and_what_becomes_of_them() -> None:
    seen: list[tuple[int, list[int]]] = []

    def watch(images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        seen.append((epoch, indices.tolist()))
        assert torch.equal(images, dataset.train.images[indices])
        return images

    dataset = make_dataset()
    training = torch.tensor([3, 5, 8, 13, 21, 34, 55])
    draw_augmentation(make_context(dataset, training_indices=training, augmentation=watch))
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4]
    assert all(sorted(indices) == training.tolist() for _, indices in seen)


@pytest.mark.parametrize(("classes", "size"), [(2, (12, 20)), (120, (8, 8))], ids=["two and oblong images", "many"])
def test_any_number_of_classes_and_any_shape(classes: int, size: tuple[int, int], tmp_path: Path) -> None:
    dataset = make_dataset(tuple(f"class {i}" for i in range(classes)), count=2 * classes, size=size)
    context = make_context(dataset)
    assert rendered(context, tmp_path)[0] == set(FIGURES)


def test_many_classes_take_no_memory_by_their_square() -> None:
    count = 10_000
    context = make_context(make_dataset(tuple(f"class {i}" for i in range(count))))
    tracemalloc.start()
    try:
        rows = [*tables.classification_report(context)[1], *tables.class_accuracy(context)[1]]
        drawn = [FIGURES[name].draw(context) for name in ("confusion_matrix", "class_accuracy")]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < count**2
    assert len(rows) == 2 * count + 3
    assert [text.get_text() for text in drawn[0].texts] == [
        "10,000 classes are not drawn: their cells would be smaller than a pixel."
    ]
    to_png(drawn[0])


def test_every_figure_needs_what_a_trial_may_lack() -> None:
    for entry in FIGURES.values():
        assert isinstance(entry, FigureEntry)
        assert set(entry.needs) <= set(report.ABSENT)
        assert entry.caption.endswith(".")


def test_the_classification_report_is_scikit_learns() -> None:
    dataset = make_dataset()
    labels = (torch.arange(60) ** 0.8).long() % len(CLASSES)  # classes of different sizes
    dataset = replace(dataset, test=Split(dataset.test.images, labels))
    context = make_context(dataset)
    table = TABLES["classification_report"].make("scores", context)
    rows = list(csv.reader(io.StringIO(table.to_csv())))
    expected = precision_recall_fscore_support(context.labels, context.predicted, zero_division=0)
    for position, name in enumerate(CLASSES):
        assert rows[1 + position][0] == name
        np.testing.assert_allclose(
            [float(cell) for cell in rows[1 + position][1:]], [column[position] for column in expected]
        )
    for name, average in (("macro avg", "macro"), ("weighted avg", "weighted")):
        row = next(row for row in rows if row[0] == name)
        wanted = precision_recall_fscore_support(context.labels, context.predicted, average=average, zero_division=0)
        np.testing.assert_allclose([float(cell) for cell in row[1:4]], wanted[:3])
    assert float(rows[-1][3]) == pytest.approx((context.predicted == context.labels).mean())


def test_a_class_without_test_images() -> None:
    dataset = make_dataset(("one", "other", "never"))
    labels = torch.arange(60) % 2
    context = make_context(Dataset("x", dataset.train, Split(dataset.test.images, labels), dataset.classes))
    assert tables.classification_report(context)[1][2] == ("never", 0.0, 0.0, 0.0, 0)
    assert tables.class_accuracy(context)[1][2] == ["never", 0, 0, None, None, None]
    for entry in FIGURES.values():
        to_png(entry.draw(context))


def test_the_receptive_field_table_goes_from_one_pixel_to_the_output() -> None:
    rows = {str(row[0]): row for row in network_tables.receptive_field(make_context())[1]}
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
