"""One of the processes that train side by side: it reads a request from stdin, trains, and writes a line an epoch."""

import json
import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.architectures.crash import crash
from orchestrator.spec import Recipe, Schedule, TrialSpec

if TYPE_CHECKING:
    from orchestrator.data import Dataset

EPOCHS = 10_000  # more than any window is long
BATCHES = 40  # an epoch: with fewer, what a small network does between two epochs would count too much
LARGEST = 2**28  # bytes of images in an epoch; larger ones make fewer batches
FEWEST = 4  # batches an epoch
LEARNING_RATE = 1e-6  # labels are random: with a usual one some networks would diverge
GRACE = 8.0  # seconds for the epoch in progress to end; who waits for us waits a little longer
OFTEN = 0.25  # seconds between two looks at the GPU's memory, for each of which it stops


def main() -> None:
    """Train until whoever started this closes stdin, or is gone; the epoch in progress is finished."""
    request = json.loads(sys.stdin.readline())
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a network prints is no line of ours
    ending = threading.Event()
    home = Path(request["folder"]).parent  # of all processes; who started us removes it, unless it was killed
    threading.Thread(target=_end_with_parent, args=(ending, home), daemon=True).start()
    try:
        for line in _train(request):
            if ending.is_set():
                return
            lines.write(json.dumps(line) + "\n")
    except Exception as problem:  # the boundary to another process, which reads it
        lines.write(json.dumps({"failed": crash(problem)}) + "\n")
        raise SystemExit(1) from problem
    finally:
        if ending.is_set():
            shutil.rmtree(home, ignore_errors=True)


def _end_with_parent(ending: threading.Event, home: Path) -> None:
    while os.read(0, 1024):
        pass
    ending.set()
    time.sleep(GRACE)
    shutil.rmtree(home, ignore_errors=True)
    os._exit(1)


def _train(request: dict[str, Any]) -> Any:
    """One line an epoch: when it ended, its images, and the bytes of GPU memory."""
    from orchestrator.files import unsynced
    from orchestrator.trial import run_trial

    spec = TrialSpec.from_json(request["spec"])
    spec = replace(spec, trainer=_endless(spec.trainer), seed=request["number"], dataset_digest="")
    dataset = _random_images(spec.trainer, tuple(request["shape"]), request["classes"])
    looked, memory = 0.0, {"reserved": 0, "used": 0, "total": 0}
    with unsynced():
        for _ in run_trial(spec, dataset, Path(request["folder"]), measure=False):
            now = time.monotonic()
            if now > looked + OFTEN:
                looked, memory = now, _memory(memory["reserved"])
            yield {"at": now, "images": len(dataset.train), **memory}


def _endless(recipe: Recipe) -> Recipe:
    """The same work at every step, for ever."""
    schedule: Schedule = replace(recipe.schedule, max_lr=None, min_lr=0.0, total_steps=None)
    optimizer = replace(recipe.optimizer, lr=LEARNING_RATE)
    threads = 1 if recipe.threads == "auto" else recipe.threads
    changes = {"epochs": EPOCHS, "stop_at_accuracy": None, "protocol": "validation", "threads": threads}
    return replace(recipe, optimizer=optimizer, schedule=schedule, **changes)  # type: ignore[arg-type]


def _random_images(recipe: Recipe, shape: tuple[int, ...], classes: int) -> "Dataset":
    """Batches to train on, and one batch of evaluation, whose memory counts, but not much of its time.

    Without ``drop_last`` the last batch is smaller, as in most trials: recorded by itself, it takes memory of its own.
    """
    import torch

    from orchestrator.data import Dataset, Split

    stream = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        images = torch.randint(0, 256, (count, *shape), generator=stream, dtype=torch.uint8)
        return Split(images, torch.randint(0, classes, (count,), generator=stream))

    batch = recipe.batch_size * shape[0] * shape[1] * shape[2]  # bytes
    images = recipe.batch_size * max(FEWEST, min(BATCHES, LARGEST // batch))
    # A single image is left out: some networks cannot be trained on one.
    rest = recipe.batch_size - 1 if recipe.batch_size > 2 and not recipe.drop_last else 0
    names = tuple(str(number) for number in range(classes))
    return Dataset("random", split(images + rest), split(1), names, split(min(images, recipe.evaluation_batch_size)))


def _memory(peak: int) -> dict[str, int]:
    """Bytes of the GPU: reserved by this process at its ``peak``, used by all there are, and in all; 0 on a CPU."""
    import torch

    if not torch.cuda.is_initialized():
        return {"reserved": 0, "used": 0, "total": 0}
    free, total = torch.cuda.mem_get_info()
    return {"reserved": max(peak, torch.cuda.max_memory_reserved()), "used": total - free, "total": total}
