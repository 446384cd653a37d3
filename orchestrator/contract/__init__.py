"""Analyse a network before training: parameters, multiply-accumulates, receptive field, layers, and its contract."""

from orchestrator.contract.analyse import analyse
from orchestrator.contract.analysis import Analysis, BlockRow, LayerRow, ReceptiveField
from orchestrator.contract.check import ContractCheck, ContractResult, check_contract, describe

__all__ = [
    "Analysis",
    "BlockRow",
    "ContractCheck",
    "ContractResult",
    "LayerRow",
    "ReceptiveField",
    "analyse",
    "check_contract",
    "describe",
]
