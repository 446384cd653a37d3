"""Follow a job: its log lines, or on a terminal the live table; its result and its exit code."""

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from orchestrator.cli.options import print_json
from orchestrator.cluster import events
from orchestrator.cluster.events import Event
from orchestrator.cluster.follow import follow
from orchestrator.cluster.jobs import PENDING, RUNNING, STOPPED, Job, Jobs
from orchestrator.errors import OrchestratorError
from orchestrator.redact import redact
from orchestrator.reporting.terminal import View, is_state_line

_RAYS_OWN = re.compile(r"Running entrypoint for job |.* -- Runtime env is setting up\.$")


class Screen:
    """Shows a job's log: every line meant for people; on a terminal the live table instead of lines about trials."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console = console
        self.quiet = quiet
        self.result: Mapping[str, Any] | None = None  # the document of `run --json`, once it is there
        self._view: View | None = None

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_view()

    def show(self, line: str) -> None:
        """The next line of the log."""
        event = Event.decode(line)
        if event is not None:
            self._hear(event)
        elif not (_RAYS_OWN.match(line) or (self.console.is_terminal and is_state_line(line))):
            self.say(line)

    def say(self, line: str) -> None:
        """One line above the live table."""
        self.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _hear(self, event: Event) -> None:
        if event.kind == events.RESULT:
            self._end_view()
            self.result = event.content.get("document")
            return
        if not self.console.is_terminal:
            return
        try:
            if event.kind == events.PLAN:
                self._end_view()
                trials, epochs = list(map(str, event.content["trials"])), int(event.content["epochs"])
                ended = [events.outcome_of(content) for content in event.content.get("ended", [])]
                self._view = View(trials, epochs, self.console, self.quiet, ended)
                self._view.__enter__()
            elif self._view is None:
                return
            elif event.kind == events.START:
                self._view.on_start(str(event.content["trial"]))
            elif event.kind == events.RECORD:
                self._view.on_record(*events.record_of(event))
            elif event.kind == events.END:
                self._view.on_end(events.outcome_of(event.content))
        except (KeyError, TypeError, ValueError):  # from a cluster with another version; its log lines say the same
            self.say(f"(an event of another version: {event.kind})")

    def _end_view(self) -> None:
        if self._view is not None:
            self._view.__exit__(None, None, None)
            self._view = None


def watch(
    jobs: Jobs, job: Job, console: Console, say: Callable[[str], None], flags: str, quiet: bool
) -> tuple[int, Any]:
    """Show the job until it ends; returns its exit code (130 if the user stopped watching) and its result, if any.

    ``flags`` are added to the commands that it suggests, so that they find this cluster.
    """
    with Screen(console, quiet) as screen:
        try:
            ended = follow(jobs, job.id, screen.show, screen.say if console.is_terminal else say)
        except KeyboardInterrupt:
            screen.__exit__()
            say(f"\nno longer watching; job {job.id} continues")
            say(f"  watch it again: orchestrator logs {job.id} --follow{flags}")
            say(f"  stop it:        orchestrator stop {job.id}{flags}")
            return 130, None
    say(in_words(ended, flags))
    return ended.exit_code, screen.result


def in_words(job: Job, flags: str = "") -> str:
    """How the job ended and, where possible, how to resume it."""
    if job.status in (PENDING, RUNNING):
        return f"job {job.id}: {job.status}"
    if job.status == STOPPED:
        return f"job {job.id}: stopped; resume with: {again(job, flags)}"
    if job.exit_code == 0:
        return f"job {job.id}: complete"
    code = job.driver_exit_code
    if code in (1, 2, 130):
        said = {1: "a trial failed", 2: "invalid request", 130: "interrupted"}[code]
        retry = "" if code == 2 else f"; try again with: {again(job, flags)}"
        return f"job {job.id}: {said} (exit code {code}){retry}"
    if code == 127:
        return f"job {job.id}: the head cannot find the command orchestrator; put it on the PATH of `ray start`"
    what = f"its driver ended with exit code {code}" if code is not None else f"Ray says: {_last(job.message)}"
    return f"job {job.id}: failed; {what}; resume with: {again(job, flags)}"


def again(job: Job, flags: str = "") -> str:
    """The command that submits the same experiment again, from the same folder."""
    command = job.metadata.get("command", "orchestrator submit EXPERIMENT.yaml")
    return command if flags.strip() in command else command + flags


def address_flags(address: str | None, insecure: bool) -> str:
    """The flags with which another command finds the same cluster."""
    return (f" --address {shlex.quote(address)}" if address else "") + (" --insecure" if insecure else "")


def print_result(result: Mapping[str, Any] | None, job: Job, exit_code: int) -> None:
    """The document of ``run --json`` that the job returned. Raises OrchestratorError if it is missing."""
    if result is not None:
        print_json(result)
    elif exit_code == 0:
        raise OrchestratorError(f"the log of job {job.id} no longer contains its result; use orchestrator compare")


def _last(message: str) -> str:
    lines = [line for line in message.splitlines() if line.strip()]
    return redact(lines[-1].strip()) if lines else "nothing"
