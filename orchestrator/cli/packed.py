"""An experiment checked as far as possible here and packed for a job: its file, its networks, its overrides."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.architectures import VARIANTS, own_root, source_digest
from orchestrator.architectures.private import imported_beside
from orchestrator.cluster.packing import ROOT, Package
from orchestrator.errors import ExperimentError, OrchestratorError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_file
from orchestrator.spec import Experiment
from orchestrator.spec.experiment import Variant
from orchestrator.spec.fields import to_json
from orchestrator.spec.trial import digest


@dataclass(frozen=True)
class Packed:
    """An experiment ready to be uploaded."""

    experiment: Experiment
    file: PurePosixPath  # the experiment's, relative to the job's working directory
    package: Package
    overrides: tuple[str, ...]  # adapt paths to the job's folder
    sources: dict[str, str]  # variant label to the sha256 of its network; without built-in variants
    trials: int  # number of trials
    folder: str = str(ROOT)  # the job's working directory, in the package

    def digest(self, *more: Any) -> str:
        """sha256 (hexadecimal) of the resolved experiment and its networks, independent of their files' paths."""
        labels = [replace(v, name=v.label) if v.label in self.sources else v for v in self.experiment.variants]
        curve = self.experiment.published_curve
        content = hashlib.sha256(Path(curve).read_bytes()).hexdigest() if curve else None
        plain = to_json(replace(self.experiment, variants=tuple(labels), published_curve=None))
        return digest([plain, content, self.sources, *more])


def pack(file: Path, overrides: Sequence[str]) -> Packed:
    """Read and check ``file``, load its networks, collect what to upload. Raises ExperimentError with every problem."""
    experiment = read_file(file, overrides)
    package = Package(Path.cwd().resolve())
    problems: list[str] = []
    sources: dict[str, str] = {}
    added: list[str] = []
    for position, variant in enumerate(experiment.variants):
        if variant.name in VARIANTS:
            continue
        in_file = variant.name.rpartition(":")[0].endswith(".py")  # it finds the modules beside it, as in the job
        with nullcontext() if in_file else _importable_from_here():
            try:
                sources[variant.label] = source_digest(variant.name)
                moved = _add(package, variant)
            except OrchestratorError as problem:
                problems.append(f"variants.{position}: {problem}")
                continue
        if moved is not None:
            added.append(f"variants.{position}={json.dumps(to_json(replace(variant, name=moved)))}")
    with _importable_from_here():
        try:
            trials = len(make_plan(experiment).trials) if not problems else 0
        except OrchestratorError as problem:
            problems += getattr(problem, "problems", [str(problem)])
    try:
        place = package.add(file.resolve())
        if experiment.published_curve is not None:
            curve = package.add(Path(experiment.published_curve))
            added.append(f"published_curve={json.dumps(os.path.relpath(curve, place.parent))}")
        package.size()
    except OrchestratorError as problem:
        problems.append(str(problem))
    if problems:
        raise ExperimentError(str(file), problems)
    return Packed(experiment, place, package, tuple(added), sources, trials)


def _add(package: Package, variant: Variant) -> str | None:
    """Add a user's own network; returns the variant's name in the job if it differs from the name here."""
    source, _, name = variant.name.rpartition(":")
    if source.endswith(".py"):
        file = Path(source).expanduser().resolve()
        place = package.add_network(file, imported_beside(file))
        return None if os.path.normpath(source) == str(place) else f"{place}:{name}"
    top = source.partition(".")[0]
    if (root := own_root(top)) is not None and root.is_relative_to(package.base) and "site-packages" not in root.parts:
        package.add_module(root, top, _imported_from(root))
    return None  # an installed package must also be installed there


def _imported_from(folder: Path) -> frozenset[str]:
    """Top-level names of the modules that were imported directly from ``folder``."""
    tops = {name.partition(".")[0] for name in list(sys.modules) if not name.startswith(("orchestrator", "_"))}
    return frozenset(top for top in tops if own_root(top) == folder)


@contextmanager
def _importable_from_here() -> Iterator[None]:
    """As in a job, where packages of the uploaded folder can be imported by name."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
