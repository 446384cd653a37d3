"""Several trials on one GPU: NVIDIA's MPS, throughput side by side, and how many to run. Needs only torch."""

from typing import TYPE_CHECKING

from orchestrator import lazy

if TYPE_CHECKING:
    from orchestrator.sharing.measure import Throughput, side_by_side
    from orchestrator.sharing.share import Share, best_share

__all__ = [
    "Share",
    "Throughput",
    "best_share",
    "side_by_side",
]
__getattr__ = lazy.names(
    __name__,
    {
        "Share": "share",
        "Throughput": "measure",
        "best_share": "share",
        "side_by_side": "measure",
    },
)
