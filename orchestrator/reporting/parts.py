"""The finished parts of a report, which can be sent to processes that draw nothing."""

from dataclasses import dataclass, field

from orchestrator.reporting.html import FigureImage
from orchestrator.reporting.tables import Table


@dataclass
class ReportParts:
    """Figures by name, tables by file name; why one is missing by ``figure NAME`` or ``table NAME``."""

    figures: dict[str, FigureImage] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
