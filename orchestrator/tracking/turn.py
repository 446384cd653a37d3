"""Take turns at a registered model: of the processes that would move its aliases, one at a time may.

MLflow's registry has neither locks nor transactions, but each tag is written and read as a whole. So a process first
writes a tag of its own, then reads all: of two that overlap, the one that wrote last sees the other's, and withdraws.
"""

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLAIM = "registering_"  # a registered model's tag; the rest of its name is random, its value the end of the claim
CLAIM_LENGTH = 90.0  # seconds; a process that has not finished by then is taken to be lost
PATIENCE = 120.0  # seconds to wait for others: longer than a claim that a killed process has left
PAUSES = (0.05, 0.5)  # seconds between attempts; random, so that two that withdraw do not meet again


@dataclass(frozen=True)
class Turn:
    """The right to change a registered model, for a limited time."""

    model: str
    until: float  # seconds since 1970

    def check(self) -> None:
        """Raise TrackingError if the turn is over: another process may have taken the next."""
        if time.time() >= self.until:
            raise TrackingError(f"the tracking store took too long: {self.model} was not changed; try again")


@contextmanager
def take_turn(client: "MlflowClient", model: str, patience: float = PATIENCE) -> Iterator[Turn]:
    """Wait until no other process changes the registered model ``model``, and keep others waiting meanwhile.

    Before each change that another process could contradict, call the turn's ``check``. Raises TrackingError if
    others do not finish within ``patience`` seconds.
    """
    from mlflow.exceptions import MlflowException

    mine, deadline = CLAIM + uuid.uuid4().hex, time.monotonic() + patience
    try:
        while True:
            until = time.time() + CLAIM_LENGTH
            client.set_registered_model_tag(model, mine, str(until))
            if not (others := _claims(client, model, mine)):
                break
            client.delete_registered_model_tag(model, mine)
            if time.monotonic() >= deadline:
                longest = max(others) - time.time()
                raise TrackingError(
                    f"another process is registering a network as {model}; try again (if it was killed, in "
                    f"{longest:.0f} seconds)"
                )
            time.sleep(random.uniform(*PAUSES))
        yield Turn(model, until)
    finally:
        with suppress(MlflowException):  # it expires by itself
            client.delete_registered_model_tag(model, mine)


def _claims(client: "MlflowClient", model: str, mine: str) -> list[float]:
    """When the claims of others end; removes those that have."""
    now, ends = time.time(), []
    for name, value in client.get_registered_model(model).tags.items():
        if not name.startswith(CLAIM) or name == mine:
            continue
        if float(value) > now:
            ends.append(float(value))
        else:
            client.delete_registered_model_tag(model, name)
    return ends
