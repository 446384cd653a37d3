"""What a trial uses of its machine, read once an epoch: no thread that samples, and nothing within a step."""

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

from orchestrator import records as keys

MEGABYTE = 2**20  # bytes
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes; what getrusage counts in
RESET_PEAK = "5"  # written to Linux's clear_refs: the peak of resident memory begins anew


class SystemMetrics:
    """Counts from when it is made, and anew after each :meth:`read`; memory of the process from when it is made."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        with suppress(OSError):  # elsewhere it counts from the beginning of the process, which may have trained before
            Path("/proc/self/clear_refs").write_text(RESET_PEAK)
        self._begin()

    def _begin(self) -> None:
        self.started, self.worked = time.perf_counter(), time.process_time()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def read(self) -> dict[str, float]:
        """The system metrics of the time since the last call; a figure that this machine does not give is absent."""
        elapsed, worked = time.perf_counter() - self.started, time.process_time() - self.worked
        found = {
            keys.CPU_UTILIZATION: 100 * worked / elapsed,
            keys.PROCESS_MEMORY: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT / MEGABYTE,
        }
        if self.device.type == "cuda":
            found[keys.GPU_MEMORY] = torch.cuda.max_memory_allocated(self.device) / MEGABYTE
            if (utilization := _utilization(self.device)) is not None:
                found[keys.GPU_UTILIZATION] = utilization
        self._begin()
        return found


def _utilization(device: torch.device) -> float | None:
    """Percent; None where NVIDIA's library is missing or has no such figure, as of a part of a GPU in MIG mode."""
    try:
        return float(torch.cuda.utilization(device))
    except (ImportError, RuntimeError, OSError):
        return None
    except Exception as problem:  # the library's own kind derives from nothing narrower, and may not be installed
        if not any(kind.__name__ == "NVMLError" for kind in type(problem).__mro__):
            raise
        return None
