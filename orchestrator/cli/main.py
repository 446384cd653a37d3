"""``orchestrator``: the list of commands, and the one place that turns an error into a message and an exit code."""

import gc
import importlib
import io
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import click

from orchestrator.cli.options import document_only
from orchestrator.cli.piped import flush, is_unread, piped_output, tell
from orchestrator.errors import OrchestratorError
from orchestrator.redact import redact
from orchestrator.version import __version__
from orchestrator.workflow.paths_named import paths_named

# name: (module in this package, one line for --help). Modules are imported when their command is used.
COMMANDS = {
    "init": "Write an experiment file and a small network to begin with.",
    "run": "Train every trial of an experiment file, record it in MLflow and print the verdict.",
    "train": "Train one variant without Ray or MLflow.",
    "validate": "Check an experiment file and print its plan; train nothing.",
    "simulate": "Simulate what an experiment would cost and find; train nothing.",
    "inspect": "Show layers, parameters, MACs, receptive field and contract of a variant.",
    "variants": "List the built-in variants.",
    "compare": "Compare the variants of an MLflow experiment.",
    "replication": "Compare launches with published accuracies.",
    "report": "Draw the reports of a launch again, in the trial folders and in MLflow.",
    "resume": "Resume an interrupted launch.",
    "verify-resume": "Kill a launch at random points, resume it, and compare it with an undisturbed one.",
    "ui": "Serve MLflow's web page on this machine.",
    "submit": "Run an experiment file as a job on a Ray cluster.",
    "status": "Show the status of submitted jobs.",
    "logs": "Show the output of a submitted job.",
    "stop": "Stop a submitted job after the epochs in progress; it keeps everything.",
    "doctor": "Check this machine, the cluster, the tracking store and the data before a run.",
}


# Allocations between runs of the garbage collector. With Python's default of 700 it runs hundreds of times while torch
# and MLflow are imported, over everything imported so far: a third of a command's start time.
GARBAGE_THRESHOLD = 50_000


@contextmanager
def _told_to_main() -> Iterator[None]:
    """A broken pipe without the number by which click knows one, and exits with 1."""
    try:
        yield
    except BrokenPipeError as gone:
        raise BrokenPipeError("a pipe whose reader is gone") from gone


class _Commands(click.Group):
    """Commands by name, imported when they are used so that --help is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        with _told_to_main():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: click.Context) -> Any:
        with _told_to_main():
            return super().invoke(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"orchestrator.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="orchestrator")
def cli() -> None:
    """Which network is really better? Train architecture variants from one YAML file and compare them."""


def main(arguments: list[str] | None = None) -> None:
    """The entry point. Exit codes: 0 success, 1 a trial failed, 2 invalid request, 130 interrupted.

    That nobody reads the output to its end is no failure.
    """
    given = sys.argv[1:] if arguments is None else arguments
    gc.set_threshold(GARBAGE_THRESHOLD)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, unless a command installs its own handler
    code = _run(given)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        flush(stream)
    gc.freeze()  # spares the interpreter a last garbage collection at exit
    sys.exit(code if isinstance(code, int) else 0)


def _run(given: list[str]) -> object:
    """What the command returns, or the exit code of what it raises, which is told on stderr."""
    code: object
    try:
        with paths_named(), piped_output(), document_only() if "--json" in given else nullcontext():
            code = cli.main(given, prog_name="orchestrator", standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as problem:
        shown = io.StringIO()
        problem.show(file=shown)
        tell(redact(shown.getvalue()), end="")
        code = problem.exit_code
    except OrchestratorError as problem:
        if "--debug" in given:
            tell(redact(traceback.format_exc()), end="")
        tell(redact(f"error: {problem}"))
        code = problem.exit_code
    except KeyboardInterrupt:
        tell("interrupted")
        code = 130
    except BrokenPipeError as problem:  # the reader of our output is gone, or of another pipe
        code = 0 if is_unread() else _crashed(problem.__cause__ or problem, given)
    except Exception as problem:
        code = _crashed(problem, given)
    return code


def _crashed(problem: BaseException, given: list[str]) -> int:
    """Tell of what nobody expected, and return its exit code."""
    told = _crash_of_network(problem) if isinstance(problem, Exception) else None
    if told is None or "--debug" in given:  # a bug of ours: show the traceback, without secrets of the environment
        tell(redact("".join(traceback.format_exception(problem))), end="")
    if told is not None:
        tell(redact(f"error: {told}"))
    return 1


def _crash_of_network(problem: Exception) -> str | None:
    """What a user's own code has raised, and where; None if none of it has run."""
    from orchestrator.architectures.crash import crash, place

    return crash(problem) if place(problem) else None
