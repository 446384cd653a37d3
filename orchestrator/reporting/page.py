"""The page of one trial: a single HTML file with everything inside it, which needs no network and no script."""

import base64
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from orchestrator import records as keys
from orchestrator.reporting.extents import extent_text
from orchestrator.reporting.material import Material
from orchestrator.reporting.tables import Table, millions, shown

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
.complete { color: var(--good); } .failed, .stopped, .unfinished { color: var(--bad); }
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
@media print { details > * { display: block; } figure { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Picture:
    """A finished figure: PNG bytes, what it is called, and the sentence under it."""

    name: str
    title: str
    caption: str
    png: bytes

    def write(self, path: Path) -> None:
        """Write the PNG."""
        path.write_bytes(self.png)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the PNG's header."""
        width, height = struct.unpack(">II", self.png[16:24])
        return int(width), int(height)


def write_page(material: Material, pictures: Sequence[Picture], tables: Sequence[Table], absent: Sequence[str]) -> str:
    """The HTML text; ``absent`` says, a sentence each, what could not be made. All text from people is escaped."""
    spec = material.spec
    links = "".join(f'<a href="#{escape(p.name)}">{escape(p.title)}</a> ' for p in pictures)
    links += '<a href="#tables">Tables</a>' if tables else ""
    reason = material.outcome.reason if material.outcome else ""
    missing = "".join(f"<li>{escape(line)}</li>" for line in absent)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(spec.name)}</title><style>{STYLE}</style></head><body><main>",
        f"<h1>{escape(spec.label)}</h1>",
        f'<p class="sub">{escape(_subtitle(material))}</p>',
        '<dl class="facts">',
        *(_fact(*fact) for fact in _facts(material)),
        "</dl>",
        f'<p class="reason">{escape(reason)}</p>' if reason else "",
        f"<nav>{links}</nav>" if links else "",
        "<h2>Figures</h2>" if pictures else "",
        *(_figure(picture) for picture in pictures),
        '<h2 id="tables">Tables</h2>' if tables else "",
        *(_table(table) for table in tables),
        f'<h2>Not in this report</h2><ul class="absent">{missing}</ul>' if missing else "",
        "</main></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _subtitle(material: Material) -> str:
    spec = material.spec
    sample = "" if spec.sample is None else f", sample {spec.sample}"
    place = "" if spec.variant == spec.label else f", {spec.variant}"
    return f"{material.dataset.name}, seed {spec.seed}{sample}, {spec.trainer.protocol} protocol{place}"


def _facts(material: Material) -> list[tuple[str, str, str, str]]:
    """Name, value, a note and a CSS class for each fact, the result first."""
    status = _status(material)
    accuracy = material.final.get(keys.TEST_ACCURACY, math.nan)
    chosen = material.chosen_epoch
    judged = dict(material.curve(f"{material.judged}/accuracy")).get(chosen or 0)
    split = "test" if material.judged == "test" else "validation"
    facts = [
        ("Test accuracy", _percent(accuracy), f"{len(material.labels):,} pictures", ""),
        ("Chosen epoch", str(chosen or "none"), f"{split} {_percent(judged)}" if judged is not None else "", ""),
        ("Epochs", f"{material.epochs} of {material.spec.trainer.epochs}", "", ""),
        ("Status", status, "", status),
        ("Seed", str(material.spec.seed), "", ""),
    ]
    if (analysis := material.analysis) is not None:
        field = analysis.receptive_field
        facts[2:2] = [
            ("Parameters", f"{analysis.parameters:,}", "", ""),
            ("MACs", millions(analysis.macs), "multiply-accumulates a picture", ""),
            ("Receptive field", extent_text(field.output), f"{extent_text(field.features)} before global pooling", ""),
        ]
    return facts


def _status(material: Material) -> str:
    if material.outcome is not None:
        return str(material.outcome.status)
    return "complete" if material.final else "unfinished"


def _percent(fraction: float | None) -> str:
    return "not measured" if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.2f} %"


def _fact(name: str, value: str, note: str, kind: str) -> str:
    small = f"<small>{escape(note)}</small>" if note else ""
    css = f' class="{escape(kind)}"' if kind else ""
    return f"<div><dt>{escape(name)}</dt><dd{css}>{escape(value)}{small}</dd></div>"


def _figure(picture: Picture) -> str:
    width, height = picture.size
    data = base64.b64encode(picture.png).decode("ascii")
    return (
        f'<figure id="{escape(picture.name)}"><div class="scroll"><img src="data:image/png;base64,{data}" '
        f'width="{width}" height="{height}" style="--width: {width}px" alt="{escape(picture.title)}"></div>'
        f"<figcaption><strong>{escape(picture.title)}.</strong> {escape(picture.caption)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    numeric = [any(isinstance(row[i], (int, float)) for row in table.rows) for i in range(len(table.columns))]

    def line(tag: str, cells: Sequence[str]) -> str:
        classes = [' class="number"' if number else "" for number in numeric]
        inside = "".join(f"<{tag}{c}>{escape(cell)}</{tag}>" for c, cell in zip(classes, cells, strict=True))
        return f"<tr>{inside}</tr>"

    body = "\n".join(line("td", [shown(cell) for cell in row]) for row in table.rows)
    return (
        f'<details><summary>{escape(table.title)}</summary><div class="wide"><table><thead>'
        f"{line('th', table.columns)}</thead><tbody>\n{body}\n</tbody></table></div></details>"
    )
