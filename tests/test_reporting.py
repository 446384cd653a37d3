"""The report of one trial: every figure, table and page from whole trials, early ends and hostile names."""

import math
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from report_context import CLASSES, REASON, Page, make_context, make_dataset, make_records, rendered

from orchestrator import records as keys
from orchestrator.data import Dataset, Split
from orchestrator.errors import StorageError
from orchestrator.records import Outcome, Status
from orchestrator.reporting import report
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.figures import FIGURES
from orchestrator.reporting.page import write_page
from orchestrator.reporting.report import TABLES, render_report
from orchestrator.spec import Recipe, TrialSpec


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a complete trial, made in a background thread as a launch makes it."""
    folder = tmp_path_factory.mktemp("complete")
    settings = dict(matplotlib.rcParams)
    warnings: list[str] = []
    context = make_context(outcome=Outcome("x", Status.COMPLETE, REASON))
    thread = threading.Thread(target=render_report, args=(context, folder, warnings.append))
    thread.start()
    thread.join()
    assert warnings == []
    assert dict(matplotlib.rcParams) == settings
    return folder


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leave these figures in the table, so that a test that is about one of them is quick."""

    def keep(*names: str) -> None:
        monkeypatch.setattr(report, "FIGURES", {name: FIGURES[name] for name in names})

    return keep


def test_every_figure_and_table_of_a_complete_trial(complete: Path) -> None:
    assert {path.stem for path in (complete / "figures").iterdir()} == set(FIGURES)
    assert {path.name for path in (complete / "tables").iterdir()} == {
        f"{name}.{kind}" for name in TABLES for kind in ("csv", "md")
    }
    assert "Not in this report" not in (complete / "report.html").read_text("utf-8")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_decodes_at_its_size_and_shows_something(name: str, complete: Path) -> None:
    figure = FIGURES[name].draw(make_context())
    image = Image.open(complete / "figures" / f"{name}.png")
    assert image.size == tuple(int(inches * figure.dpi) for inches in figure.get_size_inches())
    assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_the_page_is_well_formed_self_contained_and_escaped(complete: Path) -> None:
    text = (complete / "report.html").read_text("utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert REASON in page.text
    assert "<b>Net<b>" in page.text
    assert CLASSES[1] in page.text
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in page.sources)
    assert sum(source.startswith("data:") for source in page.sources) == len(FIGURES)
    assert not any(outside in text for outside in ("http:", "https:", "//cdn", "@import", "url("))
    targets = [source[1:] for source in page.sources if source.startswith("#")]
    assert targets == [*FIGURES, "tables"]
    assert all(f'id="{target}"' in text for target in targets)


def test_the_page_states_the_facts(complete: Path) -> None:
    text = " ".join(Page((complete / "report.html").read_text("utf-8")).text)
    analysis = make_context().analysis
    assert analysis is not None
    for fact in ("50.00 %", "5 of 5", "complete", f"{analysis.parameters:,}", "seed 3", "validation 65.00 %"):
        assert fact in text
    assert f"{analysis.receptive_field.output} px" in text


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (
            {keys.FORWARD_SECONDS: 0.00042, keys.FORWARD_SECONDS_BATCHED: 0.00005},
            "0.42 ms 0.05 ms per image in batches",
        ),
        ({keys.FORWARD_SECONDS_BATCHED: 0.00005}, "Forward pass not measured 0.05 ms per image in batches"),
        ({}, ""),
    ],
)
def test_the_page_says_how_long_a_forward_pass_takes(measured: dict[str, float], words: str) -> None:
    *epochs, final = make_records(5)
    context = make_context(records=[*epochs, replace(final, metrics={**final.metrics, **measured})])
    text = " ".join(" ".join(Page(write_page(context, [], [], [])).text).split())
    assert words in text
    assert ("Forward pass" in text) is bool(measured)


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_trial_that_failed_early_still_gets_a_report(epochs: int, tmp_path: Path) -> None:
    context = make_context(
        records=make_records(epochs, final=False), logits=None, network=None, mean=(), std=(), augmentation=None,
        outcome=Outcome("x", Status.FAILED, "the loss became nan at epoch 1, step 3"),
    )  # fmt: skip
    figures, page = rendered(context, tmp_path)
    assert figures == {"curves", "metrics", "network", "receptive_field", "class_distribution"}
    assert "the loss became nan" in page
    assert "the trial was not evaluated on the test split" in page
    assert not (tmp_path / "tables" / "classification_report.csv").exists()


