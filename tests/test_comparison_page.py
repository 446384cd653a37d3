"""The page of a launch: what it says, that it agrees with the verdict, and what it does with odd launches."""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from comparison_context import CLASSES, make_comparison, make_trials, names_of, write
from report_context import Page

from orchestrator.errors import StorageError
from orchestrator.files import PARTIAL
from orchestrator.reporting.comparison import write as writing
from orchestrator.reporting.comparison.context import CaptionedTable, ComparisonContext
from orchestrator.reporting.comparison.decisions import signed
from orchestrator.reporting.comparison.disagreement import disagreement, shown_pair
from orchestrator.reporting.comparison.matrix import matrix_table
from orchestrator.reporting.comparison.parts import FigureEntry
from orchestrator.reporting.comparison.write import FIGURES, notebook_summary, write_comparison
from orchestrator.reporting.tables import Table, shown

MORE_IMAGES = "orchestrator compare x --data-dir <here>"
SHAPES = [(1, 3), (2, 1), (5, 3), (12, 10)]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out, so that a test that is about words and tables is quick."""
    monkeypatch.setattr(writing, "FIGURES", {section: lambda context: [] for section in FIGURES})


class _Cells(HTMLParser):
    """The rows of an HTML table, the text of each cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.open = True
        elif tag == "br":
            self.rows[-1][-1] += "\n"

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.rows[-1][-1] += data


@pytest.mark.parametrize(("count", "seeds"), SHAPES)
@pytest.mark.usefixtures("undrawn")
def test_the_page_names_every_variant_and_every_decision(count: int, seeds: int, tmp_path: Path) -> None:
    context = make_comparison(count, seeds)
    text = write(context, tmp_path)[0]
    words = " ".join(Page(text).text).replace("\xa0", " ")
    for variant in names_of(count):
        assert variant in words
    for pair in context.verdict.pairs:
        assert str(pair.decision) in words
    assert context.verdict.sentence.split(". ")[0] in words
    assert "This is about these networks with this recipe" in words
    assert context.more_evidence in words


@pytest.mark.parametrize("judged", [{}, {"margin": 0.02}, {"baseline": "grouped_concat", "margin": 0.005}], ids=str)
@pytest.mark.parametrize(("count", "seeds"), [(2, 5), (5, 3), (12, 10)])
def test_the_matrix_says_what_the_verdict_says(count: int, seeds: int, judged: dict[str, object]) -> None:
    context = make_comparison(count, seeds, judged=judged)
    head, *rows = _Cells(matrix_table(context)).rows
    found = 0
    for row, *cells in rows:
        for column, cell in zip(head[1:], cells, strict=True):
            if not cell:
                continue
            pair = context.verdict.pair(row, column)
            assert pair is not None
            decision, points, beats = cell.split("\n")
            ahead, found = row == pair.a, found + 1
            assert decision[2:] == (str(pair.decision) if ahead else str(pair.decision).replace("better", "worse"))
            assert points == f"{signed(pair.difference if ahead else -pair.difference)} points"
            assert pair.p_a_beats_b is not None
            assert beats == f"P = {pair.p_a_beats_b if ahead else 1 - pair.p_a_beats_b:.2f}"
    assert found == len(context.verdict.pairs)


@pytest.mark.parametrize("count", [2, 5])
def test_everything_is_written_and_the_page_is_self_contained(count: int, tmp_path: Path) -> None:
    settings = dict(matplotlib.rcParams)
    context = make_comparison(count, 3)
    text, logged = write(context, tmp_path)
    assert logged == []
    assert dict(matplotlib.rcParams) == settings
    page = Page(text)
    assert not {"script", "link", "i"} & set(page.tags)  # the i of a variant's name is escaped
    assert not any(outside in text for outside in ("http:", "https:", "//cdn", "@import", "url("))
    alternatives = re.findall(r"<img [^>]*alt=\"([^\"]*)\"", text)
    assert len(alternatives) == len(list((tmp_path / "figures").iterdir()))
    assert all(len(alternative) > 30 for alternative in alternatives)
    targets = [source[1:] for source in page.sources if source.startswith("#")]
    assert targets
    assert all(f'id="{target}"' in text for target in targets)
    assert {p.stem for p in (tmp_path / "figures").iterdir()} == {
        "intervals", "pairs", "front_parameters", "front_macs", "front_seconds", "front_forward_seconds",
        "accuracy_curves", "loss_curves", "class_accuracy", "disagreement_1", "disagreement_2",
    }  # fmt: skip
    names = ["variants", "pairs", "trials", "class_accuracy", "disagreement", "disagreement_images", "spending"]
    names += ["published_curve"]
    assert {p.name for p in (tmp_path / "tables").iterdir()} == {f"{n}.{kind}" for n in names for kind in ("csv", "md")}
    assert "Not on this page" not in text


