"""The page of a launch's comparison: what it shows is read from MLflow, and it is drawn in any process."""

import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import records as keys
from orchestrator.data import load_dataset
from orchestrator.data.arrays import from_arrays
from orchestrator.errors import DataError, StorageError
from orchestrator.files import write_atomically, write_text
from orchestrator.reporting.comparison.context import CaptionedTable, ComparisonContext
from orchestrator.reporting.comparison.numbers import published_table
from orchestrator.reporting.comparison.rounds import CAPTION as ROUNDS
from orchestrator.reporting.comparison.rounds import rounds_table
from orchestrator.reporting.comparison.search import CAPTION as SEARCH
from orchestrator.reporting.comparison.search import search_table
from orchestrator.reporting.comparison.search_words import sentences
from orchestrator.reporting.comparison.spending import caption as spending_caption
from orchestrator.reporting.comparison.spending import spending_table
from orchestrator.reporting.published import read_curve
from orchestrator.scheduling.ray_executor import RayExecutor
from orchestrator.selection import chosen_trials, measured_trials
from orchestrator.spec.rounds import seeds_of_rounds
from orchestrator.tracking.artifacts import COMPARISON, artifacts_of, log_comparison
from orchestrator.tracking.read import read_dataset, read_epochs
from orchestrator.verdict import Decision
from orchestrator.verdict.planning import LEAST_SEEDS
from orchestrator.workflow.apart import apart
from orchestrator.workflow.results import Results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.data import Dataset

UNKNOWN_FILE = "EXPERIMENT.yaml"  # of a launch from Python, whose settings came from no file
MOST_ADVISED = 20  # seeds of a variant in a command to copy; with more, nobody would run it as it is
CURVES = (keys.VAL_ACCURACY, keys.TEST_ACCURACY, keys.TRAIN_LOSS)


def read_context(results: Results, published: Sequence[tuple[int, float]] | None = None) -> ComparisonContext:
    """What the page shows of ``results``, without the images; curves are read from MLflow.

    ``published``: the published curve, empty if there is none; None: that of the launch's own page.
    """
    client = results.client
    compared = [t for mine in chosen_trials(results.rows).values() for t in measured_trials(mine)]
    predicted = {(t.variant, t.seed): results.predicted[t.run_id] for t in compared if t.run_id in results.predicted}
    labels = next(iter(predicted.values())).labels if predicted else None
    return replace(
        results.comparison.context(),
        description=results.judging.description,
        left_out=results.left_out,
        curves={} if client is None else {t.trial: read_epochs(client, t.run_id, CURVES) for t in compared},
        published=_published_before(results) if published is None else published,
        predicted={trial: p.predicted for trial, p in predicted.items()},
        labels=labels,
        rounds=_rounds(results),
        search=_search(results),
        spending=[CaptionedTable(spending_table(results.spent), spending_caption(results.spent))],
        more_evidence=_more_evidence(results),
        more_images=f"orchestrator compare {shlex.quote(results.experiment)} --launch {results.launch}"
        f"{_store(results)} --data-dir FOLDER --html comparison.html",
    )


def _rounds(results: Results) -> list[CaptionedTable]:
    rounds = results.comparison.rounds
    return [CaptionedTable(rounds_table(rounds), f"{rounds.sentence} {ROUNDS}".strip())] if rounds else []


def _search(results: Results) -> list[CaptionedTable]:
    rows = results.comparison.searches
    return [CaptionedTable(search_table(rows), f"{sentences(rows)} {SEARCH}")] if rows else []


def _published_before(results: Results) -> list[tuple[int, float]]:
    """The published curve that the launch's own page has in MLflow; empty if it has none."""
    if results.client is None:
        return []
    with tempfile.TemporaryDirectory() as folder, suppress(Exception):  # whatever an artifact store raises
        artifacts = artifacts_of(results.client, results.client.get_run(results.parent_run_id))
        file: str = artifacts.download_artifacts("tables/published_curve.csv", folder)
        return read_curve(Path(file))
    return []


def with_images(context: ComparisonContext, dataset: "Dataset") -> ComparisonContext:
    """The same with the images and the names of the classes, if they are those that were classified."""
    labels = dataset.test.labels.numpy()
    if context.labels is not None and context.labels.tolist() != labels.tolist():
        return context
    return replace(context, labels=labels, classes=dataset.classes, images=dataset.test.images)


