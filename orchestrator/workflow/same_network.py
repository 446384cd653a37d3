"""Whether a network, built anew, computes what it did when a trial's folder began: its source may not say all."""

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.analysis.outputs import main_output
from orchestrator.architectures import build_network
from orchestrator.architectures.arguments import Shape
from orchestrator.errors import StorageError
from orchestrator.files import write_json
from orchestrator.spec import TrialSpec
from orchestrator.training.randomness import seed_everything
from orchestrator.trial import TrialFolder

FILE = "initial.json"  # in the trial's folder
IMAGES = 4  # in the batch that is tried
MOST = 64  # numbers that are kept of an output
TOLERANCE = 1e-2  # of the largest number: processors differ in the last digits, networks in the first
_ADDRESS = re.compile(r"0x[0-9a-f]+")  # of an object in memory


def open_folder(path: Path, spec: TrialSpec, classes: int, shape: Shape) -> None:
    """Make the folder of ``spec``, with what its network computes for random images, or compare with what it did.

    Values that the source's digest does not see (flags of a script, a module's changed globals, the environment) may
    make another network of the same source. It would be given the trial of the first one. Raises StorageError for it,
    and for a folder of another trial.
    """
    file, begun = path / FILE, (path / "spec.json").exists()
    TrialFolder.create(path, spec)
    if not spec.source_digest:  # a built-in variant is its name and arguments
        return
    if not begun:
        write_json(file, _initial(spec, classes, shape))
        return
    before: dict[str, Any] = {}
    with suppress(OSError, ValueError):  # of a launch, which keeps none, or damaged
        before = json.loads(file.read_text(encoding="utf-8"))
    if before.get("torch") != torch.__version__:
        return
    if _differ(before, now := _initial(spec, classes, shape)) and not _differ(now, _initial(spec, classes, shape)):
        raise StorageError(
            f"{path} holds a trial of {spec.variant}, which computes something else now, from the same source: it "
            "depends on a value that the source does not say; pass that value as an argument, or give another folder "
            "with --out, or remove it"
        )


def _initial(spec: TrialSpec, classes: int, shape: Shape) -> dict[str, Any]:
    """What the network of ``spec`` is and computes before training, in evaluation and in training mode."""
    seed_everything(spec.seed, "weights")
    network = build_network(spec.variant, spec.arguments, classes, shape)
    outputs = [_output(network.eval(), shape), _output(network.train(), shape)]
    weights = [f"{name} {tuple(w.shape)}" for name, w in network.state_dict().items() if isinstance(w, Tensor)]
    structure = "\n".join([_ADDRESS.sub("", repr(network)), *weights])
    digest = hashlib.sha256(structure.encode()).hexdigest()
    return {"torch": torch.__version__, "structure": digest, "outputs": outputs}


def _output(network: nn.Module, shape: Shape) -> list[float]:
    """Some of the numbers that ``network`` returns for random images; none if it cannot be run on them."""
    images = torch.randn(IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    seed_everything("initial")
    try:
        with torch.no_grad():
            numbers = main_output(network(images)).detach().double().flatten()
    except Exception:  # whatever a user's network raises: where that matters, it is said before
        return []
    kept: list[float] = numbers[:: max(len(numbers) // MOST, 1)].tolist()
    return kept if torch.isfinite(numbers).all() else []


def _differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one["structure"] != other["structure"] or any(map(_far, one["outputs"], other["outputs"]))


def _far(some: list[float], others: list[float]) -> bool:
    if not some or not others:
        return False
    bound = TOLERANCE * max(map(abs, some))
    return len(some) != len(others) or any(abs(x - y) > bound for x, y in zip(some, others, strict=True))
