"""The sections of a launch's page, as HTML, in the order in which they are read."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape

from orchestrator.records import Status
from orchestrator.reporting import html
from orchestrator.reporting.comparison.context import CaptionedTable, ComparisonContext
from orchestrator.reporting.comparison.disagreement import shown_pair
from orchestrator.reporting.comparison.matrix import MATRIX_STYLE, matrix_table
from orchestrator.reporting.comparison.wording import left_out
from orchestrator.reporting.html import FigureImage
from orchestrator.reporting.names import class_numbers, numbers_note, variant_number
from orchestrator.reporting.tables import Table
from orchestrator.text import counted
from orchestrator.verdict.sentence import SCOPE

MOST_ROWS = 200  # of a table that lists images
STYLE = (
    MATRIX_STYLE
    + """
.verdict { font-size: 1.3rem; line-height: 1.45; margin: 1rem 0 .6rem; } main > p { overflow-wrap: anywhere; }
.scope, .note { color: var(--quiet); margin: 0 0 1rem; overflow-wrap: anywhere; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem;
  margin: 0 0 1rem; white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; font-size: .9rem; }
summary, figcaption, nav a, h2 { overflow-wrap: anywhere; } nav a { white-space: normal; display: inline-block; }
td { max-width: 24rem; overflow-wrap: anywhere; } td:first-child { min-width: 9rem; white-space: normal; }
@media (max-width: 40rem) { figure img { width: max(100%, calc(.72 * var(--width))); } }
@media print { @page { margin: 14mm; } @page numbers { size: landscape; margin: 12mm; }
  :root { color-scheme: light; --page: #fff; --card: #fff; --ink: #1a1a1a; --quiet: #5b6470; --line: #c8ccd2;
  --accent: #0072b2; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; } nav, .again { display: none; }
  h2 { break-after: avoid; margin-top: 1.2rem; } .numbers { page: numbers; }
  details::details-content { content-visibility: visible; display: block; block-size: auto; }
  .wide, .scroll { overflow: visible; } figure { padding: .5rem; margin-bottom: .8rem; }
  figure img { max-width: 100%; width: auto; max-height: 215mm; } figcaption { margin-top: .3rem; }
  table { font-size: 6.5pt; } th, td { white-space: normal; padding: .15rem .4rem .15rem 0; }
  th, td:first-child, td:nth-child(2) { overflow-wrap: anywhere; } td.number { white-space: nowrap; }
  td:first-child { min-width: 0; } tr { break-inside: avoid; } }
"""
)


def page(
    context: ComparisonContext,
    figures: Mapping[str, Sequence[FigureImage]],
    tables: Mapping[str, Table],
    absent: Sequence[str],
) -> str:
    """The HTML text; ``figures`` by section, ``absent`` one sentence for each missing part. User text is escaped."""
    sections = [
        ("intervals", "Intervals", _figures(figures["intervals"])),
        ("pairs", "Every pair", [*_figures(figures["pairs"]), _matrix(context)]),
        ("fronts", "Accuracy and cost", _figures(figures["fronts"])),
        ("curves", "Curves", _figures(figures["curves"])),
        ("classes", "Classes", [*_figures(figures["classes"]), *_tables(tables, "class_accuracy")]),
        ("disagreement", "Images on which variants disagree", _disagreement(context, figures, tables)),
        ("rounds", "Rounds", _captioned(context.rounds)),
        ("spending", "Where the time went", _captioned(context.spending)),
        ("search", "Search", _captioned(context.search)),
        ("evidence", "More evidence", _evidence(context)),
        (
            "numbers",
            "All numbers",
            ['<div class="numbers">', *_tables(tables, "variants", "pairs", "trials", "published_curve"), "</div>"],
        ),
    ]
    kept = [(name, heading, parts) for name, heading, parts in sections if any(parts)]
    links = " ".join(f'<a href="#section-{name}">{escape(heading)}</a>' for name, heading, _ in kept)
    body = [*_top(context), f"<nav>{links}</nav>"]
    for name, heading, parts in kept:
        body += [f'<section class="{name}"><h2 id="section-{name}">{escape(heading)}</h2>', *parts, "</section>"]
    if absent:
        lines = "".join(f"<li>{escape(line)}</li>" for line in absent)
        body.append(f'<h2>Not on this page</h2><ul class="absent">{lines}</ul>')
    return html.document(f"{context.experiment}: comparison", body, STYLE)


def summary(context: ComparisonContext, tables: Iterable[Table]) -> str:
    """The verdict in words and its tables, for a notebook."""
    return f"<p>{escape(context.verdict.sentence)}</p>" + "".join(html.plain_table(table) for table in tables)


def _top(context: ComparisonContext) -> list[str]:
    """Title, verdict in words, its scope, what is missing, and the headline figures."""
    said, scope = context.verdict.sentence, ""
    if said.endswith(SCOPE):
        said, scope = said.removesuffix(SCOPE).rstrip(), SCOPE
    first, dot, rest = said.partition(". ")
    first += dot.strip()
    about = f"<br>{escape(context.description)}" if context.description else ""
    return [
        f"<h1>{escape(context.experiment)}</h1>",
        f'<p class="sub">launch {escape(context.launch)}{about}</p>',
        f'<p class="verdict">{_unbroken(first)}</p>' if first else "",
        f"<p>{_unbroken(rest)}</p>" if rest else "",
        f'<p class="scope">{escape(scope)}</p>' if scope else "",
        f'<p class="note">{escape(stopped)}</p>' if (stopped := _stopped(context)) else "",
        *(f'<p class="note">{escape(text)}</p>' for text in _numbers(context) if text),
        *(f'<p class="reason">{escape(text)}</p>' for text in (_missing(context), left_out(context.left_out)) if text),
        '<dl class="facts">',
        *(html.fact(name, value, note) for name, value, note in _facts(context)),
        "</dl>",
    ]


def _numbers(context: ComparisonContext) -> list[str]:
    """What numbers stand for in the figures, if they could not be drawn with every name."""
    variants = {name: variant_number(place) for place, name in enumerate(context.variants, 1)}
    return [numbers_note(variants, "variants"), numbers_note(class_numbers(context.classes), "classes")]


def _missing(context: ComparisonContext) -> str:
    """Which trials take no part because they failed or have not ended, if any."""
    counts = Counter(t.status for t in context.trials if t.status not in (Status.COMPLETE, Status.STOPPED))
    if not counts:
        return ""
    parts = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    running = " The verdict may change while trials are running." if counts["running"] else ""
    trials = counted(len(context.trials), "trial")
    return f"Of {trials}, not complete: {parts}. They take no part in the comparison.{running}"


def _stopped(context: ComparisonContext) -> str:
    """What the scheduler stopped, if anything."""
    stopped = [trial for trial in context.trials if trial.status == Status.STOPPED]
    if not stopped:
        return ""
    reached = [trial.val_accuracy for trial in stopped if trial.val_accuracy is not None]
    best = f" The best of them had a validation accuracy of {100 * max(reached):.2f} %." if reached else ""
    was, they, take = ("was", "It", "takes") if len(stopped) == 1 else ("were", "They", "take")
    return (
        f"Of {counted(len(context.trials), 'trial')}, {len(stopped)} {was} stopped early by the scheduler, as planned. "
        f"{they} {take} no part in the comparison.{best}"
    )


def _facts(context: ComparisonContext) -> list[tuple[str, str, str]]:
    """Name, value and a note of each headline figure."""
    verdict, measured = context.verdict, context.measured
    seeds = sorted({score.n for score in verdict.variants})
    complete = sum(trial.status == "complete" for trial in context.trials)
    compared = sum(score.n for score in verdict.variants)
    ahead = "leading" if verdict.baseline is None else "better than the baseline"
    note = f"{len(context.leading)} {ahead}" if len(measured) > 1 else ""
    facts = [("Variants", str(len(verdict.variants)), note)]
    each = ""
    if measured:
        highest = "test accuracy" if len(measured) == 1 else f"the highest of {len(measured)}, so rather too high"
        if any((score.mean or 0) > (measured[0].mean or 0) for score in measured):  # in rounds, over fewer seeds
            highest = "the highest of those that are not shown to be worse"
        facts.append(("Best mean", f"{100 * (measured[0].mean or 0):.2f} %", highest))
        count = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        each = f"n = {count} for each variant"
    of_them = "" if compared == complete else f"{compared} of them compared, "
    facts.append(("Trials", f"{complete} of {len(context.trials)}", f"complete, {of_them}{each}".rstrip(", ")))
    if verdict.images is not None:
        facts.append(("Test images", f"{verdict.images:,}", ""))
    margin = "" if verdict.margin is None else f"margin {100 * verdict.margin:.2f} points"
    facts.append(("Confidence", f"{100 * verdict.confidence:g} %", margin))
    return facts


def _figures(images: Sequence[FigureImage]) -> list[str]:
    return [html.figure(image) for image in images]


def _tables(tables: Mapping[str, Table], *names: str) -> list[str]:
    return [html.table(tables[name]) for name in names if name in tables]


def _matrix(context: ComparisonContext) -> str:
    """Folded, since the figure shows the same."""
    content = matrix_table(context)
    return f'<details class="again"><summary>The same as a table</summary>{content}</details>' if content else ""


def _disagreement(
    context: ComparisonContext, figures: Mapping[str, Sequence[FigureImage]], tables: Mapping[str, Table]
) -> list[str]:
    parts = _figures(figures["disagreement"])
    if shown_pair(context) is not None and context.images is None:
        parts.append(
            '<p class="note">The dataset was not at hand when this page was made, so the images are listed by number.'
            f"{' With the dataset at hand, this shows them:' if context.more_images else ''}</p>"
        )
        parts.append(_command(context.more_images))
    counts = [html.table(tables["disagreement"], opened=True)] if "disagreement" in tables else []
    numbers = html.table(_first(tables["disagreement_images"])) if "disagreement_images" in tables else ""
    if numbers and figures["disagreement"]:  # on paper, the images are enough
        numbers = f'<div class="again">{numbers}</div>'
    return [*parts, *counts, numbers]


def _first(table: Table) -> Table:
    """The table without the rows that would make the page long; its files have all of them."""
    if len(table.rows) <= MOST_ROWS:
        return table
    title = f"{table.title}: the first {MOST_ROWS} of {len(table.rows):,}"
    return replace(table, title=title, rows=table.rows[:MOST_ROWS])


def _captioned(tables: Sequence[CaptionedTable]) -> list[str]:
    parts = []
    for one in tables:
        caption = f'<p class="note">{escape(one.caption)}</p>' if one.caption else ""
        parts += [caption, html.table(one.table, opened=True)]
    return parts


def _evidence(context: ComparisonContext) -> list[str]:
    if not context.more_evidence:
        return []
    return [
        '<p class="note">More seeds narrow the intervals. This command amends the launch: only the new seeds are '
        "trained. If there were three or more before, the new verdict says that seeds were added.</p>",
        _command(context.more_evidence),
    ]


def _command(text: str) -> str:
    return f"<pre>{escape(text)}</pre>" if text else ""


def _unbroken(text: str) -> str:
    """Escaped, with no line break inside of ``95 %`` and ``n = 3``."""
    return escape(text).replace(" %", "&nbsp;%").replace("n = ", "n&nbsp;=&nbsp;")
