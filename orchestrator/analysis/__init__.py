"""Analyse a network before training: layers, output shapes, parameters, multiply-accumulates and receptive field."""

from orchestrator.analysis.network import analyse
from orchestrator.analysis.results import Analysis, Extent, LayerRow, ReceptiveField, Step

__all__ = ["Analysis", "Extent", "LayerRow", "ReceptiveField", "Step", "analyse"]
