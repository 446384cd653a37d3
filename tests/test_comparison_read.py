"""The page made again from MLflow alone shows what the launch's own page showed."""

from dataclasses import replace
from pathlib import Path

import pytest
from registering import record_launch

from orchestrator.reporting.comparison.write import write_comparison
from orchestrator.reporting.published import read_curve
from orchestrator.tracking.artifacts import log_comparison
from orchestrator.workflow.comparison_page import read_context
from orchestrator.workflow.results import GIVEN_LATER

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
