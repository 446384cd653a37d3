"""Names of any script in figures: drawn with an installed font, as people read them, or numbered and listed."""

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comparison_context import make_comparison, make_trials, names_of
from font_context import FAMILY, installed, make_font
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import get_data_path
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image, ImageDraw, ImageFont, features
from report_context import make_context, make_dataset, rendered

from orchestrator.reporting.comparison import parts
from orchestrator.reporting.comparison.naming import figure_names
from orchestrator.reporting.comparison.sections import page
from orchestrator.reporting.figures import FIGURES, to_png
from orchestrator.reporting.fonts import AnyScriptFigure, columns, drawable, families
from orchestrator.reporting.names import class_names, class_numbers, numbers_note
from orchestrator.reporting.style import literal, message

NAMES = (
    "кот", "猫", "ねこ", "고양이", "قطة صغيرة", "חתול 2", "बिल्ली", "แมว", "🐈", "👩‍🔬", "$x_1$", r"\alpha_^{2}", "a_b",
    "chat été",
)  # fmt: skip
WITHOUT_FONT = {"猫", "ねこ", "고양이", "बिल्ली", "แมว", "🐈", "👩‍🔬"}  # of those that come with matplotlib


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """Matplotlib warns of a glyph that is missing; no figure may get there."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@contextmanager
def with_characters(folder: Path, characters: str, unnoticed: bool = False) -> Iterator[None]:
    with installed(make_font(folder / "tiny.ttf", characters), unnoticed=unnoticed):
        yield


def texts_of(figure: Figure) -> dict[str, Text]:
    return {text.get_text(): text for text in figure.findobj(Text)}  # type: ignore[attr-defined]


def test_names_are_drawn_or_numbered() -> None:
    with installed():
        shown = dict(zip(NAMES, class_names(NAMES), strict=True))
    assert {name for name, text in shown.items() if text == f"#{NAMES.index(name)}"} == WITHOUT_FONT
    assert {name for name in NAMES if shown[name].replace(r"\$", "$") == name} == set(NAMES) - WITHOUT_FONT


def test_numbers_are_listed_with_their_names() -> None:
    with installed():
        note = numbers_note(class_numbers(NAMES), "classes")
        assert note.endswith(
            "so there numbers stand for them: #1 猫, #2 ねこ, #3 고양이, #6 बिल्ली, #7 แมว, #8 🐈, #9 👩‍🔬."
        )
        assert numbers_note(class_numbers(("cat", "$x$")), "classes") == ""
        assert numbers_note(class_numbers(["猫" * i for i in range(50)]), "classes").endswith(", and 9 more.")


def test_an_installed_font_is_used_for_the_characters_that_it_has(tmp_path: Path) -> None:
    with with_characters(tmp_path, "猫ねこ"):
        assert class_names(("猫 $a$", "ねこ", "犬")) == [r"猫 \$a\$", "ねこ", "#2"]
        assert families("猫 cat") == ("DejaVu Sans", FAMILY)
        assert families("cat") == ("DejaVu Sans",)
        figure = message("猫")
        filled = (np.asarray(Image.open(_file(tmp_path, to_png(figure))).convert("L")) < 160).sum()
    assert filled > 100  # the square is drawn; the box of a missing character is hollow


def test_a_font_that_was_installed_since_matplotlib_looked_is_found(tmp_path: Path) -> None:
    with installed():
        assert drawable("猫") is None
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    with with_characters(tmp_path, "猫", unnoticed=True):
        assert drawable("猫") == "猫"


def test_a_font_with_empty_glyphs_is_not_used(tmp_path: Path) -> None:
    path = make_font(tmp_path / "tiny.ttf", "猫")
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from fontTools.ttLib import TTFont

    font = TTFont(path)
    font["glyf"][f"u{ord('猫'):x}"] = TTGlyphPen(None).glyph()
    font.save(path)
    with installed(path):
        assert drawable("猫") is None


@pytest.mark.parametrize("font", [False, True], ids=["no font", "font"])
def test_figures_of_a_trial_name_every_class(font: bool, tmp_path: Path) -> None:
    dataset = make_dataset(NAMES, count=56)
    spec = replace(make_context().spec, as_="猫网")
    context = make_context(dataset, spec=spec)
    with with_characters(tmp_path, "猫网ねこ" if font else "x"):
        hidden = WITHOUT_FONT - ({"猫", "ねこ"} if font else set())
        _, html = rendered(context, tmp_path)
        wanted = class_names(NAMES)
        ticks = [t.get_text() for t in FIGURES["confusion_matrix"].draw(context).axes[0].get_xticklabels()]
        titles = texts_of(FIGURES["network"].draw(context))
    assert ticks == wanted
    assert ("猫网" in titles) == font
    assert (r"\u732b\u7f51" in titles) == (not font)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html, re.S)
    noted = [caption for caption in captions if "numbers stand for them" in caption]
    assert len(noted) == sum(entry.classes for entry in FIGURES.values())
    assert all(f"#{NAMES.index(name)} {name}" in caption for caption in noted for name in hidden)
    assert not any(f" {name}" in caption for caption in noted for name in {"猫", "кот"} - hidden)


@pytest.mark.parametrize("font", [False, True], ids=["no font", "font"])
def test_figures_of_a_launch_name_every_variant_and_class(font: bool, tmp_path: Path) -> None:
    names = dict(zip(names_of(4), ("猫网", "ねこ $1$", "قطة", "stride"), strict=True))
    trials = [
        replace(t, variant=names[t.variant], trial=f"{names[t.variant]}/seed-{t.seed}")
        for t in make_trials(4, 3, np.random.default_rng(0), 400)
    ]
    context = make_comparison(4, trials=trials, classes=NAMES[:4])
    with with_characters(tmp_path, "猫网ねこ" if font else "x"):
        shown = figure_names(context.variants, every=context.variants)
        entries = [
            parts.interval_figure(context), parts.matrix_figure(context), *parts.front_figures(context),
            *parts.curve_figures(context), parts.class_figure(context), *parts.disagreement_figures(context),
        ]  # fmt: skip
        drawn = {entry.name: "\n".join(texts_of(entry.draw())) for entry in entries}
        for entry in entries:
            assert entry.make().png.startswith(b"\x89PNG")
        html = page(context, _sections(), {}, [])
    numbers = {name: f"variant #{place}" for place, name in enumerate(context.variants, 1)}
    written = {"猫网": "猫网", "ねこ $1$": r"ねこ \$1\$"} if font else numbers
    assert {name: shown[name] for name in ("猫网", "ねこ $1$")} == {n: written[n] for n in ("猫网", "ねこ $1$")}
    assert (shown["قطة"], shown["stride"]) == ("قطة", "stride")
    for name in ("intervals", "pairs", "front_parameters", "accuracy_curves", "class_accuracy"):
        assert all(text in drawn[name] for text in shown.values()), name
    assert all((f"{numbers[name]} {name}" in html) == (not font) for name in ("猫网", "ねこ $1$"))
    assert ("these variants" in html) == (not font)
    assert "these classes" in html  # Korean is in neither font


@given(st.text(max_size=30), st.integers(2, 24))
def test_any_text_is_one_line_that_can_be_drawn(text: str, longest: int) -> None:
    shown = literal(text, longest)
    assert families(shown) is not None
    assert columns(shown.replace(r"\$", "$")) <= longest
    assert "\n" not in shown
    assert drawable(unicodedata.normalize("NFD", text)) == drawable(text)


RAQM = features.check("raqm")
ALPHABETS = ("אבגםש ab1(.,-", "ابلكمةهديسآإ ab1(.,", "بپچگکی ژ1")
DPI, SIZE = 72, 40


@pytest.mark.skipif(not RAQM, reason="this Pillow cannot lay out text from right to left")
@pytest.mark.parametrize("alphabet", ALPHABETS, ids=["Hebrew", "Arabic", "Persian"])
def test_right_to_left_is_as_a_layout_engine_draws_it(alphabet: str) -> None:
    """A figure's text looks like the text as Raqm (HarfBuzz and FriBidi) lays it out for Pillow."""
    file = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(file, SIZE, layout_engine=ImageFont.Layout.RAQM)

    @settings(max_examples=20, deadline=None)
    @given(st.text(alphabet, min_size=1, max_size=9).map(lambda t: " ".join(t.split())).filter(bool))
    def compare(text: str) -> None:
        mine, theirs = _ink_of_figure(text), _ink_of_pillow(font, text)
        assert len(mine) == pytest.approx(len(theirs), abs=len(text) + 2)
        shorter = min(len(mine), len(theirs))
        assert np.abs(mine[:shorter] - theirs[:shorter]).max() <= 12

    compare()


