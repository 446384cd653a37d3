"""A finding of the doctor: node, name, severity, value and advice."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

HERE = "here"  # the machine on which the command runs


class Level(StrEnum):
    """The severity of a finding, in increasing order."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table."""

    node: str
    name: str
    status: Level
    value: str
    advice: str = ""  # what to do about it; a command if there is one


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level among ``findings``; ok if there are none."""
    order = list(Level)
    return max((finding.status for finding in findings), key=order.index, default=Level.OK)
