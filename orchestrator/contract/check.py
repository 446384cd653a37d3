"""Check an analysis against a contract: every limit with the actual value, and whether it is met."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.analysis import Analysis, Extent
from orchestrator.analysis.results import plain
from orchestrator.contract.recognise import layer_kinds
from orchestrator.spec import Contract


@dataclass(frozen=True)
class ContractCheck:
    """One limit. For required and forbidden layers, ``limit`` and ``value`` say whether the network has one."""

    name: str
    limit: int | bool
    value: Extent | bool | None  # None: it is not known, and the check fails
    passed: bool
    reason: str = ""  # why the value is None

    def format(self) -> str:
        """The check as one line of text."""
        kind, _, layer = self.name.partition(" ")
        if layer:
            state = "is not known" if self.value is None else "is present" if self.value else "is absent"
            text = f"{layer} is {'required' if kind == 'require' else 'forbidden'} and {state}"
        else:
            relation = "at least" if kind.startswith("min") else "at most"
            text = f"{kind[4:].replace('_', ' ')} must be {relation} {self.limit:,} and {_shown(self.value)}"
        return f"{text}: {self.reason}" if self.reason else text

    def to_json(self) -> dict[str, Any]:
        """Name, limit, value and passed; the reason only where there is one."""
        known = {"name": self.name, "limit": self.limit, "value": plain(self.value), "passed": self.passed}
        return {**known, "reason": self.reason} if self.reason else known


@dataclass(frozen=True)
class ContractResult:
    """All checks of a contract; one without limits passes."""

    checks: tuple[ContractCheck, ...]
    kinds: Mapping[str, bool | None]  # by the names of the experiment file's require and forbid; None: not known
    unknown: str = ""  # why some kinds are not known

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """``contract`` in ``inspect --json``."""
        return {"passed": self.passed, "checks": [check.to_json() for check in self.checks]}


def check_contract(analysis: Analysis, contract: Contract) -> ContractResult:
    """Check ``analysis`` against every limit of ``contract``. The receptive field is that of the output."""
    field, (kinds, unknown) = analysis.receptive_field, layer_kinds(analysis)
    checks = []
    if (limit := contract.max_parameters) is not None:
        checks.append(ContractCheck("max_parameters", limit, analysis.parameters, analysis.parameters <= limit))
    if (limit := contract.max_macs) is not None:
        within = analysis.macs is not None and analysis.macs <= limit
        reason = "; ".join(analysis.notes) if analysis.macs is None else ""
        checks.append(ContractCheck("max_macs", limit, analysis.macs, within, reason))
    if (limit := contract.min_receptive_field) is not None:
        within = field.output is not None and _smaller(field.output) >= limit
        reason = field.reason if field.output is None else ""
        checks.append(ContractCheck("min_receptive_field", limit, field.output, within, reason))
    for word, layers, wanted in (("require", contract.require, True), ("forbid", contract.forbid, False)):
        for layer in layers:
            found = kinds[layer]
            reason = unknown if found is None else ""
            checks.append(ContractCheck(f"{word} {layer}", wanted, found, found is wanted, reason))
    return ContractResult(tuple(checks), kinds, unknown)


def describe(variant: str, family: str, analysis: Analysis, result: ContractResult) -> dict[str, Any]:
    """The one JSON document of ``inspect --json``."""
    known: Mapping[str, Any] = {"variant": variant, "family": family, **analysis.to_json()}
    return {**known, "contract": result.to_json()}


def _smaller(extent: Extent) -> int:
    return extent if isinstance(extent, int) else min(extent)


def _shown(value: Any) -> str:
    if value is None:
        return "is not known"
    return f"is {value:,}" if isinstance(value, int) else f"is {' x '.join(map(str, value))}"
