"""Watch a job: the lines of its log, or on a terminal the live table; its result and its exit code."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from orchestrator.cluster import events
from orchestrator.cluster.events import Event
from orchestrator.cluster.follow import follow
from orchestrator.cluster.job import Job, describe
from orchestrator.cluster.jobs import Jobs
from orchestrator.errors import OrchestratorError
from orchestrator.reporting.terminal import View, is_state_line

_RAYS_OWN = re.compile(r"Running entrypoint for job |.* -- Runtime env is setting up\.$")


class JobDisplay:
    """Shows a job's log: every line meant for people; on a terminal the live table instead of lines about trials."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console = console
        self.quiet = quiet
        self.result: Mapping[str, Any] | None = None  # the document of `run --json`, once it is there
        self._view: View | None = None

    def __enter__(self) -> "JobDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_view()

    def show(self, line: str) -> None:
        """The next line of the log."""
        event = Event.decode(line)
        if event is not None:
            self._on_event(event)
        elif not (_RAYS_OWN.match(line) or (self.console.is_terminal and is_state_line(line))):
            self.print(line)

    def print(self, line: str) -> None:
        """One line above the live table."""
        self.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
        if self.console.quiet:
            raise BrokenPipeError("nobody reads the log any more")  # the job needs no watching

    def _on_event(self, event: Event) -> None:
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
            elif event.kind == events.MORE:
                self._view.on_plan(list(map(str, event.content["trials"])))
            elif event.kind == events.START:
                self._view.on_start(str(event.content["trial"]), int(event.content.get("epoch", 1)))
            elif event.kind == events.RECORD:
                self._view.on_record(*events.record_of(event))
            elif event.kind == events.END:
                self._view.on_end(events.outcome_of(event.content))
        except (KeyError, TypeError, ValueError):  # from a cluster with another version; its log lines say the same
            self.print(f"(an event of another version: {event.kind})")

    def _end_view(self) -> None:
        if self._view is not None:
            self._view.__exit__(None, None, None)
            self._view = None


def watch(
    jobs: Jobs, job: Job, console: Console, log: Callable[[str], None], flags: str = "", quiet: bool = False
) -> tuple[int, Mapping[str, Any] | None]:
    """Show the job until it ends; its exit code, 130 if the user stopped watching, and its result, if there is one.

    ``flags`` are added to the commands that it suggests, so that they find this cluster. Raises OrchestratorError if
    the job is complete and its log no longer contains the result.
    """
    with JobDisplay(console, quiet) as display:
        try:
            ended = follow(jobs, job.id, display.show, display.print if console.is_terminal else log)
        except KeyboardInterrupt:
            display.__exit__()
            log(f"\nno longer watching; job {job.id} continues")
            log(f"  watch it again: orchestrator logs {job.id} --follow{flags}")
            log(f"  stop it:        orchestrator stop {job.id}{flags}")
            return 130, display.result
    log(describe(ended, flags))
    if ended.exit_code == 0 and display.result is None:
        raise OrchestratorError(f"the log of job {job.id} no longer contains its result; use orchestrator compare")
    return ended.exit_code, display.result
