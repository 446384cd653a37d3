"""Building blocks of HTML pages: single files with everything inside, without network access or scripts."""

import base64
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from orchestrator.reporting.tables import Table, shown

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1a1a1a; --quiet: #5b6470;
  --line: #dfe3e8; --good: #00714f; --bad: #b34a00; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1e2329; --ink: #e8eaed; --quiet: #9aa5b1;
  --line: #343b44; --good: #34c99a; --bad: #ff9a52; --accent: #6cb8ec; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .8rem; }
.sub { color: var(--quiet); margin: 0 0 1.5rem; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: 1px; margin: 0;
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; }
.facts div { box-shadow: 0 0 0 1px var(--line); padding: .7rem .9rem; }
.facts dt { color: var(--quiet); font-size: .8rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.facts small { display: block; font-size: .75rem; font-weight: 400; color: var(--quiet); }
.complete { color: var(--good); } .failed, .interrupted, .unfinished { color: var(--bad); }
.note { color: var(--quiet); margin: 1rem 0; overflow-wrap: anywhere; }
.reason { border-left: .25rem solid var(--bad); background: var(--card); padding: .7rem 1rem; margin: 1rem 0 0;
  overflow-wrap: anywhere; white-space: pre-wrap; }
figure { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; margin: 0 0 1.5rem;
  padding: 1rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff; border-radius: .3rem; }
.scroll { overflow-x: auto; }
figcaption { color: var(--quiet); font-size: .9rem; margin-top: .7rem; }
nav { font-size: .9rem; margin-top: 1rem; line-height: 2; } nav a { margin-right: 1rem; white-space: nowrap; }
a { color: var(--accent); }
details { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; margin: 0 0 .7rem; }
summary { cursor: pointer; padding: .7rem 1rem; font-weight: 600; }
.wide { overflow-x: auto; padding: 0 1rem 1rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; } .number { text-align: right; }
.absent { color: var(--quiet); font-size: .9rem; }
@media (max-width: 40rem) { main { padding: 1.2rem .7rem 3rem; } figure { padding: .6rem; }
  figure img { max-width: none; width: max(100%, min(34rem, var(--width))); } }
@media screen and (max-width: 40rem) { .scroll::before { content: "scroll sideways for all of it"; position: sticky;
  left: 0; color: var(--quiet); font-size: .75rem; } }
@media print { details > * { display: block; } figure { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class FigureImage:
    """A finished figure: PNG bytes, name, title and caption, and what it says to those who do not see it."""

    name: str
    title: str
    caption: str
    png: bytes
    alternative: str = ""  # the title, if empty

    def write(self, path: Path) -> None:
        """Write the PNG."""
        path.write_bytes(self.png)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the PNG's header."""
        width, height = struct.unpack(">II", self.png[16:24])
        return int(width), int(height)


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """The whole file, with ``title`` in the browser's tab and further ``style``; empty parts of it are omitted."""
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body><main>",
        *body,
        "</main></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def fact(name: str, value: str, note: str = "", kind: str = "") -> str:
    """One headline figure, for a ``dl`` of class ``facts``; ``kind`` is a CSS class."""
    small = f"<small>{escape(note)}</small>" if note else ""
    css = f' class="{escape(kind)}"' if kind else ""
    return f"<div><dt>{escape(name)}</dt><dd{css}>{escape(value)}{small}</dd></div>"


def figure(image: FigureImage) -> str:
    """An image inside the page, with its caption."""
    width, height = image.size
    data = base64.b64encode(image.png).decode("ascii")
    text = escape(image.alternative or image.title)
    return (
        f'<figure id="{escape(image.name)}"><div class="scroll"><img src="data:image/png;base64,{data}" '
        f'width="{width}" height="{height}" style="--width: {width}px" alt="{text}"></div>'
        f"<figcaption><strong>{escape(image.title)}.</strong> {escape(image.caption)}</figcaption></figure>"
    )


def table(content: Table, opened: bool = False) -> str:
    """A table that can be folded under its title."""
    state = " open" if opened else ""
    return (
        f"<details{state}><summary>{escape(content.title)}</summary>"
        f'<div class="wide">{plain_table(content)}</div></details>'
    )


def plain_table(content: Table) -> str:
    """The table alone."""
    numeric = [any(isinstance(row[i], (int, float)) for row in content.rows) for i in range(len(content.columns))]

    def line(tag: str, cells: Sequence[str]) -> str:
        classes = [' class="number"' if number else "" for number in numeric]
        inside = "".join(f"<{tag}{c}>{escape(cell)}</{tag}>" for c, cell in zip(classes, cells, strict=True))
        return f"<tr>{inside}</tr>"

    body = "\n".join(line("td", [shown(cell) for cell in row]) for row in content.rows)
    return f"<table><thead>{line('th', content.columns)}</thead><tbody>\n{body}\n</tbody></table>"
