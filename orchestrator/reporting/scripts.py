"""Texts of any script in the order and shapes in which matplotlib, which draws letter by letter, must be given them."""

import functools
import unicodedata

MIRRORED = str.maketrans("()[]{}<>«»‹›", ")(][}{><»«›‹")
JOINER, TATWEEL = "\u200d", "\u0640"
RIGHT_TO_LEFT, NUMBERS = ("R", "AL"), ("EN", "AN")
# Letters that are moved, stacked or joined by rules of their own: Syriac to N'Ko; India to Sri Lanka; Tibet, Myanmar;
# Khmer and Mongolian; their later blocks; Indonesia and the Philippines to Java; Brahmi and what came of it.
SHAPED = (
    (0x0700, 0x07FF), (0x0840, 0x085F), (0x0900, 0x0DFF), (0x0F00, 0x109F), (0x1700, 0x18AF), (0x1900, 0x1AAF),
    (0x1B00, 0x1C4F), (0x1CD0, 0x1CFF), (0xA800, 0xA82F), (0xA840, 0xA8FF), (0xA930, 0xAADF), (0xAAE0, 0xAAFF),
    (0xABC0, 0xABFF), (0x10A00, 0x10FFF), (0x11000, 0x11FFF),
)  # fmt: skip


def in_drawing_order(text: str) -> str | None:
    """``text`` from left to right, with joined Arabic letters; None where letters would stand wrong one by one.

    That is so in scripts whose letters change places or shapes (Devanagari, Khmer, ...), with vowel marks from right
    to left, and in pictures composed of several characters.
    """
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text)
    characters = set(text)
    if any(map(_is_composed, characters)):
        return None
    invisible = {c for c in characters if _is_invisible(c)}
    text = text.translate(dict.fromkeys(map(ord, invisible)))
    kinds = set(map(unicodedata.bidirectional, characters - invisible))
    if kinds.isdisjoint(RIGHT_TO_LEFT):
        return text
    joined = None if "NSM" in kinds else _joined(text)
    return None if joined is None else _reordered(joined)


def _is_composed(character: str) -> bool:
    """Whether it is shaped by its neighbours, or joins them to one picture."""
    return character == JOINER or any(low <= ord(character) <= high for low, high in SHAPED)


def _is_invisible(character: str) -> bool:
    """Direction marks, variation selectors and the like."""
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"


def _reordered(text: str) -> str:
    """By the Unicode bidirectional algorithm, for a line without explicit embeddings."""
    kinds = _with_numbers([unicodedata.bidirectional(c) for c in text])
    base = next(1 if kind in RIGHT_TO_LEFT else 0 for kind in kinds if kind == "L" or kind in RIGHT_TO_LEFT)
    sides: list[str | None] = []  # of each character: left to right, right to left, a number, or neither
    strong = "L" if base == 0 else "R"
    for kind in kinds:
        if kind == "L" or kind in RIGHT_TO_LEFT:
            strong = "L" if kind == "L" else "R"
            sides.append(strong)
        else:
            sides.append(None if kind not in NUMBERS else "number" if strong == "R" or kind == "AN" else "L")
    levels = [_level(sides, place, base) for place in range(len(text))]
    order = list(range(len(text)))
    for level in range(max(levels), 0, -1):
        start = 0
        while start < len(order):
            end = start
            while end < len(order) and levels[order[end]] >= level:
                end += 1
            order[start:end] = reversed(order[start:end])
            start = end + 1
    return "".join(text[i].translate(MIRRORED) if levels[i] % 2 else text[i] for i in order)


def _with_numbers(kinds: list[str]) -> list[str]:
    """A separator between two digits is part of their number, and so are signs such as % beside one."""
    kinds = list(kinds)
    for place in range(1, len(kinds) - 1):
        around = {kinds[place - 1], kinds[place + 1]}
        if kinds[place] in ("CS", "ES") and len(around) == 1 and around <= set(NUMBERS):
            kinds[place] = kinds[place - 1]
    for places in (range(len(kinds)), range(len(kinds) - 1, -1, -1)):
        before = ""
        for place in places:
            if kinds[place] == "ET" and before == "EN":
                kinds[place] = "EN"
            before = kinds[place]
    return kinds


def _level(sides: list[str | None], place: int, base: int) -> int:
    """Odd from right to left. What is neither goes with its neighbours if they agree, and else with the line."""
    side = sides[place]
    if side is None:
        line = "L" if base == 0 else "R"
        before = next((s for s in reversed(sides[:place]) if s), line)
        after = next((s for s in sides[place:] if s), line)
        ends = {"R" if s == "number" else s for s in (before, after)}
        side = ends.pop() if len(ends) == 1 else line
    return {"R": 1, "number": 2, "L": 2 * base}[side]


def _joined(text: str) -> str | None:
    """Arabic letters as Unicode's presentation forms; None if one has no such forms."""
    forms = _forms()
    letters = _with_ligatures(text, forms)
    found = []
    for place, letter in enumerate(letters):
        if letter not in forms:
            if unicodedata.bidirectional(letter[0]) == "AL" and letter.isalpha() and letter != TATWEEL:
                return None
            found.append(letter)
            continue
        mine = forms[letter]
        before = place > 0 and _joins_on(letters[place - 1], forms) and "final" in mine
        after = place + 1 < len(letters) and _joins_back(letters[place + 1], forms) and "initial" in mine
        kind = ("medial" if after else "final") if before else "initial" if after else "isolated"
        found.append(mine.get(kind, letter))
    return "".join(found)


def _with_ligatures(text: str, forms: dict[str, dict[str, str]]) -> list[str]:
    """The letters, lam and alef as one."""
    letters: list[str] = []
    for character in text:
        if letters and letters[-1] + character in forms:
            letters[-1] += character
        else:
            letters.append(character)
    return letters


def _joins_on(letter: str, forms: dict[str, dict[str, str]]) -> bool:
    return letter == TATWEEL or "initial" in forms.get(letter, {})


def _joins_back(letter: str, forms: dict[str, dict[str, str]]) -> bool:
    return letter == TATWEEL or "final" in forms.get(letter, {})


@functools.cache
def _forms() -> dict[str, dict[str, str]]:
    """By letter, and by lam with alef, the forms of Unicode: ``isolated``, ``final``, ``initial`` and ``medial``."""
    found: dict[str, dict[str, str]] = {}
    for code in (*range(0xFE80, 0xFEFD), *range(0xFB50, 0xFBB2), *range(0xFBD3, 0xFC00)):
        kind, *letters = unicodedata.decomposition(chr(code)).split() or [""]
        base = "".join(chr(int(letter, 16)) for letter in letters)
        if len(base) == 1 or (len(base) == 2 and base[0] == "\u0644" and code >= 0xFE80):
            found.setdefault(base, {}).setdefault(kind.strip("<>"), chr(code))
    return found