def draw(context: ComparisonContext, packed: Mapping[str, Any]) -> tuple[dict[str, bytes], list[str]]:
    """In any process: the files of the page by relative path, with the images of a dataset, and warnings."""
    from orchestrator.reporting.comparison.write import write_comparison  # with matplotlib

    warnings: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        write_comparison(with_images(context, from_arrays(packed)), Path(folder), warnings.append)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}, warnings


def publish_comparison(
    results: Results,
    published: Sequence[tuple[int, float]],
    executor: RayExecutor,
    dataset_ref: Any,
    metrics: Mapping[str, float],
    log: Callable[[str], None],
) -> None:
    """Have the page drawn by ``executor``, and put it with the launch's ``metrics`` into MLflow.

    Where there is no ``published`` curve any more, an empty one replaces that of an earlier page.
    Raises whatever MLflow's artifact store raises.
    """
    context = read_context(results, published)
    files, warnings = executor.submit_first(draw, context, dataset_ref).result()
    for line in warnings:
        log(line)
    if not published and _published_before(results):
        none = published_table(context)
        files |= {
            f"tables/{none.name}.csv": none.to_csv().encode(),
            f"tables/{none.name}.md": none.to_markdown().encode(),
        }
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        log_comparison(results.store(), results.parent_run_id, results.comparison.sentence, Path(folder), metrics)


def write_result(
    results: Results, figure: Path | None, html: Path | None, data_dir: Path, log: Callable[[str], None]
) -> None:
    """Draw the comparison into ``figure`` and write its page into ``html``. Raises StorageError."""
    if figure is not None:
        drawn, kind = results.comparison.plot(), figure.suffix[1:].lower()
        with _writing(figure):
            write_atomically(figure, lambda partial: drawn.savefig(partial, format=kind))
    if html is None:
        return
    from orchestrator.reporting.comparison.write import write_comparison

    context = read_context(results)
    dataset = _dataset(results, data_dir, log)
    with tempfile.TemporaryDirectory() as folder:
        write_comparison(with_images(context, dataset) if dataset else context, Path(folder), log)
        page = (Path(folder) / COMPARISON).read_text(encoding="utf-8")
    with _writing(html):
        write_text(html, page)


def _dataset(results: Results, data_dir: Path, log: Callable[[str], None]) -> "Dataset | None":
    """The dataset that the launch used, from ``data_dir``; None, said in a line, if it is not there or is another."""
    trial = next((row for row in results.rows if row.test_accuracy is not None), None)
    found = None if trial is None or results.client is None else read_dataset(results.client, trial.run_id)
    if found is None:
        return None
    spec, digest = found
    try:
        with apart():
            dataset = load_dataset(spec, data_dir)
    except DataError as problem:
        log(f"the page shows no images: {str(problem).splitlines()[0]}")
        return None
    if dataset.digest[: len(digest)] != digest:
        log(f"the page shows no images: {spec.name} in {data_dir} is not the data that the launch used")
        return None
    return dataset


def _more_evidence(results: Results) -> str:
    """The command that trains the seeds that undecided pairs with the best or the baseline need; empty without any.

    A launch in rounds has trained what it may; one that has not trained all of its plan should do that first.
    """
    comparison = results.comparison
    if comparison.rounds is not None or not results.is_trained:
        return ""
    pairs = [pair for row in comparison.rows if (pair := comparison.against(row, comparison.reference))]
    undecided = [pair for pair in pairs if pair.decision == Decision.UNDECIDED]
    seeds = sorted({row.seed for mine in chosen_trials(results.rows).values() for row in mine})
    if not undecided or not seeds:
        return ""
    wanted = min((pair.n + pair.more_seeds for pair in undecided if pair.more_seeds), default=LEAST_SEEDS)
    total = min(max(wanted, LEAST_SEEDS), MOST_ADVISED)
    if total <= len(seeds):
        return ""
    listed = ",".join(map(str, seeds_of_rounds(seeds, total)))
    setting = "confirm.seeds" if results.judging.confirm_seeds else "seeds"
    command = results.judging.command or f"orchestrator run {shlex.quote(results.judging.source or UNKNOWN_FILE)}"
    return f"{command} --set '{setting}=[{listed}]'"


def _store(results: Results) -> str:
    """The option that names the store in which the launch has been recorded, if that is known."""
    places = [place for flag, place in pairwise(shlex.split(results.judging.command)) if flag == "--tracking-uri"]
    return f" --tracking-uri {shlex.quote(places[-1])}" if places else ""


@contextmanager
def _writing(file: Path) -> "Iterator[None]":
    try:
        yield
    except OSError as problem:
        raise StorageError(f"{file} cannot be written: {problem.strerror}") from problem
