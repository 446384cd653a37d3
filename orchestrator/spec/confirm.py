"""The second stage of a search: each variant's best settings, trained afresh with seeds that nothing was chosen by."""

from dataclasses import dataclass
from typing import Annotated

from orchestrator.spec.fields import Range, SeveralProblems, check
from orchestrator.spec.recipe import STRICT


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """Train each variant's best settings of a search afresh; only these trials are measured and compared."""

    __pydantic_config__ = STRICT

    seeds: tuple[Annotated[int, Range(ge=0, lt=2**31)], ...]
    """Random seeds of these trials; none of them may be one of the search."""

    def __post_init__(self) -> None:
        check(self)
        if not self.seeds:
            raise SeveralProblems(["seeds: needs at least one"])
        if twice := sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1}):
            raise SeveralProblems([f"seeds: listed twice: {', '.join(map(str, twice))}"])
