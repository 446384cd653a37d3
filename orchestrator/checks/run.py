"""Run the checks: here, on every node of the joined cluster, or on the head; before a launch, or all for `doctor`."""

import os
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from orchestrator.architectures import named_in
from orchestrator.checks.catalog import ALL, BEFORE_LAUNCH, BY_DRIVER, ON_MACHINE, SENT
from orchestrator.checks.check import HERE, RESTART, Finding, Level, Outcome, Request, failure, run_on_machine
from orchestrator.checks.head import run_on_head
from orchestrator.checks.versions import VERSIONS
from orchestrator.errors import ResourceError, StorageError
from orchestrator.redact import redact
from orchestrator.scheduling.each_node import node_names, object_stores, on_each_node, sent_by_value
from orchestrator.scheduling.session import ray_session
from orchestrator.spec import Plan
from orchestrator.text import counted, first_line

LAUNCH_PATIENCE = 120.0  # seconds for all nodes together; where a network is compared, torch is imported first
_RAY_ENVIRONMENT = {
    "RAY_NUM_REDIS_GET_RETRIES": "5",  # tries of a second each; Ray's 20 would be too long for a wrong token
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # the finding says it
}
JOIN = "ray status    (on the head; with a token: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token)"


def run_checks(request: Request, names: Collection[str] = ALL) -> list[Finding]:
    """The findings of the checks called ``names``, here and on ``request.nodes``; secrets in them are replaced."""
    with sent_by_value(*SENT) if request.nodes else nullcontext():
        return [_finding(node, name, outcome) for node, name, outcome in _outcomes(request, names)]


def _outcomes(request: Request, names: Collection[str]) -> Iterator[tuple[str, str, Outcome]]:
    on_machine = {name: check for name, check in ON_MACHINE.items() if name in names}
    for name, outcome in run_on_machine(on_machine, request):
        yield HERE, name, outcome
    if request.nodes:
        versions = {name: version() for name, version in VERSIONS.items()}
        there = replace(request, tracking_uri=None, versions=versions, directory=str(Path.cwd()))
        stores = object_stores()
        arguments = {node: (on_machine, replace(there, object_store=stores.get(node, 0.0))) for node in request.nodes}
        results, missing = on_each_node(run_on_machine, arguments, request.patience)
        for node, reason in missing.items():
            yield request.nodes[node], "node", failure(reason, RESTART)
        for node, outcomes in results.items():
            yield from ((request.nodes[node], name, outcome) for name, outcome in outcomes)
        request = replace(request, nodes={node: request.nodes[node] for node in results})
    for name, check in BY_DRIVER.items():
        if name in names:
            yield from ((node, name, outcome) for node, outcome in check(request))


def _finding(node: str, name: str, outcome: Outcome) -> Finding:
    level, value, advice = outcome
    return Finding(node, name, Level(level), redact(value), redact(advice))


def diagnose(request: Request, address: str | None = None, debug: bool = False) -> list[Finding]:
    """All findings about this machine and, with ``address``, a cluster: auto, host:port, or its Jobs API's URL.

    Raises RequestError if the experiment file is not valid.
    """
    if address is None:
        return run_checks(request)
    if address.startswith(("http://", "https://")):  # the head runs the checks, with its own settings
        found = run_checks(request, [name for name in ALL if name != "storage"])
        from_head = run_on_head(address, request.patience)
        return [*found, *(_finding(f.node, f.name, (f.status, f.value, f.advice)) for f in from_head)]
    for name, value in _RAY_ENVIRONMENT.items():  # before Ray is imported
        os.environ.setdefault(name, value)
    try:
        with ray_session(address, debug=debug) as nodes:
            joined = Finding(HERE, "cluster", Level.OK, f"{counted(len(nodes), 'node')} at {address}")
            return [joined, *run_checks(replace(request, nodes=node_names()))]
    except ResourceError as problem:
        refused = ("failure", first_line(problem).partition(". ")[0], JOIN)
        return [_finding(HERE, "cluster", refused), *run_checks(request)]


def check_nodes(storage: str, plan: Plan) -> int:
    """Raise unless every node of the joined cluster can train ``plan`` and keep it in ``storage``; returns how many.

    ``storage`` is the launch's folder as nodes call it. Raises StorageError naming the nodes that cannot use it, and
    ResourceError naming those with other versions of Python, Ray, torch or this package, or of a network's source.
    """
    networks = {(s.variant, *named_in(s.arguments)): s.source_digest for s in plan.trials if s.source_digest}
    request = Request(storage, networks=networks, nodes=node_names(), patience=LAUNCH_PATIENCE)
    failures = [f for f in run_checks(request, BEFORE_LAUNCH) if f.status is Level.FAILURE]
    unusable = [f for f in failures if f.name == "storage"]
    if unusable:
        raise StorageError(_refusal("not every node can use the storage", unusable))
    if failures:
        raise ResourceError(_refusal("not every node can train these trials", failures))
    return len(request.nodes)


def _refusal(what: str, failures: Collection[Finding]) -> str:
    lines = sorted(f"  - {f.node}: {f.value if f.name == 'storage' else f'{f.name}: {f.value}'}" for f in failures)
    return "\n".join([f"{what}:", *lines, *dict.fromkeys(f.advice for f in failures)])
