"""The figures of a launch's page: what they show, and that nothing covers anything else or is cut off."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from comparison_context import CLASSES, make_comparison, names_of
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from orchestrator.reporting.comparison.class_accuracy import draw_class_accuracy
from orchestrator.reporting.comparison.context import ComparisonContext
from orchestrator.reporting.comparison.curves import draw_accuracy_curves, draw_loss_curves, seed_curves
from orchestrator.reporting.comparison.disagreement import shown_pair
from orchestrator.reporting.comparison.disagreement_figure import draw_disagreement
from orchestrator.reporting.comparison.front import draw_front, short_number
from orchestrator.reporting.comparison.labels import place_labels
from orchestrator.reporting.comparison.matrix import draw_matrix
from orchestrator.reporting.comparison.naming import LONGEST, figure_names, shortened
from orchestrator.reporting.comparison.overview import draw_overview
from orchestrator.reporting.style import new_figure
from orchestrator.verdict import Decision

LAUNCHES: dict[str, Callable[[], ComparisonContext]] = {
    "one": lambda: make_comparison(1, 3),
    "two, one seed": lambda: make_comparison(2, 1),
    "two seeds": lambda: make_comparison(3, 2),
    "five": lambda: make_comparison(5, 3, judged={"margin": 0.01}),
    "baseline": lambda: make_comparison(5, 10, judged={"baseline": "grouped_concat", "margin": 0.02}),
    "twelve": lambda: make_comparison(12, 10),
    "thirty": lambda: make_comparison(30, 3),
}
FIGURES: dict[str, Callable[[ComparisonContext], Figure]] = {
    "overview": draw_overview,
    "matrix": draw_matrix,
    "parameters": lambda context: draw_front(context, "parameters"),
    "forward_seconds": lambda context: draw_front(context, "forward_seconds"),
    "accuracy_curves": draw_accuracy_curves,
    "loss_curves": draw_loss_curves,
    "class_accuracy": draw_class_accuracy,
    "disagreement": lambda context: draw_disagreement(context, *(shown_pair(context) or ("", ""))),
}


MANY = ("overview", "matrix", "accuracy_curves", "parameters")  # what is drawn of thirty variants: seconds each
DRAWN = [
    (name, launch)
    for launch in LAUNCHES
    for name in (MANY if launch == "thirty" else FIGURES)
    if (name, launch) != ("disagreement", "one")
]


def texts_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is really drawn, and the pixels that it takes."""
    drawn: list[Any] = []

    class Recording(RendererAgg):  # type: ignore[misc]
        def draw_text(
            self, gc: Any, x: Any, y: Any, s: Any, prop: Any, angle: Any, ismath: Any = False, mtext: Any = None
        ) -> None:
            drawn.append(mtext)

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # the layout is settled
    renderer = Recording(int(figure.bbox.width), int(figure.bbox.height), figure.dpi)
    figure.draw(renderer)
    once = {id(text): text for text in drawn if text is not None and text.get_text().strip()}
    return [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in once.values()]


@pytest.mark.parametrize(("name", "launch"), DRAWN)
def test_no_text_covers_another_or_is_cut_off(name: str, launch: str) -> None:
    context = LAUNCHES[launch]()
    figure = FIGURES[name](context)
    found = texts_of(figure)
    assert found
    for text, box in found:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= figure.bbox.width + 1, text
        assert box.y1 <= figure.bbox.height + 1, text
    for (text, box), (other, further) in combinations(found, 2):
        across = min(box.x1, further.x1) - max(box.x0, further.x0)
        up = min(box.y1, further.y1) - max(box.y0, further.y0)
        assert across <= 1 or up <= 2.5, (text, other)  # the room under a line is for letters such as g


@pytest.mark.parametrize("launch", ["two, one seed", "five", "baseline", "twelve"])
def test_the_overview_has_every_variant_and_decision(launch: str) -> None:
    context = LAUNCHES[launch]()
    texts = [text for text, _ in texts_of(draw_overview(context))]
    for score in context.measured:
        assert any(text.startswith(f"{figure_names([score.variant], 24)[score.variant]} ") for text in texts)
        assert sum(text.endswith(f"n = {score.n}") for text in texts) >= 1
    words = {Decision.BETTER: "worse", Decision.UNDECIDED: "undecided", Decision.EQUIVALENT: "equivalent"}
    reference = context.reference
    pairs = [p for p in context.verdict.pairs if reference in (p.a, p.b) and p.low is not None]
    for pair in pairs:
        word = "better" if pair.told_apart and pair.b == reference else words.get(pair.decision, "slightly worse")
        assert any(word in text for text in texts)
    assert sum(text[:1] in "▲△≈?▼▽" for text in texts) == len(pairs)


