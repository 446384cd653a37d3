"""``orchestrator ui``: MLflow's own web page, on this machine only."""

import click

from orchestrator.cli.options import log, options


@click.command("ui")
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="Port on 127.0.0.1.")
@options("tracking_uri")
def command(port: int, tracking_uri: str | None, debug: bool) -> int:
    """Serve MLflow's web page on http://127.0.0.1:PORT until interrupted."""
    from orchestrator.tracking.ui import serve

    return serve(tracking_uri, port, log, debug)
