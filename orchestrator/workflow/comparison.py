"""The comparison of a launch for display: the verdict in words, and in a notebook its tables."""

from dataclasses import dataclass, fields

from orchestrator.reporting.comparison import variants
from orchestrator.reporting.comparison.wording import sentence


@dataclass(frozen=True, repr=False)
class Comparison(variants.Comparison):
    """All variants, best first, their differences to the best, and whether these are significant."""

    @classmethod
    def of(cls, computed: variants.Comparison) -> "Comparison":
        """The same comparison."""
        return cls(**{field.name: getattr(computed, field.name) for field in fields(computed)})

    def __repr__(self) -> str:
        return sentence(self)

    def _repr_html_(self) -> str:
        """In a notebook: the verdict in words, and its tables."""
        from orchestrator.reporting.comparison.page import comparison_tables  # with matplotlib

        return comparison_tables(self)
