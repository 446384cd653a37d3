"""Fonts for texts of any script: those installed on this machine that have the characters."""

import bisect
import functools
import itertools
import re
import unicodedata
from array import array
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager, get_font
from matplotlib.text import Text

USUAL = "DejaVu Sans"  # comes with matplotlib
PIXELS = 12  # the size at which a glyph is tried
# Fonts that have a box for every character, or symbols of formulas.
UNFIT = re.compile(r"(?i)last ?resort|blank|fallback|notdef|^cm[a-z]+\d+$|^stix|math|dejavu sans display")


def drawable(text: str) -> str | None:
    """``text`` as matplotlib has to be given it; None if a character is in no installed font."""
    text = unicodedata.normalize("NFC", text)
    return None if families(text) is None else text


@functools.lru_cache(maxsize=4096)
def families(text: str) -> tuple[str, ...] | None:
    """The usual font, and others for the characters that it lacks; None if a character is in no installed font."""
    missing = {c for c in set(text) if not _is_invisible(c) and not _has(USUAL, c)}
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
    return len(text) if text.isascii() else sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def first_columns(text: str, most: int) -> str:
    """The beginning of ``text``, at most ``most`` columns wide."""
    for place, width in enumerate(itertools.accumulate(map(columns, text))):
        if width > most:
            return text[:place]
    return text


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


def _is_invisible(character: str) -> bool:
    """Spaces, direction marks, joiners and variation selectors, which need no glyph."""
    return character.isspace() or unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"


@functools.lru_cache(maxsize=4096)
def _family_of(character: str) -> str | None:
    """The first installed family that has ``character``, those without serifs first."""
    for look_again in (False, True):
        if look_again and not _find_new():
            return None
        found = next((name for name in _candidates() if _has(name, character)), None)
        if found is not None:
            return found
    return None


@functools.cache
def _candidates() -> tuple[str, ...]:
    names = {entry.name for entry in fontManager.ttflist if not UNFIT.search(entry.name)}
    return tuple(sorted(names, key=lambda name: ("sans" not in name.lower(), "mono" in name.lower(), name)))


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
    if found:
        for cached in (_has, _faces, _candidates):
            cached.cache_clear()
    return found


@functools.lru_cache(maxsize=65536)
def _has(family: str, character: str) -> bool:
    """Whether its normal and its bold face have a glyph that matplotlib draws: no picture, and nothing empty."""
    code = ord(character)
    for file in _faces(family):
        codes = _codes(file)
        place = bisect.bisect_left(codes, code)
        if place == len(codes) or codes[place] != code or not _draws(file, code):
            return False
    return bool(_faces(family))


@functools.cache
def _faces(family: str) -> tuple[str, ...]:
    try:
        wanted = [FontProperties(family=family, weight=weight) for weight in ("normal", "bold")]
        return tuple({str(fontManager.findfont(face, fallback_to_default=False)) for face in wanted})
    except ValueError:  # it is gone
        return ()


@functools.cache
def _codes(file: str) -> "array[int]":
    """The code points that a font has, in order; four bytes each, for there may be many fonts."""
    try:
        return array("I", sorted(get_font(file).get_charmap()))
    except (OSError, RuntimeError):  # it is gone, or broken
        return array("I")


def _draws(file: str, code: int) -> bool:
    try:
        font = get_font(file)
        font.set_size(PIXELS, 72)
        glyph = font.load_char(code)
    except (OSError, RuntimeError, ValueError):  # a font of pictures
        return False
    return bool(glyph.width > 0 and glyph.height > 0)
