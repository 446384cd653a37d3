"""The finished parts of a report, which can be sent to processes that draw nothing."""

from dataclasses import dataclass, field

from orchestrator.reporting.html import FigureImage
from orchestrator.reporting.tables import Table


@dataclass
class ReportParts:
    """Figures by name and tables by title, and for each missing one the reason, by the same keys."""

    figures: dict[str, FigureImage] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
