"""The page made again from MLflow alone shows what the launch's own page showed."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from registering import record_launch

from orchestrator.data import Dataset
from orchestrator.data.arrays import to_arrays
from orchestrator.reporting.comparison.write import write_comparison
from orchestrator.reporting.published import read_curve
from orchestrator.tracking.artifacts import log_comparison
from orchestrator.tracking.tags import PLANNED, STATUS
from orchestrator.workflow.comparison_page import publish_comparison, read_context
from orchestrator.workflow.results import GIVEN_LATER, read_results

PUBLISHED = [(1, 0.4), (2, 0.5625), (3, 0.61)]


def test_a_published_curve_comes_back_from_the_launchs_own_page(uri: str, tmp_path: Path) -> None:
    results = record_launch(uri, "curves", {"stride": [0.80, 0.81, 0.83], "grouped_concat": [0.7, 0.72, 0.71]})
    first = read_context(results, PUBLISHED)
    write_comparison(first, tmp_path / "page", lambda line: pytest.fail(line))
    curve = tmp_path / "page" / "tables" / "published_curve.csv"
    assert dict(read_curve(curve)) == pytest.approx(dict(PUBLISHED))
    assert read_context(results).published == []  # nothing is in MLflow yet
    log_comparison(results.store(), results.parent_run_id, results.comparison.sentence, tmp_path / "page", {})
    again = read_context(results)
    assert dict(again.published) == pytest.approx(dict(PUBLISHED))
    assert (again.curves, again.verdict, again.rows) == (first.curves, first.verdict, first.rows)
    assert {epoch for epochs in again.curves.values() for epoch in epochs} == {1}


class Here:
    """Draws in this process what a launch has drawn by Ray."""

    def submit_first(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        drawn: Future[Any] = Future()
        drawn.set_result(work(*arguments))
        return drawn


def test_a_published_curve_that_was_removed_is_gone_from_every_later_page(uri: str, dataset: Dataset) -> None:
    results = record_launch(uri, "curves", {"stride": [0.80, 0.81, 0.83], "grouped_concat": [0.7, 0.72, 0.71]})
    packed, warnings = to_arrays(dataset), []

    def publish(published: list[tuple[int, float]]) -> tuple[str, dict[int, float]]:
        publish_comparison(results, published, Here(), packed, {}, warnings.append)  # type: ignore[arg-type]
        client, run = results.store(), results.parent_run_id
        page = Path(client.download_artifacts(run, "comparison.html")).read_text(encoding="utf-8")
        return page, dict(read_context(results).published)

    page, kept = publish(PUBLISHED)
    assert "Published test accuracy" in page
    assert kept == pytest.approx(dict(PUBLISHED))
    assert publish([(1, 0.5), (2, 0.75)])[1] == pytest.approx({1: 0.5, 2: 0.75})
    page, kept = publish([])
    assert "Published test accuracy" not in page
    assert kept == {}
    assert read_context(results, []).published == []
    assert warnings == []


def test_a_verdict_that_was_asked_for_otherwise_than_planned_says_so_everywhere(uri: str) -> None:
    results = record_launch(uri, "later", {"stride": [0.80, 0.81, 0.83], "grouped_concat": [0.7, 0.72, 0.71]})
    assert GIVEN_LATER not in results.comparison.sentence
    assert results.compare(confidence=0.95) == results.comparison
    for asked in ({"baseline": "stride"}, {"margin": 0.01}, {"confidence": 0.9}):
        later = results.judged_by(*(asked.get(key) for key in ("baseline", "margin", "confidence")))
        assert GIVEN_LATER in later.comparison.sentence
        assert GIVEN_LATER in later.to_dict()["verdict"]["sentence"]
        assert read_context(later).verdict.sentence == later.comparison.sentence
    assert read_context(replace(results, client=None)).curves == {}


def test_the_command_for_more_evidence_names_the_seeds_that_are_missing(uri: str) -> None:
    one = record_launch(uri, "one", {"stride": [0.80], "grouped_concat": [0.7]})
    assert read_context(one).more_evidence.endswith("--set 'seeds=[0,1,2]'")
    close = record_launch(uri, "close", {"stride": [0.80, 0.81, 0.83], "grouped_concat": [0.79, 0.82, 0.80]})
    assert "--set 'seeds=[0,1,2,3," in read_context(close).more_evidence
    far = record_launch(uri, "far", {"stride": [0.80, 0.81, 0.83], "grouped_concat": [0.5, 0.52, 0.51]})
    assert read_context(far).more_evidence == ""


def test_no_command_takes_seeds_out_of_a_plan_that_is_not_trained_yet(uri: str) -> None:
    results = record_launch(uri, "close", {"stride": [0.80, 0.81, 0.83], "grouped_concat": [0.79, 0.82, 0.80]})
    client, run = results.store(), results.parent_run_id

    def advised() -> str:
        return read_context(read_results(client, "close")).more_evidence

    client.set_tag(run, PLANNED, "40")  # of its 20 seeds three have begun
    assert advised() == ""
    client.set_tag(run, PLANNED, "6")
    assert "--set 'seeds=[0,1,2,3," in advised()
    client.set_tag(results.rows[0].run_id, STATUS, "interrupted")
    assert advised() == ""
    client.set_tag(results.rows[0].run_id, STATUS, "failed")  # it is not trained again by itself
    assert "--set 'seeds=[0,1,2,3," in advised()
