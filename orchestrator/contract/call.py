"""One torch operation as the rules see it: its arguments by name and what its tensors see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.contract.view import View


@dataclass(frozen=True)
class Call:
    """One operation: ``arguments`` by their names in torch's schema, ``views`` of its tensors in that order."""

    name: str
    arguments: dict[str, Any]  # tensors stand as their shapes
    views: tuple[View, ...]
    shape: tuple[int, ...]  # of the result, or of its first part

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def dims(self) -> list[int]:
        """The argument ``dim`` as a list of non-negative numbers; all dimensions if it is not given."""
        dim = self.arguments.get("dim")
        count = len(self.views[0].dims)
        if dim is None or dim == []:
            return list(range(count))
        return sorted(d % count for d in (dim if isinstance(dim, (list, tuple)) else [dim]))

    def pair(self, argument: str, default: int = 1) -> tuple[int, int]:
        """A setting of a 2-D window as (height, width)."""
        given = self.arguments[argument]
        values = [given] if isinstance(given, int) else list(given) or [default]
        return int(values[0]), int(values[-1])


Rule = Callable[[Call], View | Sequence[View]]
