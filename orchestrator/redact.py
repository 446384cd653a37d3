"""Text without secrets: whatever goes to a screen, a log or a record passes here where it may hold one."""

import os
import re
from urllib.parse import unquote

HIDDEN = "***"
_SHORTEST = 6  # characters: a shorter value would be found in innocent words
_SECRET_NAME = re.compile(r"(SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY)", re.IGNORECASE)
_NOT_SECRET = re.compile(r"(_PATH|_FILE|_MODE|_URL|_URI|_TYPE|_TTL|_SECONDS)$", re.IGNORECASE)
# scheme://user:password@host; a password may hold anything, so it ends at the last @
_USER_INFO = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*://)(?P<user>[^\s/:@'\"]*):(?P<password>[^\s'\"]+)@")
_OPTION = re.compile(
    r"(?P<name>[?&;][\w.-]*(?:secret|password|passwd|pwd|token|credential|signature|access_key|api_key|apikey)[\w.-]*=)"
    r"(?P<value>[^\s&;'\"]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """``text`` with passwords in addresses, secret options in queries, and values of secret variables replaced."""
    text = _USER_INFO.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", text)
    text = _OPTION.sub(rf"\g<name>{HIDDEN}", text)
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    return text


def _secrets() -> list[str]:
    """Values of this process's variables that are secret by their name, or stand in an address; the longest first."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and not _NOT_SECRET.search(name):
            found.add(value)
        for place in [*_USER_INFO.finditer(value), *_OPTION.finditer(value)]:
            secret = place.groupdict().get("password") or place.groupdict()["value"]
            found |= {secret, unquote(secret)}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)