def test_nothing_but_data_still_gives_a_page(tmp_path: Path) -> None:
    context = make_context(
        records=[], logits=None, network=None, mean=(), std=(), augmentation=None, analysis=None, outcome=None
    )
    figures, page = rendered(context, tmp_path)
    assert figures == {"curves", "metrics", "class_distribution"}
    assert "unfinished" in Page(page).text


@pytest.mark.parametrize(("final", "accuracy"), [(True, "58.00 %"), (False, "not measured")])
def test_the_test_accuracy_of_the_published_protocol_is_that_of_its_last_epoch(
    final: bool, accuracy: str, tmp_path: Path, only: Callable[..., None]
) -> None:
    only()
    spec = TrialSpec(variant="stride", trainer=Recipe(epochs=5, protocol="published"))
    _, page = rendered(make_context(spec=spec, records=make_records(5, "test", final)), tmp_path)
    text = Page(page).text
    assert text[text.index("Test accuracy") + 1] == accuracy


def test_a_figure_that_fails_costs_one_warning_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: Callable[..., None]
) -> None:
    only("curves", "calibration", "receptive_field")

    def fail(context: ReportContext) -> None:
        raise RuntimeError("planted failure\nsecond line")

    monkeypatch.setitem(report.FIGURES, "calibration", replace(FIGURES["calibration"], draw=fail))
    warnings: list[str] = []
    render_report(make_context(), tmp_path, warnings.append)
    assert warnings == ["figure calibration could not be made: RuntimeError: planted failure"]
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"curves", "receptive_field"}
    assert "Calibration (figure): it could not be made." in (tmp_path / "report.html").read_text("utf-8")


def test_predictions_that_are_not_numbers_do_not_cost_the_report(tmp_path: Path, only: Callable[..., None]) -> None:
    only("calibration", "misclassified")
    warnings: list[str] = []
    render_report(make_context(logits=torch.full((60, 5), math.nan)), tmp_path, warnings.append)
    assert (tmp_path / "report.html").exists()
    assert all("could not be" in warning for warning in warnings)


def test_a_report_drawn_again_removes_what_it_no_longer_has_and_nothing_of_the_users(
    tmp_path: Path, only: Callable[..., None]
) -> None:
    only("curves", "calibration")
    mine = {"figures/mine.png", "figures/calibration.svg", "figures/paper/curves.png", "figures/calibration.png.txt",
            "tables/mine.csv", "tables/classification_report.xlsx", "tables/notes/layers.csv"}  # fmt: skip
    for name in mine:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    before, _ = rendered(make_context(), tmp_path)
    assert "calibration" in before
    again, _ = rendered(make_context(logits=None), tmp_path)
    assert "calibration" not in again
    every = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    own = {f"tables/{name}.{kind}" for name in ("metrics", "layers", "receptive_field") for kind in ("csv", "md")}
    assert every == mine | own | {"figures/curves.png", "report.html"}
    assert {(tmp_path / name).read_text() for name in mine} == {"mine"}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_code_that_uses_the_model_reads_images_as_the_dataset_has_them(channels: int, tmp_path: Path) -> None:
    """The line that the page prints, run on image files."""
    images = make_dataset().test.images[:2, :channels]
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(file)
    split = Split(images, torch.arange(2))
    context = replace(make_context(), dataset=Dataset("noise", split, split, ("cat", "dog")), logits=None)
    code = "".join(Page(write_page(context, [], [], [])).text)
    [line] = [line for line in code.splitlines() if line.startswith("images = ")]
    known: dict[str, Any] = {"np": np, "Image": Image, "files": files}
    exec(line, known)
    assert known["images"].dtype == np.uint8
    assert np.array_equal(known["images"], images.numpy())


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    context = make_context(logits=None, network=None, analysis=None, augmentation=None)
    with pytest.raises(StorageError, match="file"):
        render_report(context, tmp_path / "file", lambda _: None)


def test_importing_the_room_imports_no_matplotlib() -> None:
    import subprocess

    code = "import sys, orchestrator.reporting; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
