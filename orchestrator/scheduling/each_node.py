"""Run a function on nodes of the joined cluster: a Ray task on each, with a time limit."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from orchestrator.scheduling.nodes import alive
from orchestrator.text import last_line


def node_names() -> dict[str, str]:
    """The name of each living node by Ray's id: its host's name, with a suffix if two have the same."""
    hosts = {node["NodeID"]: str(node["NodeManagerHostname"]) for node in alive()}
    several = [host for host in hosts.values() if list(hosts.values()).count(host) > 1]
    return {node: f"{host}/{node[:6]}" if host in several else host for node, host in hosts.items()}


def object_stores() -> dict[str, float]:
    """The size in bytes of each living node's object store, by Ray's id."""
    return {node["NodeID"]: float(node["Resources"].get("object_store_memory", 0.0)) for node in alive()}


def dashboard_address() -> str:
    """``host:port`` of the joined cluster's dashboard; empty if it has none."""
    import ray

    return str(getattr(ray.worker.global_worker.node, "webui_url", "") or "")


def on_each_node(
    function: Callable[..., Any], arguments: Mapping[str, tuple[Any, ...]], patience: float
) -> tuple[dict[str, Any], dict[str, str]]:
    """Call ``function`` on each node with its arguments: the results, and why others are missing, by its id.

    ``patience`` is in seconds, for all of them together.
    """
    if not arguments:
        return {}, {}
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(function)
    running = {}
    for node, given in arguments.items():
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        running[task.options(scheduling_strategy=there).remote(*given)] = node
    done, late = ray.wait(list(running), num_returns=len(running), timeout=patience)
    results, missing = {}, {running[reference]: f"did not answer within {patience:.0f} seconds" for reference in late}
    for reference in done:
        try:
            results[running[reference]] = ray.get(reference)
        except ray.exceptions.RayError as problem:
            missing[running[reference]] = f"cannot be examined: {last_line(problem)}"
    for reference in late:
        ray.cancel(reference, force=True)
    return results, missing


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
