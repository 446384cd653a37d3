"""The page of one trial."""

import math
from collections.abc import Sequence
from html import escape

from orchestrator import records as keys
from orchestrator.reporting.extents import extent_text
from orchestrator.reporting.html import Picture, document, fact, figure, table
from orchestrator.reporting.material import Material
from orchestrator.reporting.tables import Table, millions

LOAD_MODEL = """\
import mlflow, numpy as np
from PIL import Image
model = mlflow.pyfunc.load_model("model")  # in the folder of this page; from MLflow: "runs:/RUN_ID/model"
images = np.stack([np.asarray(Image.open(f).convert("RGB")).transpose(2, 0, 1) for f in files])  # uint8
names = [model.metadata.metadata["classes"][k] for k in model.predict(images).argmax(axis=1)]
"""  # files: the paths of images of the dataset's size


def write_page(material: Material, pictures: Sequence[Picture], tables: Sequence[Table], absent: Sequence[str]) -> str:
    """The HTML text; ``absent`` lists, one sentence each, what could not be made. All user text is escaped."""
    spec = material.spec
    links = "".join(f'<a href="#{escape(p.name)}">{escape(p.title)}</a> ' for p in pictures)
    links += '<a href="#tables">Tables</a>' if tables else ""
    reason = material.outcome.reason if material.outcome else ""
    missing = "".join(f"<li>{escape(line)}</li>" for line in absent)
    parts = [
        f"<h1>{escape(spec.label)}</h1>",
        f'<p class="sub">{escape(_subtitle(material))}</p>',
        '<dl class="facts">',
        *(fact(*known) for known in _facts(material)),
        "</dl>",
        f'<p class="reason">{escape(reason)}</p>' if reason else "",
        f"<nav>{links}</nav>" if links else "",
        "<h2>Figures</h2>" if pictures else "",
        *(figure(picture) for picture in pictures),
        '<h2 id="tables">Tables</h2>' if tables else "",
        *(table(content) for content in tables),
        *_model(material),
        f'<h2>Not in this report</h2><ul class="absent">{missing}</ul>' if missing else "",
    ]
    return document(spec.name, parts)


def _model(material: Material) -> list[str]:
    """How to use the trial's network, if its weights were saved."""
    if material.network is None:
        return []
    _, _, height, width = material.dataset.test.images.shape
    text = (
        f"Where the network was exported (tracking.models), the model takes images of {width} x {height} pixels as the "
        "dataset has them, uint8 from 0 to 255 (as a torch module float32 from 0 to 255, too; never from 0 to 1). It "
        "normalises them itself, computes in float32, and needs none of this project's code:"
    )
    return [f'<h2 id="model">Use the model</h2><p>{text}</p><pre class="wide">{escape(LOAD_MODEL)}</pre>']


def _subtitle(material: Material) -> str:
    spec = material.spec
    drawn = f", {spec.settings_label}" if spec.settings_label else ""
    place = "" if spec.variant == spec.label else f", {spec.variant}"
    return f"{material.dataset.name}, seed {spec.seed}{drawn}, {spec.trainer.protocol} protocol{place}"


def _facts(material: Material) -> list[tuple[str, str, str, str]]:
    """Name, value, a note and a CSS class for each fact, the result first."""
    status = _status(material)
    chosen = material.chosen_epoch
    judged = dict(material.curve(f"{material.judged}/accuracy")).get(chosen or 0)
    accuracy = material.final.get(keys.TEST_ACCURACY)
    if material.final and material.judged == "test":  # the last epoch's record holds it
        accuracy = judged
    split = "test" if material.judged == "test" else "validation"
    facts = [
        ("Test accuracy", _percent(accuracy), f"{len(material.labels):,} images", ""),
        ("Chosen epoch", str(chosen or "none"), f"{split} {_percent(judged)}" if judged is not None else "", ""),
        ("Epochs", f"{material.epochs} of {material.spec.trainer.epochs}", "", ""),
        ("Status", status, "", status),
        ("Seed", str(material.spec.seed), "", ""),
    ]
    if (analysis := material.analysis) is not None:
        field = analysis.receptive_field
        facts[2:2] = [
            ("Parameters", f"{analysis.parameters:,}", "", ""),
            ("MACs", millions(analysis.macs), "multiply-accumulates per image", ""),
            ("Receptive field", extent_text(field.output), f"{extent_text(field.features)} before global pooling", ""),
        ]
    return facts


def _status(material: Material) -> str:
    if material.outcome is not None:
        return str(material.outcome.status)
    return "complete" if material.final else "unfinished"


def _percent(fraction: float | None) -> str:
    return "not measured" if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.2f} %"
