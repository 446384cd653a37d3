"""What a report is put together from, finished: it travels between processes that need not draw anything."""

from dataclasses import dataclass, field

from orchestrator.reporting.html import Picture
from orchestrator.reporting.tables import Table


@dataclass
class Made:
    """Figures by name and tables by title, and why the others are absent: a sentence each, by the same keys."""

    figures: dict[str, Picture] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
