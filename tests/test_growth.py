"""What results make known is checked as what is known from the outset, and never ends a launch that has begun."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import make_dataset

from orchestrator.errors import ExperimentError, VariantError
from orchestrator.experiment.reader import read_experiment
from orchestrator.files import write_json
from orchestrator.records import Listener, Outcome, Status, TrialResult
from orchestrator.scheduling.launch_folder import SUGGESTIONS, TAKEN_OVER, LaunchFolder, open_launch_folder
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import Plan, Recipe, TrialSpec
from orchestrator.tracking.tags import TAKEN_OVER as TAKEN_OVER_FROM
from orchestrator.trial import TrialFolder, run_trial
from orchestrator.workflow.amend import amend
from orchestrator.workflow.check import Checked, check_experiment
from orchestrator.workflow.display import Display
from orchestrator.workflow.growth import Growth, result_of

RATES = {"trainer.optimizer.lr": {"uniform": [0.01, 1.0]}}


def checked(network_file: Path, packed: Path, confirmed: bool = False, **search: Any) -> Checked:
    tree = {
        "name": "small", "variants": [f"{network_file}:Tiny"], "dataset": {"name": str(packed)},
        "trainer": {"epochs": 2, "batch_size": 9, "drop_last": True},
        "search": search if confirmed else {"name": "tpe", "samples": 12, "concurrency": 3, **search},
        **({"confirm": {"seeds": [100]}} if confirmed else {}),
    }  # fmt: skip
    return check_experiment(read_experiment(tree, "x"), packed.parent, lambda _: None)


def grow(found: Checked) -> list[TrialSpec]:
    """Let every known trial end, as often as that makes others known."""
    results: dict[str, TrialResult] = {}
    while True:
        for spec in found.plan.trials:
            accuracy = 0.9 - abs(spec.trainer.optimizer.lr - 0.5)
            results.setdefault(spec.name, TrialResult(Status.COMPLETE, 2, accuracy))
        if not found.add(found.proposals.trials(results)):
            return list(found.plan.trials)


# Of 120 images 12 are held out: 108 are not enough for one whole batch of 109.
@pytest.mark.parametrize("path", ["arguments.width", "trainer.batch_size"])
def test_a_suggestion_that_cannot_be_trained_is_replaced(network_file: Path, packed: Path, path: str) -> None:
    fit, unfit = {"arguments.width": (4, -1), "trainer.batch_size": (9, 109)}[path]
    points = [{path: fit, "trainer.optimizer.lr": lr} for lr in (0.1, 0.2, 0.3)]
    found = checked(network_file, packed, space={path: {"choice": [fit, unfit]}, **RATES}, points=points)
    found.begin()
    trials = grow(found)
    assert [spec.settings[path] for spec in trials] == [fit] * 12
    assert found.plan.rejected_samples > 0, "otherwise nothing was tried here"


def test_before_a_launch_begins_it_is_refused(network_file: Path, packed: Path) -> None:
    with pytest.raises(VariantError, match="Tiny"):
        checked(network_file, packed, space={"arguments.width": {"choice": [-1, -2]}, **RATES})


def test_what_the_log_holds_replaces_what_would_be_suggested_now(
    network_file: Path, packed: Path, tmp_path: Path
) -> None:
    space, log = {"arguments.width": {"choice": [4, 5]}, **RATES}, tmp_path / "suggestions.jsonl"
    first = checked(network_file, packed, space=space)
    first.proposals.remember(log)
    first.begin()
    begun = [spec.settings for spec in grow(first)]
    log.write_text(log.read_text().replace(str(begun[0]["trainer.optimizer.lr"]), "0.123"))  # as another version would
    again = checked(network_file, packed, space=space)
    again.proposals.remember(log)
    again.begin()
    kept = [spec.settings for spec in again.plan.trials]
    assert kept == [{**begun[0], "trainer.optimizer.lr": 0.123}, *begun[1:]]
    assert again.analyses.keys() == {spec.name for spec in again.plan.trials}
    fewer = checked(network_file, packed, space=space, samples=5)
    fewer.proposals.remember(log)
    fewer.begin()
    assert [spec.settings for spec in fewer.plan.trials] == kept[:5], "and fewer samples are fewer trials"


class Told(Listener):
    """A listener that remembers whether the search went on whenever the plan changed."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.searching = plan, [plan.searching]

    def on_plan(self, trials: Sequence[str]) -> None:
        self.searching.append(self.plan.searching)


