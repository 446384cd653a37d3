"""Free ports of this machine, for servers that must be told one."""

import socket
from contextlib import ExitStack


class HeldPort:
    """A port on loopback on which nobody answers and that nobody else gets, until it is released for a server."""

    def __init__(self) -> None:
        self._socket = socket.socket()  # bound, and it never listens
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        self._socket.close()


def free_ports(count: int) -> list[int]:
    """So many ports that are free now, for servers that start at once."""
    with ExitStack() as stack:
        held = [HeldPort() for _ in range(count)]
        for port in held:
            stack.callback(port.release)
        return [port.number for port in held]


def free_port() -> int:
    """One port that is free now, for a server that starts at once."""
    return free_ports(1)[0]
