"""Fonts for texts of any script: those installed on this machine that have the characters."""

import functools
import re
import unicodedata
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager, get_font
from matplotlib.text import Text

from orchestrator.reporting.scripts import in_drawing_order

USUAL = "DejaVu Sans"  # comes with matplotlib
PIXELS = 12  # the size at which a glyph is tried
# Fonts that have a box for every character, or symbols of formulas.
UNFIT = re.compile(r"(?i)last ?resort|blank|fallback|notdef|^cm[a-z]+\d+$|^stix|math|dejavu sans display")


@functools.lru_cache(maxsize=4096)
def drawable(text: str) -> str | None:
    """``text`` as matplotlib has to be given it; None if no installed font, or not matplotlib, can draw it right."""
    ordered = in_drawing_order(text)
    return ordered if ordered is not None and families(ordered) is not None else None


@functools.lru_cache(maxsize=4096)
def families(text: str) -> tuple[str, ...] | None:
    """The usual font, and others for the characters that it lacks; None if a character is in no installed font."""
    missing = {c for c in text if not c.isspace() and not _has(USUAL, c)}
    found = [USUAL]
    while missing:
        family = _family_of(min(missing))
        if family is None:
            return None
        found.append(family)
        missing = {c for c in missing if not _has(family, c)}
    return tuple(found)


def columns(text: str) -> int:
    """The width of ``text`` in Latin letters: Chinese, Japanese and Korean ones are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


class AnyScriptFigure(Figure):
    """A figure whose texts are drawn with whatever installed fonts have their characters."""

    def draw(self, renderer: Any) -> None:
        """Called for every picture, and to measure a layout."""
        for text in self.findobj(Text):
            fit(text)
        super().draw(renderer)


def fit(text: Any) -> None:
    """Give a matplotlib text the fonts that it needs; one that is measured before its figure is drawn needs it."""
    needed = families(text.get_text())
    if needed is not None and len(needed) > 1:
        text.set_fontfamily(list(needed))


@functools.lru_cache(maxsize=4096)
def _family_of(character: str) -> str | None:
    """The first installed family that has ``character``, those without serifs first."""
    for look_again in (False, True):
        if look_again and not _find_new():
            return None
        names = {entry.name for entry in fontManager.ttflist if not UNFIT.search(entry.name)}
        for name in sorted(names, key=lambda name: ("sans" not in name.lower(), "mono" in name.lower(), name)):
            if _has(name, character):
                return name
    return None


@functools.cache
def _find_new() -> bool:
    """Add fonts that were installed after matplotlib wrote down which there are; whether it found one."""
    known = {entry.fname for entry in fontManager.ttflist}
    found = False
    for path in findSystemFonts():
        if path not in known:
            try:
                fontManager.addfont(path)
            except (OSError, RuntimeError, ValueError):  # not a font that matplotlib reads
                continue
            found = True
    return found


@functools.lru_cache(maxsize=65536)
def _has(family: str, character: str) -> bool:
    """Whether its normal and its bold face have a glyph that matplotlib draws: no picture, and nothing empty."""
    for weight in ("normal", "bold"):
        try:
            font = get_font(
                fontManager.findfont(FontProperties(family=family, weight=weight), fallback_to_default=False)
            )
            if not font.get_char_index(ord(character)):
                return False
            font.set_size(PIXELS, 72)
            glyph = font.load_char(ord(character))
        except (OSError, RuntimeError, ValueError):  # a font of pictures, or one that is gone
            return False
        if glyph.width <= 0 or glyph.height <= 0:
            return False
    return True
