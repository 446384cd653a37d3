"""Every setting of an experiment file says what it means, in one place that the schema and the documentation read."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest

from orchestrator import spec
from orchestrator.experiment.reader import json_schema
from orchestrator.spec.descriptions import descriptions

# What an experiment file can hold; a plan and a trial's specification are made from it, never written by hand.
KINDS = [k for k in vars(spec).values() if isinstance(k, type) and k not in (spec.Plan, spec.TrialSpec)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_setting_has_a_description(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    texts = descriptions(kind)
    assert not [name for name, text in texts.items() if not text]
    assert all(text.endswith(".") for text in texts.values())
    assert (kind.__doc__ or "").endswith(".")


def test_the_schema_has_the_descriptions() -> None:
    schema = json_schema()
    described = {kind.__name__: descriptions(kind) for kind in KINDS}
    parts = {schema["title"]: schema, **schema["$defs"]}
    assert parts.keys() == described.keys()
    for name, part in parts.items():
        assert {key: value["description"] for key, value in part["properties"].items()} == described[name]


def test_a_setting_without_a_string_below_it_has_no_description() -> None:
    @dataclasses.dataclass
    class Settings:
        """Two settings."""

        plain: int
        told: int = 1
        """What it is,
        in two lines."""

    assert descriptions(Settings) == {"plain": "", "told": "What it is, in two lines."}


def test_the_reference_has_a_row_for_every_setting() -> None:
    file = Path(__file__).parents[1] / "docs" / "_extensions" / "settings.py"
    found = importlib.util.spec_from_file_location("settings_reference", file)
    assert found is not None
    assert found.loader is not None
    reference = importlib.util.module_from_spec(found)
    found.loader.exec_module(reference)
    rows = [line for line in reference.lines(json_schema()) if line.startswith("| `")]
    assert len(rows) == sum(len(dataclasses.fields(kind)) for kind in KINDS)
    assert all(len(re.split(r"(?<!\\)\|", row)) == 7 for row in rows)
