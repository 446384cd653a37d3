"""How many trials one GPU runs at once: the count is doubled for as long as they fit and throughput grows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.sharing.measure import Throughput

COUNTS = (1, 2, 4, 8, 16)  # MPS takes 48 processes a GPU, but a trial wants a CPU core as well


@dataclass(frozen=True)
class Share:
    """``count`` trials side by side on one GPU, what was measured of each count that was tried, and why it ended."""

    count: int
    measured: tuple[tuple[int, "Throughput"], ...]
    reason: str


def best_share(
    measure: Callable[[int], "Throughput"],
    memory_total: int,
    counts: Sequence[int] = COUNTS,
    gain: float = 1.1,
    most: float = 0.9,
) -> Share:
    """The largest of the rising ``counts`` up to which throughput grew by the factor ``gain`` at each.

    ``memory_total`` is the card's memory in bytes, of which at most the fraction ``most`` is to be used; a count is
    not tried if the processes measured before would not fit. With none that can be used, the first count is returned:
    whoever asks has to run something.
    """
    measured: list[tuple[int, Throughput]] = []
    chosen = counts[0]
    for count in counts:
        before = measured[-1][1] if measured else None
        if before is not None and count * before.bytes_each > most * memory_total:
            reason = f"{count} would take more than {most:.0%} of the GPU's memory"
            return Share(chosen, tuple(measured), reason)
        now = measure(count)
        measured.append((count, now))
        if now.failed:
            return Share(chosen, tuple(measured), f"{count} side by side failed: {now.reason}")
        if count * now.bytes_each > most * memory_total:
            return Share(chosen, tuple(measured), f"{count} take more than {most:.0%} of the GPU's memory")
        if before is not None and now.images_per_second < gain * before.images_per_second:
            times = now.images_per_second / before.images_per_second
            return Share(chosen, tuple(measured), f"{count} are only {times:.2f} times as fast as {chosen}")
        chosen = count
    return Share(chosen, tuple(measured), "no larger count was to be tried")
