"""How many trials share a GPU: measured on a node before a launch's first trials start, and kept with the launch."""

import json
import math
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.files import write_json
from orchestrator.scheduling.directory import enter
from orchestrator.scheduling.launch_folder import SHARE
from orchestrator.scheduling.resources import fits, trial_resources
from orchestrator.scheduling.storage import FOLDERS, Storage
from orchestrator.sharing.measure import Throughput, side_by_side
from orchestrator.sharing.share import COUNTS, Share, best_share
from orchestrator.spec import Plan, TrialSpec
from orchestrator.text import first_line, last_line

T = TypeVar("T")
SECONDS = 3.0  # of each count that is measured; processes start for about twice as long
WARM_UP = 60.0  # seconds until the processes of one count train
LONGEST = 60.0  # seconds after which no further network is measured; the costliest was the first
PATIENCE = 300.0  # seconds for one network, the waiting for a free GPU included


@dataclass(frozen=True)
class Gpu:
    """What a GPU is, as far as it decides how many trials fit on it and are worth it."""

    name: str
    memory: int  # bytes in all


@dataclass(frozen=True)
class Work:
    """What there is to train: ``waiting`` trials of a plan, their cost, and the data that each holds on its GPU."""

    plan: Plan
    waiting: Sequence[TrialSpec]
    macs: Mapping[str, float]  # multiply-accumulates for an image, by trial name
    shape: tuple[int, int, int]
    classes: int
    resident: int  # bytes of images on the GPU


def trials_per_gpu(
    work: Work,
    nodes: Sequence[dict[str, float]],
    folder: Path,
    storage: Storage = FOLDERS,
    log: Callable[[str], None] = lambda _: None,
) -> int:
    """How many trials of ``work`` are to share each GPU of ``nodes``; 1 where there is nothing to share.

    What was found is kept in the launch's ``folder``, and taken from there when it is resumed on such a GPU. Ray must
    have been started. ``log`` gets the result in one line, if there was anything to measure.
    """
    most = useful(work, nodes)
    if most <= 1:
        return 1
    kept, before = read_share(folder) or (1, None)
    if before is not None:
        now = _ask_a_node(which_gpu)
        if isinstance(now, str) or now == before:  # a GPU that does not answer is taken for the one that did
            return min(kept, most)
        log(f"how many trials share a GPU is measured anew, on {described(now)}: before it was {described(before)}")
        kept = 1  # on the other GPU
    measured: list[tuple[TrialSpec, Share, Gpu]] = []
    began = time.monotonic()
    for spec in costliest(work):
        most = min([most, *(share.count for _, share, _ in measured)])
        counts = [count for count in COUNTS if count <= most]
        if len(counts) == 1 or time.monotonic() > began + LONGEST:
            break  # it is 1 already, or trials have waited long enough
        found = _measure_on_a_node(spec, work, counts)
        if isinstance(found, str):
            kept = min(kept, most)
            stays = f"{kept} trials share a GPU as before" if kept > 1 else "every trial gets a GPU of its own"
            log(f"{stays}, since it is not known how many could share one: {found}")
            return kept
        measured.append((spec, *found))
    if not measured:
        return 1
    spec, share, gpu = min(measured, key=lambda each: each[1].count)  # of several the costliest
    write_share(folder, [(spec, share) for spec, share, _ in measured], share.count, gpu)
    storage.push(folder / SHARE)
    log(describe_share(spec, share))
    return share.count


def useful(work: Work, nodes: Sequence[dict[str, float]]) -> int:
    """The most trials that could share a GPU: no more than there are, and than there are CPU cores for."""
    wanted = work.plan.experiment.resources
    if wanted.gpus != "auto":
        return 1
    whole = trial_resources(wanted, nodes)
    able = [node for node in nodes if whole.get("GPU") and fits({"GPU": 1.0, "CPU": least_cpus(work)}, node)]
    if not able:
        return 1
    trials = min(len(work.waiting), wanted.max_concurrent_trials or len(work.waiting))
    cores = max(int(node["CPU"] / (node["GPU"] * least_cpus(work))) for node in able)
    return max(1, min(math.ceil(trials / sum(int(node["GPU"]) for node in able)), cores))


def least_cpus(work: Work) -> float:
    """The CPU cores that a trial gets at the least."""
    wanted = work.plan.experiment.resources.cpus
    return 1.0 if isinstance(wanted, str) else float(wanted)


def costliest(work: Work) -> list[TrialSpec]:
    """One trial of each network, with its largest batch; those with most work a step first."""

    def cost(spec: TrialSpec) -> float:
        return work.macs.get(spec.name, 0.0) * spec.trainer.batch_size

    found: dict[str, TrialSpec] = {}
    for spec in sorted((s for s in work.waiting if s.trainer.device != "cpu"), key=cost, reverse=True):
        found.setdefault(spec.network_key, spec)
    return list(found.values())


