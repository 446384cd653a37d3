"""The storage folder: ``<storage>/<experiment>/<launch>/trials/<trial>``; nothing in it is ever overwritten."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.errors import StorageError
from orchestrator.files import locked, write_json
from orchestrator.records import CONFIRM, SEARCH, Outcome, Status
from orchestrator.scheduling.launch_file import (
    LAUNCH_FILE,
    amended,
    change,
    differences,
    new_content,
    opened,
    opened_at,
    read_all,
)
from orchestrator.scheduling.looks import caution, searched_before
from orchestrator.scheduling.storage import Storage
from orchestrator.spec import Plan, TrialSpec
from orchestrator.spec.relations import name_problem
from orchestrator.text import listed

RUNGS = "rungs.jsonl"  # what the scheduler has decided of each trial
SUGGESTIONS = "suggestions.jsonl"  # what a search suggested and stages chose, in the light of results
TAKEN_OVER = "taken_over.json"  # of a trial: the launch that has trained it
SHARE = "share.json"  # how many trials share a GPU, and what that was found by
# Files that say how far it is, and how it goes on.
PROGRESS_FILES = (LAUNCH_FILE, RUNGS, SUGGESTIONS, SHARE, TAKEN_OVER, "spec.json", "outcome.json", "records.jsonl")
MOST_NAMED = 3  # differences between a plan and a launch; the others are counted
DIGITS = 8  # of the plan's hash, in a launch's name


@dataclass(frozen=True)
class LaunchFolder:
    """One launch's folder."""

    path: Path

    @property
    def name(self) -> str:
        """The launch's name: the first digits of its identity, and a count where another one has the same."""
        return self.path.name

    def content(self) -> dict[str, Any]:
        """What its file says. Raises StorageError if it is damaged or gone."""
        found = read_all(self.path.parent, self.path.name)
        if not found:
            raise StorageError(f"{self.path / LAUNCH_FILE}: there is no such file; is this a launch's folder?")
        return found[0][1]

    @property
    def id(self) -> str | None:
        """What tells this launch from every other, of the same plan too; none for those that earlier versions began."""
        return self.content().get("id")

    @property
    def opened(self) -> float:
        """When a command last began to work on it, in seconds since 1970."""
        return opened_at(self.content())

    def check_plan(self, plan: Plan) -> None:
        """Raise StorageError if ``plan`` cannot amend this launch: what it holds would not belong together."""
        if found := differences(self.content(), plan):
            raise StorageError(
                f"{self.path / LAUNCH_FILE} was begun with other settings, data or network source than there are now: "
                f"{listed(found, MOST_NAMED)}; bring those back, or begin a new launch with `orchestrator run`"
            )
        if why := searched_before(self.content(), plan.experiment):
            raise StorageError(f"{why}; give other seeds, or begin a new launch with `orchestrator run --again`")

    @property
    def directory(self) -> Path | None:
        """The working directory that the paths in its experiment are relative to, if it is on this machine.

        None too if the launch is in the current folder and that directory is not: this is a copy of it.
        """
        given, here = self.content().get("directory"), Path.cwd().resolve()
        if not isinstance(given, str) or not Path(given).is_dir():
            return None
        is_copy = self.path.resolve().is_relative_to(here) and not Path(given).resolve().is_relative_to(here)
        return None if is_copy else Path(given)

    def amend(self, plan: Plan, storage: Storage, ended: int = 0, directory: str | None = None) -> str:
        """Work on the launch with ``plan``, its newest from now on.

        Returns how it differs from the one before, in words, or nothing.

        So many trials have ``ended`` by now. Paths in its experiment are relative to ``directory``. The plan is told
        what a verdict on it must say of earlier looks.
        """
        content = self.content()
        new = amended(content, plan, ended, directory)
        plan.caution = caution(new or content)
        launches = [other for _, other in read_all(self.path.parent)]
        write_json(self.path / LAUNCH_FILE, opened(new or content, launches))
        storage.push(self.path / LAUNCH_FILE)
        return change(content, plan)

    def fetch(self, storage: Storage) -> None:
        """Fetch the files that say how far the launch is; no weights and no reports of its trials."""
        storage.fetch(self.path, is_progress_file)

    def trial(self, name: str) -> Path:
        """Where the finished trial called ``name`` lies."""
        return self.path / "trials" / name

    def finished(self, plan: Plan) -> dict[str, Status]:
        """The trials that need not be run again, as :meth:`ended` says."""
        return {spec.name: outcome.status for spec in plan.trials if (outcome := self.ended(spec)) is not None}

    def ended(self, spec: TrialSpec) -> Outcome | None:
        """How the trial ended, if it need not be run again: complete and evaluated, or stopped by the scheduler.

        None also for one that was trained for a search and is to be compared now: nothing that is compared may be
        stopped early, or lack an evaluation on the test split. Only a search evaluates its trials later, if at all.
        """
        from orchestrator.trial import TrialFolder  # torch comes with it: who looks launches up does not need it

        trial = TrialFolder(self.trial(spec.name))
        try:
            outcome = trial.outcome()
            if outcome is None or trial.spec().identity() != spec.identity():
                return None
            if outcome.status is Status.COMPLETE:
                return outcome if spec.stage == SEARCH or trial.is_measured() else None
            return outcome if outcome.status is Status.STOPPED and spec.stage != CONFIRM else None
        except StorageError:
            return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the launch: two drivers on one launch would write over one another. Raises StorageError."""
        taken = f"{self.path} is in use by another process; wait for it, or `run --again`"
        remedy = (
            "a launch's folder must be writable for you and on a file system that locks files: have it made so, copy "
            "it to a storage folder of your own (see --storage), or begin a new launch there"
        )
        with locked(self.path / "launch.lock", taken, remedy):
            yield


def is_progress_file(name: str) -> bool:
    """Whether a file of a launch, relative to its folder, says how far that is."""
    first, *rest = PurePosixPath(name).parts
    return PurePosixPath(name).name in PROGRESS_FILES and (not rest or first == "trials")


def open_launch_folder(
    storage: Path, plan: Plan, again: bool = False, directory: str | None = None
) -> tuple[LaunchFolder, str]:
    """The folder of the launch that ``plan`` can amend, or a new one, and why that is; empty if it is the first.

    Of several, the one last worked on.
    Paths in its experiment are relative to ``directory``. Raises StorageError.
    """
    parent = storage / plan.experiment.name
    launches = sorted(read_all(parent), key=lambda item: opened_at(item[1]), reverse=True)
    reasons = {path.parent: differences(content, plan) for path, content in launches}
    if not again and (fitting := next((path for path, found in reasons.items() if not found), None)) is not None:
        return LaunchFolder(fitting), ""
    folder = LaunchFolder(_claim(parent, plan.identity()[:DIGITS]))
    try:
        write_json(folder.path / LAUNCH_FILE, new_content(plan, again, directory))
    except OSError as problem:
        raise StorageError(f"{folder.path} cannot be written: {problem.strerror}") from problem
    if again or not reasons:
        return folder, ""
    newest = next(iter(reasons))
    return folder, f"a new launch: launch {newest.name} differs from it in {listed(reasons[newest], MOST_NAMED)}"


def _claim(parent: Path, name: str) -> Path:
    """A new folder in ``parent``: ``name``, or that with the first count that nobody has, however many ask at once."""
    for free in itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2))):
        try:
            (parent / free).mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as problem:
            raise StorageError(f"{parent / free} cannot be written: {problem.strerror}") from problem
        return parent / free
    raise AssertionError


def fetch_launches(storage: Storage, experiment: str) -> None:
    """Bring here what says which launches of ``experiment`` there are, if they are kept in another place."""
    if name_problem(experiment) is None:
        storage.fetch(storage.root / experiment, lambda name: PurePosixPath(name).match("*/launch.json"))


def newest_launch(storage: Path, experiment: str, launch: str | None = None) -> tuple[LaunchFolder, dict[str, Any]]:
    """The launch of ``experiment`` that was last worked on, or the one in the folder ``launch``, and its experiment.

    The experiment is as JSON values.

    Raises StorageError, which lists what there is, if there is none.
    """
    if problem := name_problem(experiment):
        raise StorageError(f"{experiment!r} is no experiment's name: {problem}")
    found = [(opened_at(content), path.parent, content) for path, content in read_all(storage / experiment)]
    if not found:
        names = sorted(p.name for p in storage.iterdir() if p.is_dir() and p.name[0] != ".") if storage.is_dir() else []
        raise StorageError(
            f"{storage} holds no launch of {experiment!r}; it holds: {', '.join(names) or 'nothing'} (see --storage)"
        )
    if launch is not None and launch not in (there := [path.name for _, path, _ in found]):
        raise StorageError(f"{storage / experiment} holds no launch {launch!r}; it holds: {', '.join(there)}")
    _, path, content = max((item for item in found if launch in (None, item[1].name)), key=lambda item: item[0])
    if content["experiment"].get("name") != experiment:
        raise StorageError(f"{path / 'launch.json'}: damaged (not of {experiment!r}); move its folder away")
    return LaunchFolder(path), content["experiment"]
