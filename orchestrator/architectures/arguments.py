"""Which arguments a network gets in addition to the user's own: the number of classes and of channels."""

import inspect
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from orchestrator.architectures.importing import apart, importable
from orchestrator.architectures.locate import load_network, resolved
from orchestrator.architectures.table import VARIANTS
from orchestrator.spec import variant_label

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]  # channels, height, width

# Usual parameter names for the number of classes, and for the channels of an image.
CLASSES: tuple[str, ...] = (
    "num_classes",
    "n_classes",
    "nb_classes",
    "num_class",
    "n_class",
    "class_num",
    "class_count",
    "nclass",
)
CLASSES += ("nclasses", "num_labels", "out_classes", "classes")
CHANNELS = ("in_channels", "in_chans", "input_channels", "image_channels", "img_channels", "in_ch")
IMAGE_CHANNELS = (1, 3)  # a default that is one of these means the channels of an image; 16 or 64 the width of a layer
# By the network, whether and how its **kwargs take the number of classes: found by trying, once.
_tried: "weakref.WeakKeyDictionary[Callable[..., nn.Module], dict[str, str | None]]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Passed:
    """What a constructor gets in addition to the user's own arguments, and notes about it for the user."""

    known: dict[str, int]
    notes: tuple[str, ...]


def passed(
    variant: str, arguments: Mapping[str, Any], num_classes: int, shape: Shape, label: str | None = None
) -> Passed:
    """The number of classes and of channels, for those parameters of ``variant`` that certainly mean them.

    A parameter with a usual name for the number of classes gets it. One with a usual name for the channels gets them
    only if it has no default, or 1 or 3: some networks call the width of their first layer ``in_channels``. Names in
    ``arguments`` are left to the user. The notes, in which the variant is called ``label``, are empty for built-in
    variants. A network with ``**kwargs`` and no such parameter is built once to find out whether they take the number
    of classes.
    """
    network = load_network(variant)
    accepted = parameters(network)
    known: dict[str, int] = {}
    left: list[str] = []
    for name in (n for n in CLASSES if n in accepted and n not in arguments):
        default = accepted[name].default
        if default is inspect.Parameter.empty or (isinstance(default, int | None) and not isinstance(default, bool)):
            known[name] = num_classes
    for name in (n for n in CHANNELS if n in accepted and n not in arguments):
        default = accepted[name].default
        if default is inspect.Parameter.empty or (default in IMAGE_CHANNELS and not isinstance(default, bool)):
            known[name] = shape[0]
        else:
            left.append(
                f"{name} keeps {default!r}, which is not a number of image channels; if it is, set it in arguments"
            )
    if takes_any(accepted) and not set(CLASSES) & (set(accepted) | set(arguments)):
        found = _keyword(network, {**known, **resolved(variant, arguments)}, num_classes)
        known |= {} if found is None else {found: num_classes}
    if variant in VARIANTS:
        return Passed(known, ())
    given = ", ".join(f"{name}={value}" for name, value in known.items()) or "nothing"
    return Passed(known, ("; ".join([f"passed to {label or variant_label(variant)}: {given}", *left]),))


def parameters(network: "Callable[..., nn.Module]") -> Mapping[str, inspect.Parameter]:
    """Those of its signature; of something without one, any keywords."""
    try:
        return inspect.signature(network).parameters
    except (ValueError, TypeError):  # not written in Python
        return {"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)}


def takes_any(accepted: Mapping[str, inspect.Parameter]) -> bool:
    """Whether there is a ``**kwargs``."""
    return any(p.kind is p.VAR_KEYWORD for p in accepted.values())


def missing(accepted: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> list[str]:
    """The parameters that must be given and are not."""
    return [
        name
        for name, p in accepted.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and name not in given
    ]


def _keyword(network: "Callable[..., nn.Module]", given: Mapping[str, Any], num_classes: int) -> str | None:
    """The usual name for the number of classes that the ``**kwargs`` of ``network`` take, or None."""
    tried = _tried.setdefault(network, {})
    key = f"{num_classes} {sorted(given.items())!r}"
    if key not in tried:
        names = (name for name in CLASSES if _is_taken(network, name, {name: num_classes, **given}))
        tried[key] = next(names, None)
    return tried[key]


def _is_taken(network: "Callable[..., nn.Module]", name: str, given: Mapping[str, Any]) -> bool:
    """Whether Python accepts the argument ``name``, as far as the call gets; any other error is the network's own.

    Of several arguments that it does not accept, Python names the first, so ``name`` comes first in ``given``.
    """
    with torch.random.fork_rng(devices=[]), importable():
        try:
            with apart():
                network(**given)
        except TypeError as problem:
            refused = ("unexpected keyword argument", "multiple values for")
            return not (f"'{name}'" in str(problem) and any(words in str(problem) for words in refused))
        except (Exception, SystemExit):
            return True
    return True
