"""Text as MLflow and its databases take it: names of params and metrics, escaped so that they read back, and values."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from orchestrator import records as keys
from orchestrator.spec import TrialSpec
from orchestrator.spec.references import is_reference, map_references

LONGEST_NAME = 250  # characters, MLflow's limit; in UTF-8 bytes here, since a file store calls a file so
DIGITS = 16  # of a long name's digest
LONGEST_PARAM = 6_000  # characters; MLflow's limit
LONGEST_TAG = 5_000  # characters, as older servers allow
LONGEST_RUN_NAME = 250  # characters; of the database's column
# What is escaped in a key: all but letters, digits, _, - and blanks within. And an underscore that seems to begin an
# escape. A name's parts are joined by dots (params) or slashes (metrics), so neither stays in a part.
_KEY = re.compile(r"[^\w\- ]|^ | $|_(?=x[0-9A-F]{4,6})")
_METRIC = re.compile(
    r"[^\w\-. /]|^ | $|_(?=x[0-9A-F]{4,6})"
    r"|^/|/(?=/|$)"  # no part may be empty,
    r"|(?<![^/])\.(?=\.?(?:/|$))"  # "." or ".."
)
EARLIER_NAMES = {keys.RECEPTIVE_FIELD: "receptive_field", keys.SECONDS: "seconds"}  # of metrics, in earlier versions
_ESCAPE = re.compile(r"_x([0-9A-F]{4,6})_")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # what no database keeps as text


def escape_key(key: str) -> str:
    """``key`` as part of a param's name: ``conv_x0028_1_x0029_`` for ``conv(1)``, as XML writes names."""
    return _KEY.sub(_escape, key)


def escape_metric(name: str) -> str:
    """``name`` as MLflow takes a metric's; slashes between its parts stay. The end of a long one is its digest."""
    escaped = _METRIC.sub(_escape, name)
    if len(escaped.encode()) <= LONGEST_NAME:
        return escaped
    digest = hashlib.sha256(escaped.encode()).hexdigest()[:DIGITS]
    return f"{escaped.encode()[: LONGEST_NAME - DIGITS - 1].decode(errors='ignore')}-{digest}"


def unescape(name: str) -> str:
    """The name that :func:`escape_key` or :func:`escape_metric` was given, unless it was too long a metric's."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), name)


def metrics_of(run: Any) -> dict[str, float]:
    """The metrics of MLflow's ``run`` under the names that we give them today."""
    known = {unescape(name): float(value) for name, value in run.data.metrics.items()}
    earlier = {name: known[before] for name, before in EARLIER_NAMES.items() if before in known}
    return {**earlier, **known}


def storable(text: str, longest: int = LONGEST_TAG) -> str:
    """:func:`as_text`, cut to ``longest`` characters; a cut one ends with three dots."""
    whole = as_text(text)
    return whole if len(whole) <= longest else whole[: longest - 3] + "..."


def as_text(text: str) -> str:
    """``text`` with NUL and lone surrogates, which no database keeps, written as JSON would."""
    return _NO_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested specification as params: ``trainer.optimizer.lr`` = ``0.1``; lists as their text.

    Keys are escaped, so that no two names are one. A mapping of which a name would be too long is one param, as JSON.
    """
    params: dict[str, str] = {}
    for key, value in tree.items():
        name = f"{prefix}{escape_key(key)}"
        parts = flatten(value, f"{name}.") if isinstance(value, Mapping) and value else {}
        if parts and max(len(part.encode()) for part in parts) <= LONGEST_NAME:
            params |= parts
        else:
            params[name] = _value(value)
    return params


def params_of(spec: TrialSpec) -> dict[str, str]:
    """The params of a trial's run: its specification, with the variant's label, and what it stands for as network."""
    tree = spec.to_json()
    settings = {f"settings.{flat_name(path)}": _value(value) for path, value in _named(tree.pop("settings")).items()}
    if not settings or max(len(name.encode()) for name in settings) > LONGEST_NAME:
        settings = {"settings": _value(spec.settings)}
    del tree["as"]
    named = {"variant": spec.label, "network": spec.variant, "arguments": _named(tree["arguments"])}
    return flatten({**tree, **named}) | settings


def flat_name(path: str) -> str:
    """The param's name of a setting's dotted path, as :func:`flatten` writes it."""
    return ".".join(map(escape_key, path.split(".")))


def _named(tree: Mapping[str, Any]) -> dict[str, Any]:
    """``tree`` with the name of each class or function in the place of what refers to it."""
    return dict(map_references(dict(tree), str)) if not is_reference(tree) else dict(tree)


def _value(value: Any) -> str:
    """As text in one line: a file store reads no other."""
    text = json.dumps(value) if isinstance(value, (list, tuple, Mapping)) else str(value)
    one_line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return storable(one_line, LONGEST_PARAM)


def _escape(found: re.Match[str]) -> str:
    return f"_x{ord(found[0]):04X}_"
