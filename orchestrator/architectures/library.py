"""Networks of installed libraries by name: ``timm:resnet18`` and ``torchvision:resnet18``, with random weights."""

import hashlib
import importlib
import importlib.metadata
import warnings
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from orchestrator.errors import VariantError
from orchestrator.text import did_you_mean

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = {
    "timm": "pip install 'architecture-orchestrator[timm]', or pip install timm",
    "torchvision": "pip install torchvision, built for this torch",
}  # how to install each
PRETRAINED = ("pretrained", "weights", "weights_backbone", "checkpoint_path")  # arguments that load trained weights


def library_of(variant: str) -> str | None:
    """The library that ``variant`` names a network of; None if it is none of LIBRARIES."""
    source = variant.rpartition(":")[0]
    return source if source in LIBRARIES else None


def library_digest(library: str) -> str:
    """sha256 (hexadecimal) of the library's name and version, which decide its networks. Raises VariantError."""
    try:
        version = importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError as problem:
        raise VariantError(f"{library} is not installed: {LIBRARIES[library]}") from problem
    return hashlib.sha256(f"{library} {version}".encode()).hexdigest()


def library_network(variant: str) -> "Callable[..., nn.Module]":
    """A function that makes the network; its parameters are what is always passed to the library's own.

    Raises VariantError if the library is missing or has no such network for the classification of images.
    """
    library, _, name = variant.rpartition(":")
    if library == "timm":
        timm = _import(variant, library)
        if not timm.is_model(name):
            raise VariantError(_unknown(variant, timm.list_models(), "timm.list_models()"))

        def make_timm(num_classes: int, in_chans: int, **arguments: Any) -> "nn.Module":
            given = _untrained(variant, arguments)
            return timm.create_model(  # type: ignore[no-any-return]
                name, pretrained=False, num_classes=num_classes, in_chans=in_chans, **given
            )

        return make_timm
    models = _import(variant, library).models
    known = models.list_models(module=models)  # those that classify; others have backbones that are downloaded
    if name not in known:
        raise VariantError(_unknown(variant, known, "torchvision.models.list_models(module=torchvision.models)"))

    def make_torchvision(num_classes: int, **arguments: Any) -> "nn.Module":
        given = _untrained(variant, arguments)
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # about the weights some begin with
            return models.get_model(name, weights=None, num_classes=num_classes, **given)  # type: ignore[no-any-return]

    return make_torchvision


def _import(variant: str, library: str) -> Any:
    try:
        return importlib.import_module(library)
    except (ImportError, OSError, RuntimeError) as problem:  # RuntimeError: built for another torch
        raise VariantError(
            f"{variant}: {library} cannot be imported ({problem}); install it: {LIBRARIES[library]}"
        ) from problem


def _untrained(variant: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments without those that say that nothing trained is loaded; others of that kind are refused."""
    if loaded := [name for name in PRETRAINED if arguments.get(name)]:
        raise VariantError(
            f"{variant}: {', '.join(loaded)} loads trained weights, and networks are compared from random ones: "
            "leave it out"
        )
    return {name: value for name, value in arguments.items() if name not in PRETRAINED}


def _unknown(variant: str, known: Collection[str], listing: str) -> str:
    library, _, name = variant.rpartition(":")
    return (
        f"{variant}: {library} has no network {name!r} that classifies images{did_you_mean(name, known)}; {listing} "
        "has them all"
    )
