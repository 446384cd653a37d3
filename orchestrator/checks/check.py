"""What a check is given, the outcomes that it yields, and the finding made of each."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

HERE = "here"  # the machine on which the command runs
RESTART = "ray status, then restart Ray on that node, or the node"  # for a node that does not answer
Outcome = tuple[str, str, str]  # level, value, advice: plain text, since a node may lack this package


@dataclass(frozen=True)
class Request:
    """What the checks need to know. It is sent to nodes by value, without the tracking URI."""

    storage: str  # an absolute folder, or a URI that pyarrow knows (s3://, gs://)
    experiment: Path | None = None  # its dataset is read
    data_dir: Path = Path("data")
    tracking_uri: str | None = None
    # Digest of the source of each own network, by its variant and the classes that its arguments refer to.
    networks: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)  # names of the joined cluster's nodes by Ray's id
    patience: float = 60.0  # seconds for each round of tasks on the nodes
    versions: Mapping[str, str] | None = None  # on a node: those of the driver, which it must have too
    object_store: float | None = None  # on a node: bytes of its object store
    directory: str = "."  # on a node: the driver's working directory, from which networks open their files


MachineCheck = Callable[[Request], Iterable[Outcome]]
DriverCheck = Callable[[Request], Iterable[tuple[str, Outcome]]]  # with the node that each outcome is about


class Level(StrEnum):
    """The severity of a finding, in increasing order."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """What one check found on one machine."""

    node: str
    name: str
    status: Level
    value: str
    advice: str = ""  # what to do about it; a command if there is one


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level among ``findings``; ok if there are none."""
    order = list(Level)
    return max((finding.status for finding in findings), key=order.index, default=Level.OK)


def run_on_machine(checks: Mapping[str, MachineCheck], request: Request) -> list[tuple[str, Outcome]]:
    """The outcomes of ``checks`` on the machine where this is called, each with its check's name."""
    return [(name, outcome) for name, check in checks.items() for outcome in check(request)]


def ok(value: str) -> Outcome:
    """Nothing to do."""
    return "ok", value, ""


def warning(value: str, advice: str) -> Outcome:
    """A run may suffer from it."""
    return "warning", value, advice


def failure(value: str, advice: str) -> Outcome:
    """A run would fail because of it, or others can use the machine."""
    return "failure", value, advice
