"""Checks that a machine has the driver's versions of Python, Ray, torch and this package, and its networks' source."""

import hashlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from orchestrator.checks.check import Outcome, Request, failure, ok

INSTALL = "install the same versions: cd ~/orchestrator && uv sync"
SUBMIT = "copy it to every node, or use orchestrator submit, which sends your own networks"
DIGITS = 12  # of the source's digest


def same_version(name: str, request: Request) -> Iterator[Outcome]:
    """Whether what is called ``name`` in VERSIONS is installed here, in the driver's version."""
    version = VERSIONS[name]()
    expected = version if request.versions is None else request.versions[name]
    if version and version == expected:
        yield ok(version)
    else:
        there = f"; the driver has {expected}" if expected and version else ""
        yield failure((version or "not installed") + there, INSTALL)


def same_networks(request: Request) -> Iterator[Outcome]:
    """Whether the source of each of the user's own networks is the driver's."""
    if not request.networks:
        return
    try:
        from orchestrator.architectures import digest_with
        from orchestrator.errors import OrchestratorError
        from orchestrator.scheduling.directory import enter
    except ImportError as problem:
        yield failure(str(problem), INSTALL)
        return
    enter(request.directory)
    for (variant, *names), digest in request.networks.items():
        try:
            same = digest_with(variant, names) == digest
            yield ok(variant) if same else failure(f"the source of {variant} differs from the driver's", SUBMIT)
        except OrchestratorError as problem:
            yield failure(str(problem), SUBMIT)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _orchestrator() -> str:
    """Version and digest of the source: the same version may have been edited since."""
    found = importlib.util.find_spec("orchestrator")  # a top-level package: finding it imports nothing
    if found is None or not found.origin:
        return ""
    home = Path(found.origin).parent
    digest = hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        digest.update(path.relative_to(home).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{_version('architecture-orchestrator') or 'no version'}, source {digest.hexdigest()[:DIGITS]}"


# What decides a trial's bits besides its specification, and Ray; empty text for what is not installed.
VERSIONS: dict[str, Callable[[], str]] = {
    "Python": platform.python_version,
    "Ray": partial(_version, "ray"),
    "torch": partial(_version, "torch"),
    "orchestrator": _orchestrator,
}
