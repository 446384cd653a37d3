"""Check an experiment here, as far as that is possible without the cluster's data, and make a job of it."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.architectures import VARIANTS, own_root, source_digest
from orchestrator.architectures.files import files_of
from orchestrator.cluster.locations import location_problems
from orchestrator.cluster.submit import Submission
from orchestrator.cluster.working_dir import WorkingDir, working_dir
from orchestrator.errors import ExperimentError, OrchestratorError
from orchestrator.experiment.paths import in_name
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_file
from orchestrator.files import from_user
from orchestrator.scheduling.storage import endpoint_problem
from orchestrator.spec import Experiment, digest
from orchestrator.spec.experiment import Variant
from orchestrator.spec.fields import to_json
from orchestrator.spec.references import REFERENCE, map_references, references

OUTPUTS = ("storage", "trials", "data")  # folders of results and datasets; variables may name others
VARIABLES = ("ORCHESTRATOR_STORAGE", "ORCHESTRATOR_DATA_DIR")


def prepare(
    file: Path,
    overrides: Sequence[str] = (),
    *,
    folder: Path | None = None,
    storage: str | None = None,
    data_dir: str | None = None,
    tracking_uri: str | None = None,
    flags: str = "",
    log: Callable[[str], None] = lambda _: None,
) -> Submission:
    """Check the experiment ``file``, its networks and the locations, and collect what is uploaded.

    That is the project folder, ``folder``, by default the current one; relative paths mean the same in the job as here.
    ``flags`` belong to the command that submits it again; ``log`` gets messages for the user. Raises ExperimentError
    with every problem.
    """
    here = Path.cwd().resolve()
    root = here if folder is None else folder.expanduser().resolve()
    experiment = read_file(file, overrides, log)
    problems = location_problems(storage, data_dir, tracking_uri)
    if storage is not None and (problem := endpoint_problem(storage)):
        problems.append(f"--storage {problem}")
    if not here.is_relative_to(root):
        problems.append(f"--working-dir {root}: the current folder, {here}, lies outside of it")
    try:
        own = root / "orchestrator"  # which the cluster has itself
        uploaded = working_dir(root, [*_outputs(root, here), own])
        uploaded.size()
    except (OrchestratorError, OSError) as problem:
        raise ExperimentError(str(file), [*problems, str(problem)]) from problem
    if not problems and not _arrives(here, uploaded):
        problems.append(
            f"nothing in the current folder, {here}, is uploaded, so the job would not find it; "
            f"submit from a folder with files of the project, such as {root}"
        )
    with _importable(root):
        problems += _missing(experiment, file.resolve(), uploaded)
        try:
            trials = len(make_plan(experiment).trials) if not problems else 0
        except ExperimentError as problem:
            problems += problem.problems
    if problems:
        raise ExperimentError(str(file), problems)
    locations = {"--storage": storage, "--data-dir": data_dir, "--tracking-uri": tracking_uri}
    places = [word for flag, place in locations.items() if place is not None for word in (flag, place)]
    settings = _sets(overrides)
    again = [] if root == here else ["--working-dir", str(root)]
    return Submission(
        experiment=experiment.name,
        trials=trials,
        arguments=(os.path.relpath(file.resolve(), here), *settings, *_sets(_adapted(experiment, here)), *places),
        working_dir=uploaded,
        folder=here.relative_to(root).as_posix(),
        command=shlex.join(["orchestrator", "submit", str(file), *settings, *places, *again]) + flags,
        digest=digest([to_json(_without_curve(experiment)), uploaded.digest(), places]),
    )


def _missing(experiment: Experiment, file: Path, uploaded: WorkingDir) -> list[str]:
    """Problems of what the job needs: networks that cannot be loaded, and files that are not uploaded."""
    needed, problems = [("the experiment", file)], []
    if experiment.published_curve is not None:
        needed.append(("published.curve", Path(experiment.published_curve)))
    for position, variant in enumerate(experiment.variants):
        try:
            needed += [(f"variants.{position}", path) for path in _files(variant, uploaded.folder)]
        except OrchestratorError as problem:
            problems.append(f"variants.{position}: {problem}")
    for reference in _references(experiment):
        source = reference.rpartition(":")[0]
        if source.endswith(".py"):
            path = Path(source).expanduser().resolve()
            needed += [(reference, part) for part in ([path, *files_of(path)] if path.is_file() else [path])]
    return problems + [f"{what}: {_why_not(path, uploaded)}" for what, path in needed if not _is_sent(path, uploaded)]


def _references(experiment: Experiment) -> list[str]:
    """The classes and functions that are arguments of networks, in the file's order."""
    search = experiment.search
    parts = [*(variant.arguments for variant in experiment.variants), to_json(search) if search else {}]
    return list(dict.fromkeys(name for part in parts for name in references(part)))


