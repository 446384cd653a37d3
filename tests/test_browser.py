"""What a person sees: the report and comparison pages, MLflow's run table and compare page, in headless Chromium."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from comparison_context import make_comparison, write
from driving import ORCHESTRATOR, page
from patience import PATIENCE

from orchestrator import records as keys
from orchestrator.tracking.read import find_launch
from orchestrator.tracking.saved_view import address
from orchestrator.tracking.store import connect
from orchestrator.tracking.trial_rows import read_trials

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
READER = shutil.which("pdftotext")
SHOTS = Path(os.environ.get("SCREENSHOTS", "build/screenshots"))
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
]  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.ray,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


def look(url: str, profile: Path, shot: str, size: str = "1400,1000") -> str:
    """The page's document after its scripts have run; its picture goes to ``build/screenshots``."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    common = [
        str(CHROMIUM),
        *FLAGS,
        f"--user-data-dir={profile}",
        f"--window-size={size}",
        "--virtual-time-budget=30000",
    ]
    picture = SHOTS / f"{shot}.png"
    subprocess.run(
        [*common, f"--screenshot={picture.resolve()}", url], capture_output=True, timeout=PATIENCE, check=True
    )
    assert picture.stat().st_size > 10_000
    seen = subprocess.run([*common, "--dump-dom", url], capture_output=True, text=True, timeout=PATIENCE, check=True)
    return seen.stdout


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small launch of two real variants has been run."""
    folder = tmp_path_factory.mktemp("launch")
    (folder / "small.yaml").write_text(
        "name: small\nvariants: [grouped_concat, dilated_separable]\nseeds: [0]\ntarget_accuracy: 0.5\n"
        "trainer: {epochs: 2, batch_size: 32, optimizer: {lr: 0.05}}\n"
    )
    subprocess.run(
        [ORCHESTRATOR, "run", "small.yaml"], cwd=folder, check=True, timeout=PATIENCE, stdout=subprocess.PIPE
    )
    return folder


@pytest.fixture(scope="module")
def server(launch: Path) -> Iterator[str]:
    """MLflow's page over that launch, by our own command."""
    with page(launch) as (url, _):
        yield url


def test_the_report_opens_without_a_network(launch: Path, tmp_path: Path) -> None:
    report = next((launch / "storage").rglob("grouped_concat/seed-0/report.html"))
    for shot, size in (("report", "1200,2400"), ("report-phone", "420,2400")):
        page = look(report.as_uri(), tmp_path / shot, shot, size)
        assert "145,114" in page
        assert re.search(r'<img[^>]+src="data:image/png;base64,', page)
        assert not re.search(r'(?:src|href)="https?://', page)


PROBE = """<script>
addEventListener("load", () => {
  const room = document.documentElement.clientWidth;
  const wide = document.documentElement.scrollWidth - room;
  const outside = [...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > room + 1
    && !e.closest(".scroll, .wide")).map(e => e.tagName + " " + e.className);
  const broken = [...document.images].filter(i => !i.naturalWidth).length;
  parent.postMessage(`width ${innerWidth} wide ${wide} broken ${broken} outside ${outside}.`, "*");
});
</script></body>"""
FRAME = """<body style="margin: 0"><iframe width="{width}" height="2400" style="border: 0" src="{url}"></iframe><script>
addEventListener("message", message => document.body.dataset.probe = message.data);</script></body>"""


@pytest.mark.parametrize(("width", "count", "seeds"), [(360, 2, 1), (360, 12, 3), (1200, 5, 3)])
def test_the_comparison_fits_a_phone_and_a_desk(width: int, count: int, seeds: int, tmp_path: Path) -> None:
    """With every table unfolded; wide tables and figures scroll inside their boxes.

    A frame has any width; a window of Chromium is never narrower than 500 pixels.
    """
    text, _ = write(make_comparison(count, seeds, judged={"margin": 0.01}), tmp_path)
    unfolded = text.replace("<details", "<details open").replace("</body>", PROBE)
    (tmp_path / "open.html").write_text(unfolded, encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width, url="open.html"), encoding="utf-8")
    seen = look(frame.as_uri(), tmp_path / "p", f"comparison-{count}-{width}", "1240,2400")
    assert f'data-probe="width {width} wide 0 broken 0 outside ."' in seen


def test_the_comparison_page_says_nothing_on_the_console(tmp_path: Path) -> None:
    write(make_comparison(2, 2), tmp_path)
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'p'}", "--enable-logging=stderr", "--dump-dom"]
    url = (tmp_path / "comparison.html").as_uri()
    seen = subprocess.run([*command, url], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert "made &lt;up&gt;" in seen.stdout
    assert "CONSOLE" not in seen.stderr


@pytest.mark.skipif(READER is None, reason="pdftotext is not installed")
def test_the_comparison_prints_with_its_tables(tmp_path: Path) -> None:
    """Tables that are folded on the screen are on paper, and no number is cut off at its edge."""
    context = make_comparison(5, 3)
    write(context, tmp_path)
    paper = tmp_path / "paper.pdf"
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'p'}", f"--print-to-pdf={paper}"]
    url = (tmp_path / "comparison.html").as_uri()
    subprocess.run([*command, url], capture_output=True, timeout=PATIENCE, check=True)
    read = subprocess.run([str(READER), "-layout", str(paper), "-"], capture_output=True, text=True, check=True).stdout
    for trial in context.trials:
        assert trial.run_id in read
    assert f"{context.verdict.pairs[0].difference:.4f}" in read


def test_the_run_table_shows_variants_and_figures(launch: Path, server: str, tmp_path: Path) -> None:
    client = connect(f"sqlite:///{launch / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small").experiment_id
    page = look(address(server, experiment), tmp_path / "p", "runs", "2200,900")
    rows = read_trials(client, find_launch(client, "small")[0])
    for row in rows:
        assert row.trial in page
        assert str(row.parameters) in page
        assert f"{row.test_accuracy:.5f}"[:6] in page
    for name in (keys.PARAMETERS, keys.RECEPTIVE_FIELD, keys.TEST_ACCURACY):
        assert name in page


def test_the_compare_page_shows_variants_parameters_receptive_field_and_accuracy(
    launch: Path, server: str, tmp_path: Path
) -> None:
    client = connect(f"sqlite:///{launch / 'mlflow.db'}")
    parent, _, _ = find_launch(client, "small")
    rows = read_trials(client, parent)
    runs = ",".join(f'"{row.run_id}"' for row in rows)
    experiment = client.get_experiment_by_name("small").experiment_id
    url = f'{server}/#/compare-runs?runs=[{runs}]&experiments=["{experiment}"]'
    page = look(url, tmp_path / "p", "compare", "1400,2600")
    for row in rows:
        assert row.trial in page
        assert str(row.parameters) in page
    for name in (keys.PARAMETERS, keys.RECEPTIVE_FIELD, keys.TEST_ACCURACY, keys.MACS):
        assert name in page