@pytest.mark.usefixtures("undrawn")
def test_the_tables_have_the_verdicts_numbers(tmp_path: Path) -> None:
    context = make_comparison(5, 6, judged={"margin": 0.01})
    write(context, tmp_path)
    rows = read_rows(tmp_path / "tables" / "pairs.csv")
    for row, pair in zip(rows, context.verdict.pairs, strict=True):
        assert (row["A"], row["B"], row["decision"]) == (pair.a, pair.b, str(pair.decision))
        for column, value in (("A minus B", pair.difference), ("low", pair.low), ("p adjusted", pair.p_adjusted)):
            assert float(row[column]) == value
    variants = read_rows(tmp_path / "tables" / "variants.csv")
    assert [row["variant"] for row in variants] == [score.variant for score in context.verdict.variants]
    assert [float(row["mean test accuracy"]) for row in variants] == [score.mean for score in context.verdict.variants]
    assert {row["variant"] for row in variants if row["leading"]} == set(context.verdict.leaders)
    assert (
        float(variants[0]["seconds per image, one image at a time"])
        == context.costs["forward_seconds"][variants[0]["variant"]]
    )


def read_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


def nothing_complete() -> ComparisonContext:
    trials = [
        replace(t, status="failed", reason="planted <b>", test_accuracy=None, val_accuracy=None, seconds=None)
        for t in make_trials(3, 2, np.random.default_rng(0), 400)
    ]
    return make_comparison(3, 2, trials=trials, curves={}, predicted={}, images=400)


def one_is_lost() -> ComparisonContext:
    trials = make_trials(3, 3, np.random.default_rng(0), 400)
    trials[-3:] = [
        replace(t, status=s, test_accuracy=None)
        for t, s in zip(trials[-3:], ("failed", "stopped", "running"), strict=True)
    ]
    return make_comparison(3, 3, trials=trials)


def baseline_is_lost() -> ComparisonContext:
    trials = make_trials(3, 3, np.random.default_rng(0), 400)
    trials = [t if t.variant != "grouped_concat" else replace(t, status="failed", test_accuracy=None) for t in trials]
    return make_comparison(3, 3, trials=trials, judged={"baseline": "grouped_concat"})


def baseline_has_not_begun() -> ComparisonContext:
    """As the file names it, and a launch is looked at early."""
    trials = [t for t in make_trials(3, 3, np.random.default_rng(0), 400) if t.variant != "grouped_concat"]
    return make_comparison(3, 3, trials=trials, judged={"baseline": "grouped_concat"})


def no_images() -> ComparisonContext:
    return replace(make_comparison(3, 2), images=None, more_images=MORE_IMAGES)


