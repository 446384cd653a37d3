"""What one trial gets, and the refusal of what no node can give."""

from collections.abc import Sequence

from orchestrator.errors import ResourceError
from orchestrator.spec import Resources

TRIALS_PER_GPU = 4  # these networks are small: one of them leaves most of a GPU idle


def trial_resources(wanted: Resources, nodes: Sequence[dict[str, float]]) -> dict[str, float]:
    """``{"CPU": cores, "GPU": share}`` of one trial. Raises ResourceError if no single node has that much."""
    most_gpus = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
    most_cpus = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    gpus = wanted.gpus if not isinstance(wanted.gpus, str) else (1 / TRIALS_PER_GPU if most_gpus else 0.0)
    if not isinstance(wanted.cpus, str):
        cpus = float(wanted.cpus)
    elif gpus:
        shares = [int(n.get("CPU", 0.0) * gpus / n["GPU"]) for n in nodes if n.get("CPU") and n.get("GPU", 0.0) >= gpus]
        cpus = max(1.0, float(min(shares, default=1)))  # what goes with the GPU, on whichever node it is
    else:
        cpus = 1.0  # one thread a trial: side by side they use every core and none waits for another
    if not any(node.get("CPU", 0.0) >= cpus and node.get("GPU", 0.0) >= gpus for node in nodes):
        raise ResourceError(
            f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, but the largest node has {most_cpus:g} CPUs and "
            f"{most_gpus:g} GPUs; lower resources.cpus or resources.gpus, or leave them at auto"
        )
    return {"CPU": float(cpus), **({"GPU": float(gpus)} if gpus else {})}


def larger_share(resources: dict[str, float], nodes: Sequence[dict[str, float]]) -> dict[str, float]:
    """What a trial gets that ran out of memory: twice the share of a GPU, or on CPUs a whole node for itself."""
    if gpus := resources.get("GPU"):
        return {**resources, "GPU": min(1.0, 2 * gpus) if gpus < 1 else gpus}
    return {**resources, "CPU": max((node.get("CPU", 0.0) for node in nodes), default=resources["CPU"])}


def slots(resources: dict[str, float], nodes: Sequence[dict[str, float]], limit: int | None) -> int:
    """How many trials run at once."""
    each = (min(int(node.get(kind, 0.0) / amount) for kind, amount in resources.items()) for node in nodes)
    total = sum(each)
    return min(total, limit) if limit else total
