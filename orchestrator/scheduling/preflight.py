"""Before the start, on every node of a cluster: the storage is written and read, versions and networks are compared."""

import hashlib
import platform
import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.architectures import source_digest
from orchestrator.errors import OrchestratorError, ResourceError, StorageError
from orchestrator.scheduling.storage import Storage, open_filesystem
from orchestrator.spec import Plan

PATIENCE = 120.0  # seconds for all nodes together; a fresh worker process imports torch first
PROBES = ".probe-"  # folder in the launch's, removed again


def check_nodes(folder: Path, storage: Storage, plan: Plan) -> int:
    """Raise unless every living node can take trials of ``plan`` and keep them in ``folder``; returns how many looked.

    Each node reads what this process wrote there, and this process reads what each node wrote. Raises StorageError
    naming the nodes where that fails, and ResourceError naming those with other versions of Python, torch or this
    project, or without a network's source.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours = versions()
    sources = {spec.variant: spec.source_digest for spec in plan.trials if spec.source_digest}
    probe = folder / f"{PROBES}{uuid.uuid4().hex}"
    word = uuid.uuid4().hex
    address = storage.address(probe)
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    try:
        _write(f"{address}/driver", word)
        look = ray.remote(num_cpus=0, max_retries=0)(_look)
        asked = {
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(
                address, word, node_id, sources
            ): node_id
            for node_id in nodes
        }
        done, silent = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE)
        found: dict[str, Mapping[str, Any]] = {}
        for reference in done:
            try:
                found[asked[reference]] = ray.get(reference)
            except ray.exceptions.RayError as problem:
                found[asked[reference]] = {"lacks": _last_line(problem)}
        for node_id, answer in found.items():
            if not answer.get("storage") and not answer.get("lacks") and _read(f"{address}/{node_id}") != word:
                found[node_id] = {**answer, "storage": "what it writes there does not appear here"}
        found |= {asked[reference]: {"lacks": f"no answer within {PATIENCE:.0f} s"} for reference in silent}
    finally:
        storage.remove(probe)
    names = {node_id: _in_words(node) for node_id, node in nodes.items()}
    _refuse_storage({names[i]: a["storage"] for i, a in found.items() if a.get("storage")}, storage.address(folder))
    _refuse_nodes({names[i]: _unlike(answer, ours) for i, answer in found.items()})
    return len(found)


def _look(address: str, word: str, node_id: str, sources: Mapping[str, str]) -> dict[str, Any]:
    """On a node: read the driver's file, write our own, and say what we are."""
    storage = ""
    try:
        if _read(f"{address}/driver") != word:
            storage = "what this process writes does not appear there"
        else:
            _write(f"{address}/{node_id}", word)
    except OrchestratorError as problem:
        storage = str(problem)
    lacks = []
    for variant, digest in sources.items():
        try:
            if source_digest(variant) != digest:
                lacks.append(f"another {variant}")
        except OrchestratorError as problem:
            lacks.append(str(problem))
    return {"storage": storage, "versions": versions(), "lacks": "; ".join(lacks)}


@cache
def versions() -> dict[str, str]:
    """What decides a trial's bits, besides its specification: Python, torch and this project's own source."""
    import torch

    return {"Python": platform.python_version(), "torch": torch.__version__, "orchestrator": package_digest()[:12]}


def package_digest() -> str:
    """sha256 (hexadecimal) of this package's source files."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _unlike(answer: Mapping[str, Any], ours: Mapping[str, str]) -> Sequence[str]:
    theirs = answer.get("versions", ours)
    other = [f"{what} {theirs[what]}, here {ours[what]}" for what in ours if theirs[what] != ours[what]]
    return [*other, *([answer["lacks"]] if answer.get("lacks") else [])]


def _refuse_storage(problems: Mapping[str, str], where: str) -> None:
    if problems:
        lines = [f"  - {node}: {problem}" for node, problem in sorted(problems.items())]
        raise StorageError(
            "\n".join(
                [
                    f"not every node can use the storage {where}:",
                    *lines,
                    "give a folder that all nodes share, or s3://bucket/path or gs://bucket/path, with --storage",
                ]
            )
        )


def _refuse_nodes(problems: Mapping[str, Sequence[str]]) -> None:
    lines = [f"  - {node}: {'; '.join(found)}" for node, found in sorted(problems.items()) if found]
    if lines:
        advice = (
            "install the same versions everywhere (as `ray up` does); `orchestrator submit` carries your own networks"
        )
        raise ResourceError("\n".join(["not every node can train these trials:", *lines, advice]))


def _write(address: str, word: str) -> None:
    filesystem, path = open_filesystem(address)
    try:
        filesystem.create_dir(path.rpartition("/")[0])
        with filesystem.open_output_stream(path) as stream:
            stream.write(word.encode())
    except OSError as problem:
        raise StorageError(f"cannot be written: {_last_line(problem)}") from problem


def _read(address: str) -> str:
    filesystem, path = open_filesystem(address)
    try:
        with filesystem.open_input_stream(path) as stream:
            return bytes(stream.read()).decode()
    except FileNotFoundError:
        return ""
    except OSError as problem:
        raise StorageError(f"cannot be read: {_last_line(problem)}") from problem


def _in_words(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _last_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[-1]