@pytest.mark.parametrize("launch", ["two seeds", "five", "twelve", "baseline"])
def test_the_matrix_has_a_cell_for_every_pair(launch: str) -> None:
    context = LAUNCHES[launch]()
    texts = [text for text, _ in texts_of(draw_matrix(context))]
    legend = [text for text in texts if "P: one run beats one run" in text]
    assert len(legend) == 1
    cells = [text for text in texts if text[:1] in "▲△≈?▼▽" and text not in legend]
    assert len(cells) == len(context.verdict.pairs)
    for score in context.measured:
        name = figure_names([s.variant for s in context.measured])[score.variant]
        assert texts.count(name) == 1 or launch == "baseline"


def test_curves_are_means_over_the_seeds_at_epochs_that_all_have() -> None:
    context = make_comparison(3, 4)
    curves = dict(context.curves)
    name = "grouped_concat/seed-2"
    curves[name] = {epoch: m for epoch, m in curves[name].items() if epoch < 5}
    curve = next(
        c for c in seed_curves(replace(context, curves=curves), "val/accuracy") if c.variant == "grouped_concat"
    )
    assert curve.epochs.tolist() == [1, 2, 3, 4]
    assert curve.values.shape == (4, 4)
    expected = [np.mean([curves[f"grouped_concat/seed-{s}"][e]["val/accuracy"] for s in range(4)]) for e in range(1, 5)]
    np.testing.assert_allclose(curve.mean, expected)


def test_trials_that_are_not_compared_are_not_in_the_curves() -> None:
    context = make_comparison(2, 3)
    trials = [replace(t, status="stopped", test_accuracy=None) if t.seed == 1 else t for t in context.trials]
    assert {len(c.values) for c in seed_curves(replace(context, trials=trials), "val/accuracy")} == {2}


def test_the_published_protocol_shows_the_test_accuracy() -> None:
    context = make_comparison(2, 2)
    curves = {
        trial: {epoch: {"test/accuracy": m["val/accuracy"]} for epoch, m in epochs.items()}
        for trial, epochs in context.curves.items()
    }
    texts = [text for text, _ in texts_of(draw_accuracy_curves(replace(context, curves=curves)))]
    assert "Test accuracy" in texts
    assert "published test 80.0 %, epoch 8" in texts


@pytest.mark.parametrize(("classes", "shown"), [(3, 3), (16, 16), (120, 40)])
def test_of_many_classes_those_that_differ_most_are_shown(classes: int, shown: int) -> None:
    context = make_comparison(3, 2, images=1200)
    labels = np.arange(1200) % classes
    predicted = {
        key: np.where(said == context.labels, labels, (labels + 1) % classes) for key, said in context.predicted.items()
    }
    names = tuple(f"class number {i}" for i in range(classes))
    figure = draw_class_accuracy(replace(context, labels=labels, predicted=predicted, classes=names))
    texts = [text for text, _ in texts_of(figure)]
    assert sum(text.startswith("class number") for text in texts) == shown
    assert ("differ most" in " ".join(texts)) == (shown < classes)


@given(
    points=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=12),
    length=st.integers(1, LONGEST),
)
@settings(max_examples=15)
def test_names_cover_neither_points_nor_names(points: list[tuple[float, float]], length: int) -> None:
    figure = new_figure(8.4, 4.3)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([x for x, _ in points], [y for _, y in points], "o")
    axes.margins(0.1)
    named = {f"{i:{'x' * 1}<{length}}": point for i, point in enumerate(points)}
    place_labels(axes, named, set())
    boxes = [box for text, box in texts_of(figure) if text in named]
    assert len(boxes) == len(named)
    pixels = [axes.transData.transform(point) for point in named.values()]
    for box, other in combinations(boxes, 2):
        assert not box.overlaps(other)
    assert not any(box.contains(*pixel) for box in boxes for pixel in pixels)


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=6, unique=True))
def test_short_names_differ(names: list[str]) -> None:
    different = list({" ".join(name.split()): name for name in names}.values())
    found = figure_names(different)
    assert len(set(found.values())) == len(different)
    assert all(len(shortened(name)) <= LONGEST for name in names)


def test_short_numbers() -> None:
    assert [short_number(v) for v in (0, 950, 120_000, 2.5e6, 3e9)] == ["0", "950", "120 k", "2.5 M", "3 G"]
    assert [short_number(v, "s") for v in (70_000.0, 3.0, 0.25, 0.0004, 2e-6)] == [
        "70,000 s",
        "3 s",
        "250 ms",
        "0.4 ms",
        "2 µs",
    ]


def test_names_of_the_made_up_launches_are_odd_enough() -> None:
    assert {"$", "<", "_", "%", '"'} <= set("".join(names_of(5)))
    assert max(map(len, names_of(5))) > 60
    assert "$" in "".join(CLASSES)
