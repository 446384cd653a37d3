"""The page of one trial."""

import math
from collections.abc import Sequence
from html import escape

from orchestrator import records as keys
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.formatting import amount, extent_text
from orchestrator.reporting.html import FigureImage, document, fact, figure, table
from orchestrator.reporting.states import state_word
from orchestrator.reporting.tables import Table

LOAD_MODEL = """\
import mlflow, numpy as np
from PIL import Image
model = mlflow.pyfunc.load_model("model")  # in the folder of this page; from MLflow: "runs:/RUN_ID/model"
images = np.stack([{image} for f in files])  # uint8
names = [model.metadata.metadata["classes"][k] for k in model.predict(images).argmax(axis=1)]
"""  # files: the paths of images of the dataset's size
# An image file as the dataset has it, (C, H, W).
GREY = 'np.asarray(Image.open(f).convert("L"))[None]'
COLOUR = 'np.asarray(Image.open(f).convert("RGB")).transpose(2, 0, 1)'


def write_page(
    context: ReportContext, images: Sequence[FigureImage], tables: Sequence[Table], absent: Sequence[str]
) -> str:
    """The HTML text; ``absent`` lists, one sentence each, what could not be made. All user text is escaped."""
    spec = context.spec
    links = "".join(f'<a href="#{escape(p.name)}">{escape(p.title)}</a> ' for p in images)
    links += '<a href="#tables">Tables</a>' if tables else ""
    reason = context.outcome.reason if context.outcome else ""
    missing = "".join(f"<li>{escape(line)}</li>" for line in absent)
    parts = [
        f"<h1>{escape(spec.label)}</h1>",
        f'<p class="sub">{escape(_subtitle(context))}</p>',
        '<dl class="facts">',
        *(fact(*known) for known in _facts(context)),
        "</dl>",
        f'<p class="{"note" if _status(context) == "stopped" else "reason"}">{escape(reason)}</p>' if reason else "",
        f"<nav>{links}</nav>" if links else "",
        "<h2>Figures</h2>" if images else "",
        *(figure(image) for image in images),
        '<h2 id="tables">Tables</h2>' if tables else "",
        *(table(content) for content in tables),
        *_model(context),
        f'<h2>Not in this report</h2><ul class="absent">{missing}</ul>' if missing else "",
    ]
    return document(spec.name, parts)


def _model(context: ReportContext) -> list[str]:
    """How to use the trial's network, if its weights were saved."""
    if context.network is None:
        return []
    _, channels, height, width = context.dataset.test.images.shape
    text = (
        f"Where the network was exported (tracking.models), the model takes images of {width} x {height} pixels as the "
        "dataset has them, uint8 from 0 to 255 (as a torch module float32 from 0 to 255, too; never from 0 to 1). It "
        "normalises them itself, computes in float32, and needs none of this project's code:"
    )
    load = LOAD_MODEL.replace("{image}", GREY if channels == 1 else COLOUR)
    return [f'<h2 id="model">Use the model</h2><p>{text}</p><pre class="wide">{escape(load)}</pre>']


def _subtitle(context: ReportContext) -> str:
    spec = context.spec
    drawn = f", {spec.settings_label}" if spec.settings_label else ""
    place = "" if spec.variant == spec.label else f", {spec.variant}"
    return f"{context.dataset.name}, seed {spec.seed}{drawn}, {spec.trainer.protocol} protocol{place}"


def _facts(context: ReportContext) -> list[tuple[str, str, str, str]]:
    """Name, value, a note and a CSS class for each fact, the result first."""
    status = _status(context)
    chosen = context.chosen_epoch
    evaluated = dict(context.curve(f"{context.evaluated}/accuracy")).get(chosen or 0)
    accuracy = context.final.get(keys.TEST_ACCURACY)
    if context.final and context.evaluated == "test":  # the last epoch's record holds it
        accuracy = evaluated
    split = "test" if context.evaluated == "test" else "validation"
    facts = [
        ("Test accuracy", _percent(accuracy), f"{len(context.labels):,} images", ""),
        ("Chosen epoch", str(chosen or "none"), f"{split} {_percent(evaluated)}" if evaluated is not None else "", ""),
        ("Epochs", f"{context.epochs} of {context.spec.trainer.epochs}", "", ""),
        ("Status", state_word(status), "", status),
        ("Seed", str(context.spec.seed), "", ""),
        *_forward(context),
    ]
    if (analysis := context.analysis) is not None:
        field = analysis.receptive_field
        facts[2:2] = [
            ("Parameters", f"{analysis.parameters:,}", "", ""),
            ("MACs", amount(analysis.macs), "multiply-accumulates per image", ""),
            ("Receptive field", extent_text(field.output), f"{extent_text(field.features)} before global pooling", ""),
        ]
    return facts


def _forward(context: ReportContext) -> list[tuple[str, str, str, str]]:
    """How long a forward pass takes for an image; nothing unless it was measured."""
    alone, batched = (context.final.get(name) for name in keys.FORWARD)
    if alone is None and batched is None:
        return []
    note = "" if batched is None else f"{1e3 * batched:.3g} ms per image in batches"
    return [("Forward pass", "not measured" if alone is None else f"{1e3 * alone:.3g} ms", note, "")]


def _status(context: ReportContext) -> str:
    if context.outcome is not None:
        return str(context.outcome.status)
    return "complete" if context.final else "unfinished"


def _percent(fraction: float | None) -> str:
    return "not measured" if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.2f} %"
