"""Where simulated curves come from: laws whose truth is known, measured curves in files, and recorded launches."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recording import open_runs, record
from simulating import DECAY, LR, replayed, searched

from orchestrator.errors import RequestError
from orchestrator.experiment.plan import make_plan
from orchestrator.records import Outcome, Status
from orchestrator.simulation.curve_csv import read_csv
from orchestrator.simulation.curves import Curve, Curves, measurable
from orchestrator.simulation.figures import figures
from orchestrator.simulation.from_files import FileCurves, passed_through
from orchestrator.simulation.laws import Law, Laws
from orchestrator.simulation.recorded import RecordedCurves, RecordedTrial
from orchestrator.spec import Distribution, Experiment, Recipe, Search, TrialSpec, Variant
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.store import connect
from orchestrator.workflow.simulate import read_recorded

CLEAN = Law(noise=0.0, luck=0.0)


def trial(lr: float = 0.1, decay: float = 0.001, seed: int = 0, epochs: int = 27, variant: str = "stride") -> TrialSpec:
    return TrialSpec(
        variant=variant, seed=seed, sample=0, settings={LR: lr, DECAY: decay}, trainer=Recipe(epochs=epochs)
    )


@given(st.floats(0.001, 1.0), st.floats(0.0, 0.01), st.integers(0, 99))
def test_without_noise_a_curve_rises_to_its_truth(lr: float, decay: float, seed: int) -> None:
    curves = Laws(CLEAN, searched(2))
    curve = curves.curve(trial(lr, decay, seed))
    assert curve.validation[-1] == pytest.approx(curve.truth)
    assert list(curve.validation) == sorted(curve.validation)
    assert curve.truth <= curves.best(trial()) <= 0.9
    assert curve.seconds == curves.curve(trial()).seconds


def test_a_curve_depends_on_variant_settings_seed_and_world_only() -> None:
    experiment, more = searched(2), searched(9)
    one = Laws(Law(), experiment).curve(trial())
    assert one == Laws(Law(), more).curve(replace(trial(), sample=7, settings_label="x", dataset_digest="d"))
    for other in (trial(lr=0.2), trial(seed=1), trial(variant="grouped_concat")):
        assert one.validation != Laws(Law(), experiment).curve(other).validation
    assert one.validation != Laws(Law(), experiment, world="1").curve(trial()).validation


@pytest.mark.parametrize("world", ["0", "1", "2", "3"])
def test_each_setting_is_a_bowl_with_its_optimum_inside(world: str) -> None:
    curves = Laws(CLEAN, searched(2), world)
    rates = np.geomspace(0.001, 1.0, 401)
    truths = [curves.curve(trial(lr=float(rate))).truth for rate in rates]
    top = int(np.argmax(truths))
    assert 400 * 0.15 < top < 400 * 0.85
    assert (np.diff(truths)[:top] >= 0).all()
    assert (np.diff(truths)[top:] <= 0).all()
    assert max(truths) - min(truths) == pytest.approx(CLEAN.depth, rel=0.01)
    assert np.abs(np.diff(truths)).max() < 0.01 * CLEAN.depth  # smooth


def test_choices_cost_nothing_to_the_whole_depth() -> None:
    space = {"trainer.optimizer.name": Distribution(choice=("sgd", "adam", "muon"))}
    experiment = replace(searched(3), search=Search(space=space, samples=3))
    curves = Laws(CLEAN, experiment)
    costs = sorted(curves.best(spec) - curves.curve(spec).truth for spec in make_plan(experiment).trials)
    assert costs[0] == pytest.approx(0.0)
    assert costs[-1] == pytest.approx(CLEAN.depth)


def test_noise_and_luck_are_as_large_as_they_say() -> None:
    law = Law(noise=0.01, luck=0.02, best=0.6, depth=0.0)
    curves = [Laws(law, searched(2)).curve(trial(seed=seed)) for seed in range(400)]
    lucky = np.array([curve.test[-1] - curve.truth for curve in curves])
    noise = np.array([np.array(curve.validation) - np.array(curve.test) for curve in curves])
    assert lucky.std() == pytest.approx(0.02, rel=0.1)
    assert noise.std() == pytest.approx(0.01, rel=0.1)


def test_settings_make_curves_cross() -> None:
    def crossings(crossing: float) -> int:
        law = Law(noise=0.0, luck=0.0, crossing=crossing)
        curves = [Laws(law, searched(2)).curve(spec) for spec in make_plan(searched(40)).trials]
        first = np.argsort([curve.validation[0] for curve in curves])
        last = np.argsort([curve.validation[-1] for curve in curves])
        return int((first != last).sum())

    assert crossings(0.0) == 0
    assert crossings(2.0) > 10


def plain(epochs: int = 4, variants: tuple[str, ...] = ("stride",)) -> Experiment:
    return Experiment(
        name="x", variants=tuple(Variant(name=name) for name in variants), trainer=Recipe(epochs=epochs), seeds=(0, 1)
    )


def test_curves_from_files(tmp_path: Path) -> None:
    file = tmp_path / "stride.csv"
    file.write_text("epoch,test_accuracy\n1,40\n2,50\n4,70\n5,90\n")
    curves = FileCurves({"stride": file}, CLEAN, plain())
    assert curves.notes == ("stride.csv: epoch 3 not in the file, interpolated between the nearest ones",)
    curve = curves.curve(make_plan(plain()).trials[0])
    assert curve.validation == pytest.approx([0.4, 0.5, 0.6, 0.7])
    assert curve.truth == pytest.approx(0.7)
    one, other = (
        FileCurves({"stride": file}, Law(noise=0.0), plain()).curve(spec) for spec in make_plan(plain()).trials
    )
    assert np.ptp(np.array(one.validation) - np.array(other.validation)) == pytest.approx(0.0)
    assert one.validation != other.validation


def rising(folder: Path) -> Path:
    file = folder / "stride.csv"
    file.write_text("epoch,test_accuracy\n" + "".join(f"{e},{90 - 50 / e:.3f}\n" for e in range(1, 28)))
    return file


def test_settings_make_curves_of_files_cross(tmp_path: Path) -> None:
    def crossings(crossing: float) -> int:
        curves = FileCurves({"stride": rising(tmp_path)}, replace(CLEAN, crossing=crossing), searched(2))
        found = [curves.curve(spec) for spec in make_plan(searched(40)).trials]
        for curve in found:
            assert curve.validation[-1] == pytest.approx(curve.truth)
            assert list(curve.validation) == sorted(curve.validation)
        early = np.argsort([curve.validation[3] for curve in found])
        return int((early != np.argsort([curve.truth for curve in found])).sum())

    assert crossings(0.0) == 0
    assert crossings(2.0) > 10


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(-3, 3))
def test_a_curve_is_passed_through_to_its_end(values: list[float], power: float) -> None:
    curve = np.sort(np.array(values))
    found = passed_through(curve, 2**power)
    assert found[-1] == pytest.approx(curve[-1])
    assert (np.diff(found) >= -1e-12).all()
    assert ((found <= curve + 1e-12) if power > 0 else (found >= curve - 1e-12)).all()
    assert passed_through(curve, 1.0) == pytest.approx(curve)


def test_curves_of_files_are_noisy(tmp_path: Path) -> None:
    curves = FileCurves({"stride": rising(tmp_path)}, Law(noise=0.01, luck=0.0), plain(27))
    noise = [curves.curve(trial(seed=seed)).validation - np.array(curves.curve(trial()).test) for seed in range(50)]
    assert np.std(noise) == pytest.approx(0.01, rel=0.1)
    assert "best settings" in FileCurves({"stride": rising(tmp_path)}, CLEAN, searched(2)).description


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "epoch,accuracy\n1,40",
            "needs the columns epoch and test_accuracy; no test_accuracy among epoch and accuracy",
        ),
        ("", "no epoch and no test_accuracy among no columns"),
        ("epoch,test_accuracy\n1,nan", "line 2: test_accuracy must be from 0 to 100"),
        ("epoch,test_accuracy\n1,40\n2,inf", "line 3: test_accuracy must be from 0 to 100"),
        ("epoch,test_accuracy\n1,101", "from 0 to 100"),
        ("epoch,test_accuracy\n1,-1", "from 0 to 100"),
        ("epoch,test_accuracy\n0,10\n1,40", "line 2: epoch must be at least 1, not 0"),
        ("epoch,test_accuracy\n1.5,40", "epoch must be a whole number"),
        ("epoch,test_accuracy\n1", "not '1' and None"),
        ("epoch,test_accuracy\n1,40\n1,50", "line 3: epoch 1 is there twice"),
        ("epoch,test_accuracy\n1,0.4\n2,0.9", "at most 0.9, but percent are expected: multiply fractions by 100"),
    ],
)
def test_what_is_no_curve_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(RequestError, match=message):
        read_csv(tmp_path / "x.csv")


def test_a_file_too_short_for_one_of_several_says_how_to_leave_it_out(tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("epoch,test_accuracy\n2,40\n")
    files = {"stride": rising(tmp_path), "grouped_concat": tmp_path / "short.csv"}
    with pytest.raises(
        RequestError, match=r'add epoch 1 to the file or leave the variant out \(--set "variants=\[stride\]"\)'
    ):
        FileCurves(files, Law(), plain(4, ("stride", "grouped_concat")))


@pytest.mark.parametrize(
    ("content", "files", "message"),
    [
        ("1,40\n2,50", ["stride"], "has epochs 1 to 2, but epochs 1 to 4 are simulated.*--set trainer.epochs=2"),
        (
            "3,40\n4,50",
            ["stride"],
            "has epochs 3 to 4, but epochs 1 to 4 are simulated; add epochs 1 to 2 to the file$",
        ),
        ("", ["stride"], "holds no epoch"),
        ("1,40\n4,50", [], "no file for stride"),
        ("1,40\n4,50", ["stride", "strife"], r"'strife' is none of the variants \(did you mean stride\?\)"),
    ],
)
def test_files_that_do_not_do_are_refused(tmp_path: Path, content: str, files: list[str], message: str) -> None:
    (tmp_path / "curve.csv").write_text(f"epoch,test_accuracy\n{content}\n")
    with pytest.raises(RequestError, match=message):
        FileCurves(dict.fromkeys(files, tmp_path / "curve.csv"), Law(), plain())


def recorded(seed: int, level: float, settings: dict[str, Any] | None = None, epochs: int = 4) -> RecordedTrial:
    return RecordedTrial("stride", settings or {}, seed, [level] * epochs, 2.0, level + 0.01)


def test_recorded_curves_are_found_again_or_drawn() -> None:
    trials = [recorded(seed, 0.1 * seed) for seed in range(3)]
    specs = make_plan(replace(plain(), seeds=tuple(range(40)))).trials
    exact = RecordedCurves(trials, plain(), "earlier")
    assert [exact.curve(spec).validation[0] for spec in specs[:3]] == [0.0, 0.1, 0.2]
    drawn = RecordedCurves(trials, plain(), "earlier", exact=False)
    assert {drawn.curve(spec).validation[0] for spec in specs} == {0.0, 0.1, 0.2}
    assert exact.curve(specs[0]).truth == pytest.approx(0.1)
    assert exact.notes == ()
    assert "stride: 2" in RecordedCurves(trials[:2], plain(), "earlier").notes[0]
    assert drawn.curve(specs[7]) == drawn.curve(specs[7])
    assert exact.curve(specs[1]).test == pytest.approx([0.11] * 4)


def test_trials_that_a_scheduler_stopped_are_counted_and_replayed_as_far_as_they_go(uri: str) -> None:
    experiment = replace(plain(3), seeds=(0, 1, 2))
    plan = make_plan(experiment)
    runs = open_runs(uri, plan)
    sink = Sink(runs)
    for spec, epochs in zip(plan.trials, (3, 3, 1), strict=True):
        sink.on_start(spec.name)
        for epoch in range(1, epochs + 1):
            sink.on_record(spec.name, record(epoch))
        if epochs == 3:
            sink.on_record(spec.name, record(3, final=True))
        sink.on_end(Outcome(spec.name, Status.COMPLETE if epochs == 3 else Status.STOPPED))
    sink.close(Status.COMPLETE)
    trials = read_recorded(connect(uri), experiment.name)
    assert [(len(trial.validation), trial.stopped) for trial in trials] == [(3, False), (3, False), (1, True)]
    note, _ = RecordedCurves(trials, experiment, "earlier").notes
    assert note.startswith("earlier: of 3 recorded trials, 1 was stopped early by a scheduler and cannot be replayed")
    assert "regret" in note
    assert RecordedCurves(trials, plain(1), "earlier").notes == (), "as far as it goes it can"


def test_recorded_settings_are_drawn_for_settings_that_were_not_recorded() -> None:
    experiment = searched(30, epochs=4)
    trials = [recorded(0, 0.1 * level, {LR: 0.1 * level}) for level in range(1, 6)]
    curves = RecordedCurves(trials, experiment, "earlier")
    found = [curves.curve(spec) for spec in make_plan(experiment).trials]
    assert {round(curve.truth, 3) for curve in found} == {0.1, 0.2, 0.3, 0.4, 0.5}
    assert curves.best(make_plan(experiment).trials[0]) == 0.5


def falling(folder: Path) -> dict[str, Path]:
    """Curves of two variants: one falls below the other after its best epoch."""
    curves = {"stride": (50.0, 80.0, 89.0, 86.0), "grouped_concat": (50.0, 70.0, 88.0, 88.0)}
    for name, values in curves.items():
        lines = [f"{epoch},{value}" for epoch, value in enumerate(values, start=1)]
        (folder / f"{name}.csv").write_text("\n".join(["epoch,test_accuracy", *lines]))
    return {name: folder / f"{name}.csv" for name in curves}


@pytest.mark.parametrize("kind", ["files", "recorded"])
def test_a_verdict_is_held_against_what_is_measured_which_need_not_be_the_last_epoch(kind: str, tmp_path: Path) -> None:
    experiment = replace(plain(4, ("stride", "grouped_concat")), seeds=(0, 1, 2, 3, 4))
    files = FileCurves(falling(tmp_path), Law(luck=0.0005, noise=0.001), experiment)
    curves: Curves = files
    if kind == "recorded":
        trials = []
        for spec in make_plan(experiment).trials:
            curve = files.curve(spec)
            trials.append(RecordedTrial(spec.label, {}, spec.seed, curve.validation, 1.0, curve.measured(4)))
        curves = RecordedCurves(trials, experiment, "earlier")
    found = figures(replayed(tmp_path, experiment, curves), curves)
    assert found.truths == pytest.approx({"stride": 0.89, "grouped_concat": 0.88}, abs=0.001)
    assert (found.leaders, found.best_variants, found.wrong) == (("stride",), ("stride",), 0)
    specs = {spec.label: spec for spec in make_plan(experiment).trials}
    last = {label: curves.curve(spec).truth for label, spec in specs.items()}
    assert last["stride"] < last["grouped_concat"]  # at their last epochs


@given(
    st.lists(st.floats(0.5, 0.9), min_size=1, max_size=20),
    st.floats(0, 0.01),
)
def test_what_is_measured_on_average_is_that_of_many_trials(values: list[float], noise: float) -> None:
    curve = np.array(values)
    drawn = noise * np.random.default_rng(0).standard_normal((500, len(curve)))
    trials = [Curve((curve + one).tolist(), values, 1.0, 0.0, 0.0).measured(len(curve)) for one in drawn]
    error = np.std(trials) * (1 / 500 + 1 / 256) ** 0.5
    rare = 0.03 * np.ptp(curve)  # what is seen in none of 500 may be seen in some of 256
    assert measurable(curve, noise) == pytest.approx(np.mean(trials), abs=6 * error + rare + 1e-9)


def test_a_launch_that_lacks_a_variant_or_epochs_is_refused() -> None:
    for experiment, trials in (
        (plain(5), [recorded(0, 0.1)]),
        (plain(4, ("stride", "grouped_concat")), [recorded(0, 0.1)]),
    ):
        with pytest.raises(RequestError, match=r"earlier: has no complete trial of (stride|grouped_concat) with"):
            RecordedCurves(trials, experiment, "earlier")