ODD: dict[str, tuple[Callable[[], ComparisonContext], str]] = {
    "nothing is complete": (nothing_complete, "no trial is complete"),
    "a variant has no complete trial": (one_is_lost, "not complete: 1 failed, 1 running. They take"),
    "the baseline has no complete trial": (baseline_is_lost, "nothing is compared"),
    "the baseline has not begun": (baseline_has_not_begun, "nothing is compared"),
    "one variant": (partial(make_comparison, 1, 3), "no other variant"),
    "one seed": (partial(make_comparison, 3, 1), "one network against another"),
    "no predictions": (partial(make_comparison, 3, 2, predicted={}, labels=None), "predictions of all of their seeds"),
    "no images": (no_images, "listed by number"),
    "no curves": (partial(make_comparison, 3, 2, curves={}), "no epoch is known"),
    "no costs": (partial(make_comparison, 3, 2, costs={}), "Accuracy and parameters"),
    "one image": (partial(make_comparison, 2, 3, 1), "Test images"),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_launch_still_has_its_page(case: str, tmp_path: Path) -> None:
    build, said = ODD[case]
    text, logged = write(build(), tmp_path)
    assert logged == []
    words = " ".join(Page(text).text)
    assert said in words
    assert not re.search(r"\b(nan|None|inf)\b", words)
    for table in (tmp_path / "tables").glob("*.csv"):
        assert not re.search(r"\b(nan|None|inf)\b", table.read_text("utf-8"))
    if case == "no images":
        assert MORE_IMAGES in words
        assert "disagreement_1.png" not in {p.name for p in (tmp_path / "figures").iterdir()}
        assert (tmp_path / "tables" / "disagreement_images.csv").exists()


@pytest.mark.usefixtures("undrawn")
def test_who_was_stopped_early_is_told_apart_from_who_failed_or_was_interrupted(tmp_path: Path) -> None:
    trials = make_trials(3, 4, np.random.default_rng(0), 400)
    statuses = ["stopped", "stopped", "failed", "interrupted"]
    early = [
        replace(t, status=status, val_accuracy=0.4 + place / 100, test_accuracy=None)
        for place, (t, status) in enumerate(zip(trials[-4:], statuses, strict=True))
    ]
    text, _ = write(make_comparison(3, 4, trials=[*trials[:-4], *early]), tmp_path)
    words = " ".join(Page(text).text)
    assert "Of 12 trials, not complete: 1 failed, 1 interrupted. They take no part in the comparison." in words
    assert (
        "Of 12 trials, 2 were stopped early by the scheduler, as planned. They take no part in the comparison. "
        "The best of them had a validation accuracy of 41.00 %."
    ) in words
    with (tmp_path / "tables" / "variants.csv").open(encoding="utf-8") as file:
        *_, last = csv.DictReader(file)
    assert (last["stopped early"], last["interrupted"], last["failed"]) == ("2", "1", "1")
    assert "still running" not in last
    assert (tmp_path / "tables" / "trials.csv").read_text("utf-8").count(",stopped early,") == 2


@pytest.mark.usefixtures("undrawn")
def test_finished_tables_have_their_sections_and_user_text_is_escaped(tmp_path: Path) -> None:
    table = Table("tried", "Tried <i>", ("variant", "best"), [["<script>x</script>", 0.5]])
    text, _ = write(make_comparison(2, 2, search=[CaptionedTable(table, "Chosen by <validation>.")]), tmp_path)
    assert "<script" not in text
    assert "Chosen by <validation>." in Page(text).text
    assert text.index("Where the time went</h2>") < text.index("Search</h2>") < text.index("All numbers</h2>")
    assert (tmp_path / "tables" / "tried.csv").exists()


def test_a_figure_that_fails_costs_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[FigureEntry]:
        raise RuntimeError("planted failure\nsecond line")

    few = {section: lambda context: [] for section in FIGURES}
    broken = FigureEntry("x", "The X", "", "", fail)  # type: ignore[arg-type]
    few |= {"intervals": FIGURES["intervals"], "curves": fail, "pairs": lambda context: [broken]}
    monkeypatch.setattr(writing, "FIGURES", few)
    monkeypatch.setitem(writing.TABLES, "trials", fail)  # type: ignore[arg-type]
    text, logged = write(make_comparison(2, 2), tmp_path)
    assert logged == [
        f"{name} could not be made: RuntimeError: planted failure"
        for name in ("figure x", "figures curves", "table trials")
    ]
    assert [path.stem for path in (tmp_path / "figures").iterdir()] == ["intervals"]
    assert "Figure x: it could not be made." in text


@pytest.mark.usefixtures("undrawn")
def test_the_page_is_whole_or_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_text("a user's own")
    before, _ = write(make_comparison(2, 2), tmp_path)
    (tmp_path / "tables" / "trials.md").unlink()
    (tmp_path / "tables" / "trials.md").mkdir()  # in the way
    with pytest.raises(StorageError, match="the comparison cannot be written"):
        write_comparison(make_comparison(3, 2), tmp_path, lambda _: None)
    assert (tmp_path / "comparison.html").read_text("utf-8") == before
    assert (tmp_path / "figures" / "mine.png").read_text() == "a user's own"
    assert not list(tmp_path.rglob(f"*{PARTIAL}"))


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_the_images_are_those_on_which_the_seeds_disagree(seeds: int) -> None:
    context = make_comparison(3, seeds)
    pair = shown_pair(context)
    assert pair == (context.measured[0].variant, context.measured[1].variant)
    assert context.labels is not None
    found = disagreement(context, *pair)
    share = {
        variant: [
            sum(context.predicted[variant, seed][image] == label for seed in range(seeds)) / seeds
            for image, label in enumerate(context.labels)
        ]
        for variant in pair
    }
    apart = [a - b for a, b in zip(share[pair[0]], share[pair[1]], strict=True)]
    assert set(found.images.tolist()) == {image for image, by in enumerate(apart) if by > 0.5}
    assert found.unanimous == sum(by == 1 for by in apart)
    assert [apart[image] for image in found.images] == sorted((apart[image] for image in found.images), reverse=True)


def test_with_a_baseline_the_images_are_its_own() -> None:
    context = make_comparison(4, 3, judged={"baseline": "a$b$c<i>_%"})
    pair = shown_pair(context)
    assert pair is not None
    assert pair[0] == "a$b$c<i>_%" != pair[1]


@pytest.mark.usefixtures("undrawn")
def test_a_notebook_gets_the_sentence_and_the_tables() -> None:
    context = make_comparison(3, 3)
    text = notebook_summary(context)
    assert context.verdict.sentence.split(" ")[0] in " ".join(Page(text).text)
    assert text.count("<table>") == 2


def test_small_numbers_are_not_shown_as_zero() -> None:
    assert [shown(value) for value in (0.0, 0.25, 3e-7, 2.3e-308, -2.3e-308, 12, None)] == [
        "0.0000", "0.2500", "3.0e-07", "> 0", "< 0", "12", "",
    ]  # fmt: skip


def test_a_class_without_images_has_no_accuracy(tmp_path: Path) -> None:
    context = make_comparison(2, 2, classes=(*CLASSES, "never"))
    _, logged = write(context, tmp_path)
    assert logged == []
    rows = read_rows(tmp_path / "tables" / "class_accuracy.csv")
    assert (rows[-1]["class"], rows[-1]["images"], rows[-1]["grouped_concat"]) == ("never", "0", "")
    for row, correct in zip(rows[:-1], range(len(CLASSES)), strict=True):
        assert context.labels is not None
        mine = context.labels == correct
        right = np.mean([context.predicted["grouped_concat", seed][mine] == correct for seed in range(2)])
        assert float(row["grouped_concat"]) == pytest.approx(right)
