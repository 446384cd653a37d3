"""``orchestrator``: the list of commands, and the one place where an error becomes a line and an exit code."""

import gc
import importlib
import io
import signal
import sys
import traceback

import click

from orchestrator.errors import OrchestratorError
from orchestrator.redact import redact
from orchestrator.version import __version__

# name: (module in this package, one line for --help). Modules are imported when their command is used.
COMMANDS = {
    "run": "Train every trial of an experiment file, record it in MLflow, print the verdict.",
    "train": "Train one variant without Ray or MLflow.",
    "validate": "Check an experiment file and print its plan; train nothing.",
    "inspect": "Layers, parameters, MACs, receptive field and contract of a variant.",
    "variants": "The table of built-in variants.",
    "compare": "The verdict of an MLflow experiment.",
    "resume": "Resume an interrupted launch.",
    "verify-resume": "Kill a launch at random points, resume it, compare it with an undisturbed one.",
    "ui": "Open MLflow's web page on loopback.",
    "submit": "Run an experiment file as a job on a Ray cluster.",
    "status": "Show the status of submitted jobs.",
    "logs": "Show the output of a submitted job.",
    "stop": "End a submitted job; it finishes its epochs and keeps everything.",
    "doctor": "Check this machine, the cluster, the tracking store and the data before a run.",
}


# Objects made before the garbage collector looks at them; Python's own 700 is met hundreds of times while torch and
# MLflow are imported, each time over all that was imported so far: a third of the time that a command takes to start.
GARBAGE_THRESHOLD = 50_000


class _Commands(click.Group):
    """Commands by name, imported one by one so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

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
    """Which network is really better? One YAML file trains architecture variants side by side and compares them."""


def main(arguments: list[str] | None = None) -> None:
    """The entry point. Exit codes: 0 done, 1 a trial failed, 2 the request was wrong, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    gc.set_threshold(GARBAGE_THRESHOLD)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, wherever nobody has said otherwise
    try:
        code = cli.main(given, prog_name="orchestrator", standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as problem:
        shown = io.StringIO()
        problem.show(file=shown)
        click.echo(redact(shown.getvalue()), err=True, nl=False)
        code = problem.exit_code
    except OrchestratorError as problem:
        if "--debug" in given:
            click.echo(redact(traceback.format_exc()), err=True, nl=False)
        click.echo(redact(f"error: {problem}"), err=True)
        code = problem.exit_code
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:  # the reader of our output has gone: nothing to tell it
        sys.stderr.close()
        code = 0
    except Exception:  # a mistake of ours: its traceback is wanted, what the environment holds is not
        click.echo(redact(traceback.format_exc()), err=True, nl=False)
        code = 1
    gc.freeze()  # the interpreter's end would look through everything once more
    sys.exit(code if isinstance(code, int) else 0)
