"""Events of a job for programs that follow it: one marked JSON line per event, next to the lines for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from orchestrator.records import Outcome, Record, Status

PREFIX = "@orchestrator-event "  # at the start of a line; no line for people starts like this
PLAN, MORE, START, RECORD, END, RESULT = "plan", "more", "start", "record", "end", "result"


@dataclass(frozen=True)
class Event:
    """One event; ``content`` is plain JSON."""

    kind: str
    content: Mapping[str, Any]

    def encode(self) -> str:
        """The line, without its end."""
        return PREFIX + json.dumps({"event": self.kind, **self.content}, separators=(",", ":"))

    @classmethod
    def decode(cls, line: str) -> "Event | None":
        """Read what :meth:`encode` wrote; None for any other line."""
        if not line.startswith(PREFIX):
            return None
        try:
            plain = json.loads(line.removeprefix(PREFIX))
            kind = plain.pop("event")
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
            return None
        return cls(kind, plain) if isinstance(kind, str) else None


class EventWriter:
    """A listener that writes every event of a launch as a line."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out

    def begin(self, trials: Sequence[str], epochs: int, ended: Sequence[Outcome] = ()) -> None:
        """The launch starts training; every trial has ``epochs`` epochs; some may have ended in an earlier attempt."""
        before = [_outcome(outcome) for outcome in ended]
        self._write(Event(PLAN, {"trials": list(trials), "epochs": epochs, "ended": before}))

    def on_plan(self, trials: Sequence[str]) -> None:
        """Listener: the plan has grown."""
        self._write(Event(MORE, {"trials": list(trials)}))

    def on_start(self, trial: str, epoch: int = 1) -> None:
        """Listener: the trial has begun."""
        self._write(Event(START, {"trial": trial, "epoch": epoch}))

    def on_record(self, trial: str, record: Record) -> None:
        """Listener: an epoch is done."""
        self._write(Event(RECORD, {"trial": trial, "record": record.to_json()}))

    def on_end(self, outcome: Outcome) -> None:
        """Listener: the trial has ended."""
        self._write(Event(END, _outcome(outcome)))

    def result(self, document: Mapping[str, Any]) -> None:
        """The launch has ended; ``document`` is what ``run --json`` prints."""
        self._write(Event(RESULT, {"document": document}))

    def _write(self, event: Event) -> None:
        self._out.write(event.encode() + "\n")
        self._out.flush()


def record_of(event: Event) -> tuple[str, Record]:
    """The trial and its record. Raises KeyError, TypeError or ValueError if there is none in it."""
    return str(event.content["trial"]), Record.from_json(event.content["record"])


def outcome_of(content: Mapping[str, Any]) -> Outcome:
    """How a trial ended. Raises KeyError, TypeError or ValueError if that is not in it."""
    reason = str(content["reason"])
    return Outcome(str(content["trial"]), Status(Status.recorded(content["status"], reason)), reason)


def _outcome(outcome: Outcome) -> dict[str, str]:
    return {"trial": outcome.trial, "status": str(outcome.status), "reason": outcome.reason}
