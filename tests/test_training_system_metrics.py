"""System metrics: a figure that the machine does not give is absent, and never ends a trial."""

import pytest
import torch

from orchestrator import records as keys
from orchestrator.training.system_metrics import SystemMetrics


class NVMLError(Exception):
    """As that of nvidia-ml-py, which is not installed everywhere: it derives from Exception alone."""


class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818
    """What is raised for a part of a GPU in MIG mode."""


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> SystemMetrics:
    """Of a GPU that is not there: its memory is asked for and given as 0."""
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 0)
    return SystemMetrics(torch.device("cuda"))


@pytest.mark.parametrize("problem", [NVMLError_NotSupported("Not Supported"), ImportError(), RuntimeError(), OSError()])
def test_a_gpu_without_utilisation_has_the_other_metrics(
    problem: Exception, metrics: SystemMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    def utilization(device: torch.device) -> int:
        raise problem

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    assert metrics.read().keys() == {keys.CPU_UTILIZATION, keys.PROCESS_MEMORY, keys.GPU_MEMORY}
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 40)
    assert metrics.read()[keys.GPU_UTILIZATION] == 40.0


def test_a_fault_of_ours_is_raised(metrics: SystemMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    def utilization(device: torch.device) -> int:
        raise TypeError("no such argument")

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    with pytest.raises(TypeError, match="no such argument"):
        metrics.read()
