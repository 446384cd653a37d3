"""The built-in networks: one file per variant, one entry in the table."""

from typing import TYPE_CHECKING

from orchestrator import lazy

if TYPE_CHECKING:
    from orchestrator.architectures.build import build_network
    from orchestrator.architectures.digest import digest_with, named_in, refuse_changed, source_digest
    from orchestrator.architectures.loaded import own_root
    from orchestrator.architectures.locate import load_network
    from orchestrator.architectures.table import VARIANTS, family

__all__ = [
    "VARIANTS",
    "build_network",
    "digest_with",
    "family",
    "load_network",
    "named_in",
    "own_root",
    "refuse_changed",
    "source_digest",
]
__getattr__ = lazy.names(
    __name__,
    {
        "VARIANTS": "table",
        "build_network": "build",
        "digest_with": "digest",
        "family": "table",
        "load_network": "locate",
        "named_in": "digest",
        "own_root": "loaded",
        "refuse_changed": "digest",
        "source_digest": "digest",
    },
)