@pytest.mark.parametrize(("choices", "trials"), [(4, 4), (40, 12)])
def test_listeners_are_told_that_a_search_suggests_nothing_more(
    network_file: Path, packed: Path, tmp_path: Path, choices: int, trials: int
) -> None:
    """Also one that ends because every setting has been tried: then no trial says so."""
    space = {"trainer.optimizer.lr": {"choice": [0.01 * number for number in range(1, choices + 1)]}}
    found = checked(network_file, packed, space=space)
    growth = Growth(found, LaunchFolder(tmp_path), Storage(tmp_path), 0.5)
    told = Told(found.plan)
    growth.listeners = [told]
    outcomes: dict[str, Outcome] = {}
    while waiting := [spec.name for spec in found.plan.trials if spec.name not in outcomes]:
        outcomes[waiting[0]] = Outcome(waiting[0], Status.COMPLETE)
        growth(outcomes)
    assert len(outcomes) == trials
    assert told.searching == [*[True] * (len(told.searching) - 1), False]


def test_a_search_is_not_cut_below_what_has_been_confirmed(network_file: Path, packed: Path, tmp_path: Path) -> None:
    search = {"name": "random", "space": RATES}
    eight, seven, six = (checked(network_file, packed, confirmed=True, **search, samples=count) for count in (8, 7, 6))
    storage = Storage(tmp_path / "storage")
    folder, _ = open_launch_folder(storage.root, eight.plan)
    (folder.path / SUGGESTIONS).write_text('{"confirmed": {"Tiny": 6, "Gone": 30}}\n')
    before = folder.content()
    with pytest.raises(ExperimentError, match=r"Tiny is confirmed with sample 6: keep search\.samples at 7 or more"):
        amend(six, folder, storage, Display())
    assert folder.content() == before
    amend(seven, folder, storage, Display())
    assert len(folder.content()["plans"]) == 2


def test_what_another_launch_has_trained_took_no_time_here(network_file: Path, tmp_path: Path) -> None:
    spec = TrialSpec(variant=f"{network_file}:Tiny", trainer=Recipe(epochs=1, batch_size=32))
    trial = TrialFolder(tmp_path / "trial")
    list(run_trial(spec, make_dataset(), trial.path))
    outcome = trial.outcome()
    assert outcome is not None
    own = result_of(outcome, 0.9)
    assert own.seconds > 0
    write_json(trial.path / TAKEN_OVER, {"experiment": "earlier", "launch": "0123"})
    assert result_of(outcome, 0.9) == replace(own, seconds=0.0)


class Heard:
    """A listener that remembers which trials have ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def on_plan(self, trials: Sequence[str]) -> None: ...

    def on_end(self, outcome: Outcome) -> None:
        self.ended.append(outcome.trial)


@pytest.mark.parametrize("by_another", [False, True])
def test_what_becomes_known_is_not_trained_if_it_has_been_trained(
    network_file: Path, packed: Path, tmp_path: Path, by_another: bool
) -> None:
    def found() -> Checked:
        return checked(network_file, packed, confirmed=True, name="random", space=RATES, samples=2)

    def ends(growth: Growth) -> dict[str, Outcome]:
        return {spec.name: Outcome(spec.name, Status.COMPLETE) for spec in growth.checked.plan.trials}

    storage = Storage(tmp_path / "storage")
    first, _ = open_launch_folder(storage.root, found().plan)
    before = amend(found(), first, storage, Display())
    [spec] = before(ends(before))
    list(run_trial(spec, before.checked.dataset, first.trial(spec.name)))
    assert first.ended(spec) is not None
    folder = first
    if by_another:
        folder = open_launch_folder(storage.root, found().plan, again=True)[0]
        content = {**folder.content(), "again": False}  # which would train everything anew
        write_json(folder.path / "launch.json", content)
    else:
        (first.path / SUGGESTIONS).unlink()  # what was chosen is not known before the search has ended, as in rounds
    growth, heard, published = amend(found(), folder, storage, Display()), Heard(), []
    growth.listeners, growth.publish = [heard], published.append  # type: ignore[list-item]
    assert growth(ends(growth)) == []
    assert heard.ended == published == [spec.name]
    assert growth.results[spec.name].test_accuracy is not None
    assert (TAKEN_OVER_FROM in growth.facts[spec.name].tags) == by_another
    assert folder.ended(spec) is not None
