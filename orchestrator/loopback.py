"""Whether an address belongs to this machine only."""

import ipaddress
from urllib.parse import urlsplit


def is_loopback(address: str) -> bool:
    """Whether ``address``, a host or a URL, never leaves this machine: 127.0.0.0/8, ::1 or localhost.

    Names are not resolved.
    """
    host = ((urlsplit(address).hostname or "") if "://" in address else address).partition("%")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("::ffff:")).is_loopback
    except ValueError:
        return False
