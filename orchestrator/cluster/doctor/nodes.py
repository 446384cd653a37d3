"""Run the doctor on every node of the joined Ray cluster: one task per node, with a time limit."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from orchestrator.cluster.doctor import facts, listening, reach
from orchestrator.cluster.doctor.finding import HERE, Finding, Level
from orchestrator.cluster.doctor.judge import judge, judge_clock

SENT = (facts, listening, reach)  # the modules whose functions run on the nodes
TICKS = 5  # readings of a node's clock; the one with the shortest round trip counts


def examine_nodes(reference: Mapping[str, Any], storage: str, patience: float) -> list[Finding]:
    """Findings of every node of the cluster. Ray must have been joined.

    ``reference`` holds the driver's own facts, ``storage`` is what every node must be able to use, ``patience`` is in
    seconds, for each round of tasks: a node that does not answer by then is a failure.
    """
    with sent_by_value(*SENT):
        return _examine(_names(), reference, storage, patience)


def _examine(names: Mapping[str, str], reference: Mapping[str, Any], storage: str, patience: float) -> list[Finding]:
    local = [] if reach.is_remote(storage) else [storage]
    answers, silent = _ask(_task(facts.gather), dict.fromkeys(names, (local,)), patience)
    found = [_silent(names[node], problem, patience) for node, problem in silent.items()]
    stores = _object_stores()
    for node, plain in answers.items():
        found += judge(names[node], plain, reference, stores.get(node, 0.0))
    living = {node: names[node] for node in answers}
    found += [_clock(node, name, patience) for node, name in living.items()]
    found += _storage(living, storage, patience)
    return found


def _names() -> dict[str, str]:
    """The name of each living node by its id: its host's name, with a suffix if two have the same."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    hosts = [node["NodeManagerHostname"] for node in alive]
    names = {}
    for node, host in zip(alive, hosts, strict=True):
        name = host if hosts.count(host) == 1 else f"{host}/{node['NodeID'][:6]}"
        names[node["NodeID"]] = name
    return names


def _object_stores() -> dict[str, float]:
    import ray

    return {node["NodeID"]: node["Resources"].get("object_store_memory", 0.0) for node in ray.nodes()}


@contextmanager
def sent_by_value(*modules: ModuleType) -> Iterator[None]:
    """Let Ray send these modules' functions by value: a node may have another version of them, or none."""
    from ray import cloudpickle

    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _task(question: Callable[..., Any]) -> Any:
    import ray

    return ray.remote(num_cpus=0, max_retries=0)(question)


def _ask(task: Any, arguments: Mapping[str, tuple[Any, ...]], patience: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Run ``task`` on each node with its arguments; the answers, and the reasons for missing ones, by node id."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for node, given in arguments.items():
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        asked[task.options(scheduling_strategy=there).remote(*given)] = node
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=patience)
    answers, silent = {}, {asked[reference]: "" for reference in late}
    for reference in done:
        try:
            answers[asked[reference]] = ray.get(reference)
        except ray.exceptions.RayError as problem:
            silent[asked[reference]] = (str(problem).strip().splitlines() or [type(problem).__name__])[-1]
    for reference in late:
        ray.cancel(reference, force=True)
    return answers, silent


def _silent(node: str, problem: str, patience: float) -> Finding:
    value = f"cannot be examined: {problem}" if problem else f"did not answer within {patience:.0f} seconds"
    return Finding(node, "node", Level.FAILURE, value, "ray status, then restart Ray on that node, or the node")


def _clock(node: str, name: str, patience: float) -> Finding:
    """Compare a node's clock with this one; half of the round trip is the uncertainty."""
    best: tuple[float, float] | None = None
    task = _task(facts.clock)
    for _ in range(TICKS):
        before = time.time()
        answers, _ = _ask(task, {node: ()}, patience)
        after = time.time()
        if node in answers and (best is None or (after - before) / 2 < best[1]):
            best = answers[node] - (before + after) / 2, (after - before) / 2
    return judge_clock(name, *best) if best else _silent(name, "", patience)


def _storage(names: Mapping[str, str], storage: str, patience: float) -> list[Finding]:
    """Every node writes, then every node and this process read what all have written."""
    probe = f"{reach.PREFIX}{uuid.uuid4().hex[:12]}"
    limit = max(patience, 3 * reach.PATIENCE)
    began = time.monotonic()
    here = reach.write(storage, probe, HERE)
    problems, silent = _ask(_task(reach.write), {node: (storage, probe, node) for node in names}, limit)
    writers = [node for node, problem in problems.items() if not problem] + ([] if here else [HERE])
    answers, silent_later = _ask(_task(reach.unseen), dict.fromkeys(problems, (storage, probe, writers)), limit)
    unseen_here = reach.unseen(storage, probe, writers)
    seconds = time.monotonic() - began
    _ask(_task(reach.clean), dict.fromkeys(problems, (storage, probe)), limit)
    reach.clean(storage, probe)
    called = {**names, HERE: HERE}
    found = [_silent(names[node], problem, limit) for node, problem in {**silent, **silent_later}.items()]
    for node, problem in problems.items():
        missing = [called[writer] for writer in answers.get(node, [])]
        found.append(reach.storage_finding(names[node], storage, problem, missing, seconds))
    found.append(reach.storage_finding(HERE, storage, here, [called[writer] for writer in unseen_here], seconds))
    return found