def read_share(folder: Path) -> tuple[int, Gpu | None] | None:
    """How many trials shared a GPU when this launch was begun, or None; and which GPU, if an early version kept it."""
    try:
        content = json.loads((folder / SHARE).read_text(encoding="utf-8"))
        count, kept = content["trials"], content.get("gpu")
        gpu = None if kept is None else Gpu(str(kept["name"]), int(kept["memory"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return (count, gpu) if isinstance(count, int) and not isinstance(count, bool) and count >= 1 else None


def write_share(folder: Path, measured: Iterable[tuple[TrialSpec, Share]], count: int, gpu: Gpu) -> None:
    """Keep what was found, and what it was found by, and on which GPU."""
    networks = [
        {
            "variant": spec.label,
            "arguments": spec.arguments,
            "batch_size": spec.trainer.batch_size,
            "trials": share.count,
            "reason": share.reason,
            "measured": [
                {"trials": number, "images_per_second": t.images_per_second, "bytes_each": t.bytes_each}
                for number, t in share.measured
            ],
        }
        for spec, share in measured
    ]
    write_json(folder / SHARE, {"trials": count, "gpu": asdict(gpu), "networks": networks})


def describe_share(spec: TrialSpec, share: Share) -> str:
    """One line about the network that decided."""
    speeds = {number: t.images_per_second for number, t in share.measured}
    if share.count == 1:
        return f"every trial gets a GPU of its own: of {spec.label}, {share.reason}"
    times = speeds[share.count] / speeds[1]
    return f"{share.count} trials share a GPU, {times:.1f} times as fast as one: of {spec.label}, {share.reason}"


def described(gpu: Gpu) -> str:
    """A GPU in words."""
    return f"{gpu.name} ({gpu.memory / 2**30:.1f} GiB)"


def _measure_on_a_node(spec: TrialSpec, work: Work, counts: Sequence[int]) -> tuple[Share, Gpu] | str:
    """What a node with a free GPU has measured, and on which GPU, or why there is nothing."""
    plain = json.dumps(spec.to_json())
    return _ask_a_node(measure, plain, work.shape, work.classes, counts, work.resident, str(Path.cwd()))


def _ask_a_node(function: Callable[..., T | str], *arguments: Any) -> T | str:
    """What ``function`` has returned on a node with a free GPU, or why there is nothing."""
    import ray

    asked = ray.remote(num_cpus=1, num_gpus=1, max_retries=0)(function).remote(*arguments)
    try:
        found: T | str = ray.get(asked, timeout=PATIENCE)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(asked, force=True)  # processes that it has started end with it
        return f"no node has answered within {PATIENCE:.0f} s"
    except ray.exceptions.RayError as problem:
        return last_line(problem)
    except KeyboardInterrupt:
        ray.cancel(asked, force=True)
        raise
    return found


def which_gpu() -> Gpu | str:
    """On a node: its GPU, or why that cannot be said. This process uses some of its memory from then on."""
    import torch

    if not torch.cuda.is_available():
        return f"CUDA finds no GPU on {platform.node()}"
    try:
        found = torch.cuda.get_device_properties(0)
    except RuntimeError as problem:
        return f"CUDA cannot use the GPU on {platform.node()}: {first_line(problem)}"
    return Gpu(found.name, found.total_memory)


def measure(
    spec: str, shape: tuple[int, int, int], classes: int, counts: Sequence[int], resident: int, directory: str = "."
) -> tuple[Share, Gpu] | str:
    """On a node: how many trials of ``spec`` share its GPU, and which that is, or why that cannot be said.

    Networks open their files from ``directory``, the driver's.
    """
    import torch

    if not torch.cuda.is_available():
        return f"CUDA finds no GPU on {platform.node()}"
    enter(directory)
    trial = TrialSpec.from_json(json.loads(spec))

    def try_out(count: int) -> Throughput:
        return with_data(side_by_side(trial, shape, classes, count, SECONDS, patience=WARM_UP), resident)

    alone = try_out(counts[0])
    if alone.failed:
        return f"{trial.label} does not train on {platform.node()}: {alone.reason}"
    share = best_share(lambda count: alone if count == counts[0] else try_out(count), alone.bytes_total, counts)
    gpu = which_gpu()  # last, since from then on this process is one on the GPU
    return gpu if isinstance(gpu, str) else (share, gpu)


def with_data(found: Throughput, resident: int) -> Throughput:
    """What was measured with a few random images, for trials whose images take ``resident`` bytes of the GPU."""
    on_gpu = resident if 2 * resident <= found.bytes_total else 0  # a larger dataset stays in host memory
    return replace(found, bytes_each=found.bytes_each + on_gpu)
