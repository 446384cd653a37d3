"""The commands: parse, call the packages below, print. No logic of their own."""

from orchestrator.cli.main import main

__all__ = ["main"]
