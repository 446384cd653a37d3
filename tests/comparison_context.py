"""Made-up launches for tests of their pages: any number of variants and seeds, judged for real, no training."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orchestrator.records import TrialRow
from orchestrator.reporting.comparison.context import CaptionedTable, ComparisonContext
from orchestrator.reporting.comparison.variants import compare
from orchestrator.reporting.tables import Table
from orchestrator.spec import VerdictSettings
from orchestrator.verdict import judge

CLASSES = ("zero", "one <b>", "two $x$", "three")
ODD = (
    "a$b$c<i>_%",
    "grouped_concat",
    "networks/experimental/2026/very_long_module_name.py:DepthwiseA",
    "networks/experimental/2026/very_long_module_name.py:DepthwiseB",
    '50%_smaller & "better"',
)


def names_of(count: int) -> list[str]:
    """Some of them odd: long, or with characters that HTML and matplotlib read."""
    return [*ODD, *(f"variant_{i}" for i in range(count))][:count]


def make_trials(count: int, seeds: int, random: np.random.Generator, images: int) -> list[TrialRow]:
    """Variants whose true accuracies fall from 95 %; the second is as good as the first."""
    trials = []
    for place, name in enumerate(names_of(count)):
        center = 0.95 - 0.012 * max(0, place - 1)
        for seed in range(seeds):
            accuracy = float(np.clip(center + random.normal(0, 0.004), 0, 1))
            trials.append(
                TrialRow(
                    f"{name}/seed-{seed}", f"run-{place}-{seed}", name, seed, "complete", epochs=6,
                    parameters=30_000 + 17_000 * ((7 * place) % 5) + 1000 * place, macs=2_000_000 * (place % 4 + 1),
                    receptive_field=31 + place, val_accuracy=accuracy, seconds=20.0 + 3 * place + seed,
                    test_accuracy=round(accuracy * images) / images, epochs_to_target=3,
                )
            )  # fmt: skip
    return trials


def make_curves(trials: list[TrialRow]) -> dict[str, dict[int, dict[str, float]]]:
    """Six epochs that end at the validation accuracy."""
    return {
        t.trial: {
            epoch: {
                "val/accuracy": (t.val_accuracy or 0.5) * (1 - 0.6**epoch),
                "train/loss": 2.0 * 0.7**epoch + 0.01 * t.seed,
            }
            for epoch in range(1, 7)
        }
        for t in trials
    }


def make_predictions(
    trials: list[TrialRow], labels: np.ndarray[Any, Any], random: np.random.Generator
) -> dict[tuple[str, int], np.ndarray[Any, Any]]:
    """As many right as the trial's test accuracy says; which ones depends on the variant, and a little on the seed."""
    found = {}
    for t in trials:
        order = np.random.default_rng([len(t.variant), ord(t.variant[-1])]).normal(size=len(labels))
        order = order + 0.2 * random.normal(size=len(labels))
        wrong = np.argsort(order)[: round((1 - (t.test_accuracy or 0)) * len(labels))]
        said = labels.copy()
        said[wrong] = (said[wrong] + 1) % len(CLASSES)
        found[t.variant, t.seed] = said
    return found


def make_comparison(
    count: int = 5, seeds: int = 3, images: int = 400, judged: Mapping[str, Any] | None = None, **changes: Any
) -> ComparisonContext:
    """``judged`` goes to the verdict, ``changes`` replace fields of the context."""
    random = np.random.default_rng([count, seeds])
    trials = changes.pop("trials", None)
    if trials is None:
        trials = make_trials(count, seeds, random, images)
    labels = np.arange(images) % len(CLASSES)
    predicted = make_predictions([t for t in trials if t.test_accuracy is not None], labels, random)
    rows = compare(trials, 0.9, settings=VerdictSettings(baseline=(judged or {}).get("baseline"))).rows
    costs = {
        cost: {row.variant: float(value) for row in rows if (value := getattr(row, cost)) is not None}
        for cost in ("parameters", "macs", "seconds")
    }
    costs["forward_seconds"] = {row.variant: 0.0004 * 3**place for place, row in enumerate(rows)}
    scores: dict[str, dict[int, float]] = {row.variant: {} for row in rows}
    for t in trials:
        if t.test_accuracy is not None and t.status == "complete":
            scores[t.variant][t.seed] = t.test_accuracy
    context = ComparisonContext(
        experiment="made <up>",
        launch="12ab34cd",
        description="Variants that were never trained, on images of noise.",
        verdict=judge(
            scores,
            predictions={k: said == labels for k, said in predicted.items() if k[1] in scores[k[0]]},
            costs=costs,
            **(judged or {}),
        ),
        rows=rows,
        trials=trials,
        costs=costs,
        curves=make_curves(trials),
        published=[(epoch, 0.1 * epoch) for epoch in range(1, 9)],
        predicted=predicted,
        labels=labels,
        classes=CLASSES,
        images=torch.arange(images * 192).reshape(images, 3, 8, 8).remainder(251).byte(),
        spending=[
            CaptionedTable(
                Table("spending", "By variant", ("variant", "seconds"), [[r.variant, 9.5] for r in rows]), "x"
            )
        ],
        more_evidence="orchestrator run made.yaml --set seeds=[0,1,2,3]",
    )
    return replace(context, **changes)


def write(context: ComparisonContext, folder: Path) -> tuple[str, list[str]]:
    """The page's text and what was logged."""
    from orchestrator.reporting.comparison.write import write_comparison

    logged: list[str] = []
    write_comparison(context, folder, logged.append)
    return (folder / "comparison.html").read_text("utf-8"), logged
