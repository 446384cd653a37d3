"""Which nodes there are, which a cluster can still bring up, and waiting for the first of them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import ResourceError
from orchestrator.scheduling.resources import fits, trial_resources
from orchestrator.spec import Resources

PATIENCE = 900.0  # seconds for a cluster to bring up its first worker: a cloud machine boots and installs
UNKNOWN = 1e6  # of anything, on a node of a cluster that does not tell what it can bring up
BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")  # `ray up` writes it on the head, as JSON


def alive() -> list[dict[str, Any]]:
    """Each living node as Ray describes it."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def living_nodes() -> list[dict[str, float]]:
    """What each living node has, as ``{"CPU": 2.0, "GPU": 1.0, ...}``."""
    return [dict(node["Resources"]) for node in alive()]


def wait_for_nodes(wanted: Resources, say: Callable[[str], None]) -> list[dict[str, float]]:
    """The living nodes of the cluster, as soon as one of them can take a trial.

    A cluster that grows by itself may have no worker yet: it is asked for one. Raises ResourceError if no node that
    there is or can be would do, or if none comes within 15 minutes.
    """
    import ray

    living = living_nodes()
    possible = [*living, *promised_nodes()]
    if not any(node.get("CPU") for node in possible):
        possible.append({"CPU": UNKNOWN, "GPU": UNKNOWN if wanted.gpus != "auto" else 0.0})
    resources = trial_resources(wanted, possible)
    if any(fits(resources, node) for node in living):
        return living
    say(f"no node can take a trial yet; waiting up to {PATIENCE / 60:.0f} minutes for the cluster to bring one up")
    place = ray.util.placement_group([resources])
    try:
        if not place.wait(PATIENCE):
            raise ResourceError(
                f"no node with {resources} came up within {PATIENCE / 60:.0f} minutes; `ray status` on the head says "
                "why, and max_workers in the cluster's file says what may come up"
            )
    finally:
        ray.util.remove_placement_group(place)
    return living_nodes()


def promised_nodes(bootstrap: Path = BOOTSTRAP) -> list[dict[str, float]]:
    """What the node types have that `ray up` was told it may bring up; empty where there is no such file."""
    try:
        config: dict[str, Any] = json.loads(bootstrap.expanduser().read_text(encoding="utf-8"))
        types: Sequence[dict[str, Any]] = list(config.get("available_node_types", {}).values())
        return [dict(kind["resources"]) for kind in types if kind.get("max_workers", 0) and kind.get("resources")]
    except (OSError, ValueError, AttributeError):
        return []