def _adapted(experiment: Experiment, here: Path) -> list[str]:
    """Overrides for paths that would mean something else in the job: absolute ones, and links."""
    overrides: dict[str, object] = {}
    for position, variant in enumerate(experiment.variants):
        changed = replace(
            variant, name=_relative(variant.name, here), arguments=_relative_references(variant.arguments, here)
        )
        if changed != variant:
            overrides[f"variants.{position}"] = to_json(changed)
    if experiment.search is not None:
        search = to_json(experiment.search)
        if (adapted := _relative_references(search, here)) != search:
            overrides["search"] = adapted
    if experiment.published_curve is not None:
        overrides["published.curve"] = os.path.relpath(experiment.published_curve, here)
    return [f"{path}={json.dumps(value)}" for path, value in overrides.items()]


def _without_curve(experiment: Experiment) -> Experiment:
    """Without the curve's path, which differs between folders; its content is uploaded."""
    published = experiment.published
    if published is None or published.curve is None:
        return experiment
    rest = replace(published, curve=None) if published.figures else None
    return replace(experiment, published=rest)


def _sets(overrides: Sequence[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def _outputs(root: Path, here: Path) -> list[Path]:
    """Where commands that run here or in the project folder leave results and read datasets; no package is one."""
    named = [folder / name for folder in dict.fromkeys((root, here)) for name in OUTPUTS]
    named = [folder for folder in named if not (folder / "__init__.py").is_file()]
    given = (os.environ.get(name, "") for name in VARIABLES)
    return named + [here / from_user(place) for place in given if place and "://" not in place]


def _files(variant: Variant, root: Path) -> list[Path]:
    """The files of a user's own network that the job needs. Raises VariantError if it cannot be loaded."""
    if variant.name in VARIANTS:
        return []
    source_digest(variant.name, variant.arguments)  # loads it
    source = variant.name.rpartition(":")[0]
    if source.endswith(".py"):
        file = Path(source).expanduser().resolve()
        return [file, *files_of(file)]
    top = source.partition(".")[0]
    found = own_root(top)
    if found is None or not found.is_relative_to(root):
        return []  # installed: it must be installed on the cluster, too
    if found != root:
        place = os.path.relpath(str(sys.modules[source].__file__), Path.cwd())
        raise OrchestratorError(
            f"the job can import {top} only from the top of {root}, and it is in {found}; name the network "
            f"{place}:{variant.name.rpartition(':')[2]}"
        )
    return [path for path in (root / f"{top}.py", root / top / "__init__.py") if path.is_file()]


def _relative(name: str, here: Path) -> str:
    """The name of a network, class or function with a path that means the same in the job."""

    def relative(source: str) -> str:
        place = os.path.relpath(Path(source).expanduser().resolve(), here)
        return source if place == os.path.normpath(source) else place

    return str(in_name(name, relative))


def _relative_references(tree: dict[str, Any], here: Path) -> dict[str, Any]:
    return {key: map_references(v, lambda name: {REFERENCE: _relative(name, here)}) for key, v in tree.items()}


def _arrives(folder: Path, uploaded: WorkingDir) -> bool:
    """Whether ``folder`` is there in the job, where a process stands in it."""
    sent = (uploaded.folder / name for name in (*uploaded.files, *uploaded.empty))
    return folder == uploaded.folder or any(path.is_relative_to(folder) for path in sent)


def _is_sent(path: Path, uploaded: WorkingDir) -> bool:
    folder = uploaded.folder
    return path.is_relative_to(folder) and path.relative_to(folder).as_posix() in uploaded.files


def _why_not(path: Path, uploaded: WorkingDir) -> str:
    folder = uploaded.folder
    if not path.resolve().is_relative_to(folder):
        return (
            f"{path} is not in {folder}, and only that folder is uploaded; move it there, or name a folder that holds "
            "everything with --working-dir"
        )
    return f"{path} is not uploaded, because .gitignore, .rayignore or the rules of submit exclude it (docs/jobs.md)"


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """As in a job, where packages at the top of the working directory can be imported by name."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
