"""The commands: parse, compose the rooms below, print. No logic of their own."""

from orchestrator.cli.main import main

__all__ = ["main"]
