"""Fonts for tests of figures: only those that come with matplotlib, or one more with characters of a test's choice."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import get_data_path
from matplotlib.font_manager import fontManager

from orchestrator.reporting import fonts

FAMILY = "Tiny Sans"


def make_font(path: Path, characters: str) -> Path:
    """A TrueType font with a filled square for each of ``characters``, as wide as Chinese ones are."""
    names = {ord(character): f"u{ord(character):x}" for character in characters}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    glyphs = {".notdef": TTGlyphPen(None).glyph()}
    for name in names.values():
        pen = TTGlyphPen(None)
        pen.moveTo((100, 0))
        for corner in ((100, 800), (900, 800), (900, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": FAMILY, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return path


@contextmanager
def installed(*more: Path, unnoticed: bool = False) -> Iterator[None]:
    """Matplotlib's own fonts and ``more`` are installed; ``unnoticed``: since matplotlib last looked."""
    found, before = fonts.findSystemFonts, list(fontManager.ttflist)
    own = Path(get_data_path())
    fontManager.ttflist[:] = [entry for entry in before if own in Path(entry.fname).parents]
    fonts.findSystemFonts = lambda: [str(path) for path in more]
    if not unnoticed:
        for path in more:
            fontManager.addfont(path)
    _forget()
    try:
        yield
    finally:
        fonts.findSystemFonts, fontManager.ttflist[:] = found, before
        _forget()


def _forget() -> None:
    """Answers of other tests, which had other fonts."""
    cached = (fonts.families, fonts._family_of, fonts._find_new, fonts._candidates)
    for one in (*cached, fonts._has, fonts._faces, fonts._codes, fontManager._findfont_cached):
        one.cache_clear()
