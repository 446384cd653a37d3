"""The working directory of Ray's workers: the driver's, so that a network opens its files there as it does here."""

import os
from contextlib import suppress


def enter(directory: str) -> None:
    """Work in ``directory``; on a node that does not have it, where Ray has put this process."""
    with suppress(OSError):
        os.chdir(directory)
