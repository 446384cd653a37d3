"""Text without secrets: whatever goes to a screen, a log or a record passes here where it may hold one."""

import os
import re
from urllib.parse import unquote

HIDDEN = "***"
_SHORTEST = 6  # characters: a shorter value would be found in innocent words
_WORDS = "secret|password|passwd|passphrase|pwd|token|credential|signature|(?:access|account|api|private)[_-]?key"
# A word of the name, between _ - and ., is a key or a pass, also a numbered one; or the name is that of a signature.
_WHOLE = r"(?:[\w.-]*[_.-])?(?:keys?|(?:db|ssh)?pass)\d*(?:[_.-][\w.-]*)?|sig"
_NAME = re.compile(rf".*(?:{_WORDS}).*|{_WHOLE}", re.IGNORECASE | re.DOTALL)
# Variables whose values are no secrets, whatever their names contain; their values also occur in other text.
_NOT_SECRET = re.compile(r"_(PATHS?|FILES?|DIRS?|MODE|URL|URI|TYPE|TTL|SECONDS)$|^(OLD)?PWD$", re.IGNORECASE)
_QUOTE = r"['\"](?![\s,:;)\]}>=])"  # one that closes nothing
# scheme://user:password@host; a password may hold anything, so it ends at the last @
_USER_INFO = re.compile(rf"(?P<scheme>[a-zA-Z][\w+.-]*://)(?P<user>[^\s/:'\"]*):(?P<password>(?:[^\s'\"]|{_QUOTE})+)@")
_ADDRESS = re.compile(r"[a-zA-Z][\w+.-]*://[^:]*:(?P<password>.+)@", re.DOTALL)  # a variable's whole value
_OPTION = re.compile(
    rf"(?P<name>[?&;](?:[\w.-]*(?:{_WORDS})[\w.-]*|{_WHOLE})=)(?P<value>(?:[^\s&;'\"]|{_QUOTE})+)", re.IGNORECASE
)


def redact(text: str) -> str:
    """``text`` with passwords in addresses, secret options in queries, and values of secret variables replaced."""
    for secret in _secrets():  # first, while they are whole
        text = text.replace(secret, HIDDEN)
    text = _USER_INFO.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", text)
    return _OPTION.sub(rf"\g<name>{HIDDEN}", text)


def is_secret(name: str) -> bool:
    """Whether a variable, or an option in an address, of this name holds a secret."""
    return _NAME.fullmatch(name) is not None


def user_info(address: str) -> str:
    """What stands between ``://`` and the last ``@``; empty if there is none.

    Read as it is written: a password with a / # or ? in it ends what a parser takes for the host.
    """
    return address.partition("://")[2].rpartition("@")[0]


def _secrets() -> list[str]:
    """Values of this process's variables that are secret by their name, or stand in an address; the longest first."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if is_secret(name) and not _NOT_SECRET.search(name):
            found.add(value)
        for place in [*_ADDRESS.finditer(value), *_USER_INFO.finditer(value), *_OPTION.finditer(value)]:
            secret = place.groupdict().get("password") or place.groupdict()["value"]
            found |= {secret, unquote(secret)}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)
