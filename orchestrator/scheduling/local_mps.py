"""NVIDIA's MPS around a launch on this machine: the workers of the Ray that we start inherit its variables."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orchestrator.errors import ResourceError
from orchestrator.scoped import environment
from orchestrator.sharing import mps
from orchestrator.spec import Experiment

DEVICES = Path("/dev")  # where Linux shows NVIDIA's GPUs
HIDDEN = ("", "-1", "NoDevFiles")  # values of CUDA_VISIBLE_DEVICES that leave none
NOWHERE = "/nonexistent"  # as its folder: a process goes without MPS


@contextmanager
def local_mps(experiment: Experiment, log: Callable[[str], None]) -> Iterator[None]:
    """Inside this block MPS serves, if there are GPUs here and the trials of ``experiment`` may share one.

    If it cannot be started, ``log`` gets the reason in one line, and nothing else changes: trials take turns then.
    """
    with ExitStack() as stack:
        if may_share(experiment) and has_gpus():
            try:
                stack.enter_context(environment(stack.enter_context(mps.daemon())))
            except ResourceError as problem:
                log(f"trials that share a GPU take turns on it: {problem}")
        yield


def may_share(experiment: Experiment) -> bool:
    """Whether several trials may be on one GPU."""
    gpus = experiment.resources.gpus
    return experiment.trainer.device in ("auto", "cuda") and (gpus == "auto" or 0 < gpus < 1)


def has_gpus() -> bool:
    """Whether this machine shows an NVIDIA GPU to us; CUDA, which would know, is not to be started here."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") not in HIDDEN and any(DEVICES.glob("nvidia[0-9]*"))


def uses_mps() -> bool:
    """Whether this process uses its GPU by MPS, or will: where nobody says where its daemon is, as CUDA finds it."""
    said = os.environ.get(mps.PIPES)
    return said != NOWHERE if said else (mps.USUAL / "control").exists()


def disable_mps() -> None:
    """Let this process, a worker, use its GPU without MPS from now on; only before it has used it."""
    os.environ[mps.PIPES] = NOWHERE
