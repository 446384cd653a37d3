"""The networks under comparison: one file a variant, one line in the table."""

from orchestrator.architectures.build import build_network
from orchestrator.architectures.locate import load_class, own_root, source_digest
from orchestrator.architectures.table import VARIANTS, family

__all__ = ["VARIANTS", "build_network", "family", "load_class", "own_root", "source_digest"]
