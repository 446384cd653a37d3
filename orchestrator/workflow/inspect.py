"""Analyse a network before training: layers, parameters, MACs, receptive field and contract."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from orchestrator.analysis import Analysis, analyse
from orchestrator.analysis.copy_network import copy_on
from orchestrator.analysis.outputs import auxiliary_outputs
from orchestrator.architectures import build_network, family
from orchestrator.architectures.arguments import Shape, passed
from orchestrator.architectures.locate import name_of
from orchestrator.architectures.probe import probe
from orchestrator.architectures.untracked import source_notes
from orchestrator.contract import ContractResult, check_contract, describe
from orchestrator.errors import RequestError
from orchestrator.files import from_user
from orchestrator.spec import Contract, variant_label
from orchestrator.text import counted
from orchestrator.training.host_state import random_states_kept
from orchestrator.workflow.apart import apart
from orchestrator.workflow.networks import behaviour_notes
from orchestrator.workflow.paths_named import paths_named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Inspection:
    """One network, analysed for images of one shape."""

    variant: str
    analysis: Analysis
    contract: ContractResult
    notes: tuple[str, ...]  # what is not tracked, and what was passed to the constructor

    @property
    def label(self) -> str:
        """The name of the variant without the path of its file."""
        return variant_label(self.variant)

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return self.analysis.parameters

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates for one image; None if unknown."""
        return self.analysis.macs

    @property
    def receptive_field(self) -> Any:
        """In pixels, of one output; a pair if height and width differ; None if unknown."""
        return self.analysis.receptive_field.output

    def layers(self) -> "pd.DataFrame":
        """One row per layer; the columns are the keys of ``inspect --json``."""
        import pandas as pd

        return pd.DataFrame(self.to_dict()["layers"])

    def to_dict(self) -> dict[str, Any]:
        """The document of ``inspect --json``."""
        return {**describe(self.variant, family(self.variant), self.analysis, self.contract), "notes": [*self.notes]}

    def figure(self) -> "Figure":
        """The network as a figure."""
        from orchestrator.reporting.network import draw_network

        return draw_network(self.analysis, self.label)

    @paths_named()
    def save_figure(self, file: str | Path) -> None:
        """Draw the network into ``file``, in the format of its suffix. Raises RequestError if there is none."""
        file, figure = from_user(file), self.figure()
        if (suffix := file.suffix.removeprefix(".")) not in (known := figure.canvas.get_supported_filetypes()):
            raise RequestError(f"{file}: a figure has no format {suffix!r}; allowed: {', '.join(sorted(known))}")
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file)

    def __repr__(self) -> str:
        macs = "unknown" if self.macs is None else f"{self.macs:,}"
        return (
            f"{self.label}: {self.parameters:,} parameters, {macs} MACs per image, "
            f"receptive field {self.receptive_field or 'unknown'}"
        )

    def _repr_html_(self) -> str:
        """In a notebook: a summary and the layers."""
        from html import escape

        return f"<p>{escape(repr(self))}</p>{self.layers().to_html(index=False, na_rep='')}"


@apart()
def inspect(
    variant: str | Callable[..., nn.Module] | nn.Module,
    *,
    arguments: Mapping[str, Any] | None = None,
    classes: int = 10,
    shape: Shape = (3, 32, 32),
    contract: Contract | None = None,
) -> Inspection:
    """Analyse a network: a variant's name, a class, a function that returns one, or an instance, which is not changed.

    ``arguments``: of its class or function, as in an experiment. ``shape``: channels, height and width of an image in
    pixels. Raises VariantError if it cannot be built, and whatever an instance raises on such an image.
    """
    chosen = arguments or {}
    if isinstance(variant, nn.Module):
        name, network = type(variant).__name__, variant
        if any(map(is_lazy, network.parameters())):
            network = _with_parameters(network, shape)
        given: tuple[str, ...] = ()
    else:
        name = variant if isinstance(variant, str) else name_of(variant)
        network = build_network(name, chosen, classes, shape)
        given = (*passed(name, chosen, classes, shape).notes, *source_notes(name, chosen))
        given += tuple(_auxiliary_notes(variant_label(name), network, shape))
    analysis = analyse(network, shape)
    result = check_contract(analysis, contract or Contract())
    hidden = [f"{result.unknown}; some kinds of layers cannot be recognised after it"] if result.unknown else []
    with random_states_kept():
        behaviour = probe(_copy(network) if isinstance(variant, nn.Module) else network, shape)
    notes = (*analysis.notes, *hidden, *given, *behaviour_notes(variant_label(name), behaviour))
    return Inspection(name, analysis, result, notes)


def _copy(network: nn.Module) -> nn.Module:
    return copy_on(network, "meta" if any(p.is_meta for p in network.parameters()) else "cpu")


def _with_parameters(network: nn.Module, shape: Shape) -> nn.Module:
    """A copy of a network whose lazy layers make their parameters when they see the first images, as it then is."""
    copied = _copy(network)
    with random_states_kept(), torch.no_grad():
        copied.eval()(torch.zeros(2, *shape))
    return copied.train(network.training)


def _auxiliary_notes(label: str, network: nn.Module, shape: Shape) -> list[str]:
    """Whether the network has auxiliary outputs in training mode, in which it is left."""
    try:
        with torch.no_grad():
            count = len(auxiliary_outputs(network.train()(torch.zeros(2, *shape))))
    except Exception:  # it may fail on such images; a trial says so
        return []
    if not count:
        return []
    return [f"{label} returns {counted(count, 'auxiliary output')} beside its logits in training mode"]
