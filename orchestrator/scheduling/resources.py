"""What one trial gets, and the refusal of what no node can give."""

from collections.abc import Mapping, Sequence

from orchestrator.errors import ResourceError
from orchestrator.spec import Resources


def trial_resources(wanted: Resources, nodes: Sequence[dict[str, float]], per_gpu: int = 1) -> dict[str, float]:
    """``{"CPU": cores, "GPU": share}`` of one trial, which at least one node has.

    ``auto`` takes what there is: of a GPU the part that leaves room for ``per_gpu`` trials (see gpu_sharing.py). Raises
    ResourceError if no single node has what is asked for.
    """
    least = 1.0 if isinstance(wanted.cpus, str) else float(wanted.cpus)
    share = 1 / per_gpu if isinstance(wanted.gpus, str) else float(wanted.gpus)
    fitting = [node for node in nodes if fits({"CPU": least, "GPU": share}, node)]
    if not fitting and isinstance(wanted.gpus, str):
        share = 0.0
        fitting = [node for node in nodes if fits({"CPU": least}, node)]
    if not fitting:
        raise ResourceError(_refusal(wanted, nodes))
    cpus = least  # without a GPU, one thread a trial: side by side they use every core and none waits for another
    if share and isinstance(wanted.cpus, str):  # what goes with the GPU, on whichever of these nodes it is
        cpus = max(1.0, float(min(int(node["CPU"] * share / node["GPU"]) for node in fitting)))
    return {"CPU": cpus, **({"GPU": share} if share else {})}


def fits(resources: Mapping[str, float], node: Mapping[str, float]) -> bool:
    """Whether ``node`` has as much as ``resources`` of each kind."""
    return all(node.get(kind, 0.0) >= amount for kind, amount in resources.items())


def larger_share(resources: dict[str, float], nodes: Sequence[dict[str, float]]) -> dict[str, float]:
    """What a trial gets that ran out of memory: twice the share of a GPU where a node has it, else all of its cores."""
    more = {**resources, "GPU": min(1.0, 2 * resources["GPU"])} if resources.get("GPU", 1.0) < 1 else resources
    if more != resources and any(fits(more, node) for node in nodes):
        return more
    return {**resources, "CPU": max((n["CPU"] for n in nodes if fits(resources, n)), default=resources["CPU"])}


def slots(resources: dict[str, float], nodes: Sequence[dict[str, float]], limit: int | None) -> int:
    """How many trials run at once."""
    each = (min(int(node.get(kind, 0.0) / amount) for kind, amount in resources.items()) for node in nodes)
    total = sum(each)
    return min(total, limit) if limit else total


def _refusal(wanted: Resources, nodes: Sequence[dict[str, float]]) -> str:
    """What was asked for, what each kind of node has, and what to change; never what stands there already."""
    asked = {"CPUs": wanted.cpus, "GPUs": wanted.gpus}
    given = {kind: amount for kind, amount in asked.items() if not isinstance(amount, str) and amount}
    asks = " and ".join(f"{amount:g} {kind}" for kind, amount in given.items()) or "1 CPU"
    kinds = dict.fromkeys(f"{node.get('CPU', 0.0):g} CPUs and {node.get('GPU', 0.0):g} GPUs" for node in nodes)
    lower = " or ".join(f"resources.{kind.lower()}" for kind in given)
    advice = f"lower {lower}, or set it to auto" if given else "add a node with at least 1 CPU"
    if "GPUs" in given and "CPUs" not in given:
        asks = f"1 CPU and {asks}"
    return f"a trial asks for {asks} on one node, but the nodes have: {'; '.join(kinds) or 'nothing'}; {advice}"
