"""The limits that a network must keep, checked before training: parameters, MACs, receptive field, kinds of layers."""

from orchestrator.contract.check import ContractCheck, ContractResult, check_contract, describe
from orchestrator.contract.recognise import layer_kinds

__all__ = ["ContractCheck", "ContractResult", "check_contract", "describe", "layer_kinds"]
