"""A directive that writes the reference of experiment files from their JSON schema: ``{settings}``."""

import json
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from orchestrator.experiment.reader import json_schema

LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


class Settings(SphinxDirective):
    """One section with a table for the file itself and for each mapping in it."""

    def run(self) -> list[nodes.Node]:
        """Called by docutils for each use of the directive."""
        return self.parse_text_to_nodes("\n".join(lines(json_schema())), allow_section_headings=True)


def lines(schema: dict[str, Any]) -> Iterator[str]:
    """The Markdown of the reference."""
    parts = {**schema["$defs"], schema["title"]: schema}
    for name, path in order(schema):
        title = f"`{path}`" if path else "The file"
        yield from (f"(settings-{name.lower()})=", f"## {title}", "", parts[name]["description"], "")
        yield from ("| key | type | default | unit | meaning |", "| --- | --- | --- | --- | --- |")
        for key, value in parts[name]["properties"].items():
            meaning, _, unit = value["description"].partition(" Unit: ")
            cells = (f"`{key}`", kind(value), default(key, value, parts[name]), unit.rstrip("."), meaning)
            yield " | ".join(("", *(cell.replace("|", "\\|") for cell in cells), "")).strip()
        yield ""


def order(schema: dict[str, Any], part: dict[str, Any] | None = None, path: str = "") -> Iterator[tuple[str, str]]:
    """The name and the dotted path of each mapping, from the outside to the inside."""
    part = part or schema
    yield part["title"], path
    for key, value in part["properties"].items():
        for name in references(value):
            inside = {"array": "[]", "object": ".PATH"}.get(value.get("type", ""), "")
            yield from order(schema, schema["$defs"][name], f"{path}.{key}{inside}".lstrip("."))


def references(value: Any) -> Iterator[str]:
    """The mappings that a value may be or hold."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].rpartition("/")[2]
        for inside in (value.get("items"), value.get("additionalProperties"), *value.get("anyOf", ())):
            yield from references(inside)


def kind(value: dict[str, Any]) -> str:
    """What a value may be, in words and limits."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[mapping](#settings-{name.lower()})"
    if "anyOf" in value:
        return " or ".join(kind(choice) for choice in value["anyOf"])
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "array":
        if "prefixItems" in value:
            return f"list of {len(value['prefixItems'])} numbers"
        return f"list of {kind(value['items'])}" if value.get("items") else "list"
    if value.get("type") == "object":
        inside = value.get("additionalProperties")
        return f"mapping of paths to {kind(inside)}" if isinstance(inside, dict) and "$ref" in inside else "mapping"
    words = {"boolean": "`true` or `false`", "string": "text", "null": "`null`", None: "any value"}
    limits = " and ".join(f"{sign} {value[limit]:.12g}" for limit, sign in LIMITS.items() if limit in value)
    return f"{words.get(value.get('type'), value.get('type'))} {limits}".strip()


def default(key: str, value: dict[str, Any], part: dict[str, Any]) -> str:
    """What a setting is if the file does not give it."""
    if key in part.get("required", ()):
        return "required"
    if "default" not in value:  # a mapping with defaults of its own
        return "see its table" if "$ref" in value else "`{}`"
    return f"`{json.dumps(value['default'])}`"


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True}
