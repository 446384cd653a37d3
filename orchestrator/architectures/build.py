"""Build a network for a dataset, or reject it with the reason before training starts."""

import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from orchestrator.analysis.copy_network import copy_on
from orchestrator.analysis.outputs import main_output
from orchestrator.analysis.random_states import remembered_random_states
from orchestrator.architectures.arguments import CLASSES, Shape, missing, parameters, passed, takes_any
from orchestrator.architectures.crash import crash
from orchestrator.architectures.importing import apart, importable
from orchestrator.architectures.locate import load_network, resolved
from orchestrator.architectures.parts import own_parts, refuse_shared, tensors
from orchestrator.errors import VariantError
from orchestrator.text import did_you_mean

# Every network that was built and is still in use, by its id.
_made: "weakref.WeakValueDictionary[int, nn.Module]" = weakref.WeakValueDictionary()


def build_network(
    variant: str,
    arguments: Mapping[str, Any] | None = None,
    num_classes: int = 10,
    shape: Shape = (3, 32, 32),
) -> nn.Module:
    """The network ``variant``, with weights drawn from torch's current random state, on the CPU, in training mode.

    ``arguments`` go to its class or function, references among them as the classes that they name, with the number of
    classes and of channels as in :func:`passed`. It maps (N, 3, H, W) float32 to logits (N, num_classes), alone or with
    auxiliary outputs as in :func:`main_output`. Raises VariantError if it cannot be built or if it does not do that for
    images of ``shape``. That is tried with a copy: what a network keeps of the first images that it sees, such as a
    scale to start from, is to be that of real ones.
    """
    given = arguments or {}
    with importable():  # for what is imported as late as in a constructor or in forward
        known = passed(variant, given, num_classes, shape).known
        built = _build(variant, given, known)
        logits = _logits(variant, built, shape)
        own_parts(built)  # those that it has made on its way
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (2, num_classes):
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        told = {*known, *given} & set(CLASSES)
        hint = "" if told else f" ({_hint(variant)})"
        raise VariantError(f"{variant}: must return logits of shape (N, {num_classes}), not {got} for N = 2{hint}")
    return built


def _build(variant: str, arguments: Mapping[str, Any], known: Mapping[str, int]) -> nn.Module:
    network = load_network(variant)
    accepted = parameters(network)
    if not takes_any(accepted) and (odd := set(arguments) - set(accepted)):
        has = f"it has: {', '.join(accepted)}" if accepted else "it has none"
        unknown = ", ".join(f"{name}{did_you_mean(name, accepted)}" for name in sorted(odd))
        raise VariantError(f"{variant}: its constructor has no parameter {unknown}; {has}")
    if absent := missing(accepted, {**known, **arguments}):
        raise VariantError(
            f"{variant}: needs {', '.join(absent)}; set what has no default in the variant's arguments, a class or "
            "function as {class: Name}"
        )
    try:
        with apart():
            built = network(**{**known, **resolved(variant, arguments)})
    except VariantError:
        raise
    except (Exception, SystemExit) as problem:  # a user's constructor may raise anything
        raise VariantError(f"{variant}: cannot be built: {crash(problem)}") from problem
    if not isinstance(built, nn.Module):
        raise VariantError(f"{variant}: returns {type(built).__name__}, not a torch.nn.Module")
    if _made.get(id(built)) is built:
        raise VariantError(
            f"{variant}: returns the same network again, which trials would share; it must make a new one at each call"
        )
    refuse_shared(variant, built)
    own_parts(built)
    _made[id(built)] = built
    return built


def _hint(variant: str) -> str:
    """What to do about a network that was not told the number of classes."""
    accepted = parameters(load_network(variant))
    if not accepted:
        return (
            f"it has no parameters, so it cannot be told the number of classes: give it one called {CLASSES[0]}, or "
            "name the class of the network, with arguments"
        )
    return (
        f"none of its parameters is named like a number of classes, such as {CLASSES[0]}: it has "
        f"{', '.join(accepted)}; set the right one in the variant's arguments, or if there is none, name the class of "
        "the network instead, with arguments"
    )


def _logits(variant: str, network: nn.Module, shape: Shape) -> Any:
    """What the network returns for two images in evaluation mode, without auxiliary outputs.

    The network itself is run only where it must be: if it makes parameters or buffers on its way, or no copy works.
    The random numbers that its first run draws count as drawn in any case, which run that may be.
    """
    begin_again = remembered_random_states()
    with suppress(Exception, SystemExit):  # what fails for a copy alone, such as a hook that has the network itself
        if not any(is_lazy(tensor) for _, tensor in tensors(network)):
            copied = copy_on(network, "cpu")
            before = _shapes(copied)
            output = _evaluated(copied, torch.zeros(2, *shape))
            if _shapes(copied) == before:
                network.train(network.training)  # its parts too
                return output
    begin_again()
    try:
        return _evaluated(network, torch.zeros(2, *shape))
    except (Exception, SystemExit) as problem:  # a network that does not fit may raise anything
        size = "x".join(map(str, shape))
        hint = "; it works with one channel: set dataset.channels: 1" if _takes_grey(network, shape) else ""
        raise VariantError(f"{variant}: does not work with {size} images: {crash(problem)}{hint}") from problem


def _evaluated(network: nn.Module, images: Tensor) -> Any:
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), apart():
            return main_output(network(images))
    finally:
        network.train(was_training)


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    """Of all parameters and buffers, by their names."""
    return {name: tensor.shape for name, tensor in tensors(network)}


def _takes_grey(network: nn.Module, shape: Shape) -> bool:
    """Whether a network that does not work with images of ``shape`` does with grey ones of that size."""
    try:
        with torch.no_grad(), apart():
            return isinstance(main_output(network(torch.zeros(2, 1, *shape[1:]))), Tensor) and shape[0] != 1
    except (Exception, SystemExit):  # as above
        return False
