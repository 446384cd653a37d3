"""The rules that stop trials early. No Ray: a test or a simulation can ask them about ten thousand trials."""

from orchestrator.scheduling.stop_rules.choose import StopRule, judged_epochs, stop_rule
from orchestrator.scheduling.stop_rules.names import competitors

__all__ = ["StopRule", "competitors", "judged_epochs", "stop_rule"]