def _ink_of_figure(text: str) -> np.ndarray:
    figure = AnyScriptFigure(figsize=(600 / DPI, 90 / DPI), dpi=DPI)
    figure.text(0.1, 0.3, literal(text, 60), fontsize=SIZE)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    return _columns_of_ink(255 - np.asarray(Image.open(picture).convert("L")).astype(int))


def _ink_of_pillow(font: ImageFont.FreeTypeFont, text: str) -> np.ndarray:
    picture = Image.new("L", (600, 90), 0)
    ImageDraw.Draw(picture).text((60, 10), text, font=font, fill=255)
    return _columns_of_ink(np.asarray(picture).astype(int))


def _columns_of_ink(ink: np.ndarray) -> np.ndarray:
    """How much ink there is left of each column of pixels, from the first that has some to the last."""
    columns = ink.sum(axis=0)
    [inked] = np.nonzero(columns)
    return np.cumsum(columns[inked[0] : inked[-1] + 1] / 255 / SIZE) if inked.size else np.zeros(1)


def _file(folder: Path, content: bytes) -> Path:
    (folder / "figure.png").write_bytes(content)
    return folder / "figure.png"


def _sections() -> dict[str, list[object]]:
    return {name: [] for name in ("intervals", "pairs", "fronts", "curves", "classes", "disagreement")}
