"""Sizes and counts as text."""

from collections.abc import Sequence

from orchestrator.analysis import Extent
from orchestrator.text import large


def height_and_width(extent: Extent) -> tuple[int, int]:
    """Both sizes of ``extent``; one number stands for both."""
    return extent if isinstance(extent, tuple) else (extent, extent)


def extent_text(extent: Extent | None) -> str:
    """``39 px``, ``39 × 41 px`` (height first) or ``unknown``."""
    if extent is None:
        return "unknown"
    high, wide = height_and_width(extent)
    return f"{high} px" if high == wide else f"{high} × {wide} px"


def shape_text(sizes: Sequence[float]) -> str:
    """``3 × 32 × 32``."""
    return " × ".join(f"{size:.10g}" for size in sizes)


def amount(count: int | None) -> str:
    """``45,300,000`` as ``45.3 million``, ``48,680`` as ``48.7 thousand``."""
    return "unknown" if count is None else large(count)
