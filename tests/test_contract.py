"""Limits of a contract, and the document that ``inspect --json`` prints."""

import dataclasses
import json

import pytest

from orchestrator.analysis import analyse
from orchestrator.architectures import VARIANTS, build_network, family
from orchestrator.contract import check_contract, describe
from orchestrator.spec import Contract

LIMITS = Contract(max_parameters=192_298, max_macs=46_745_920, min_receptive_field=67, require=("dilated",))


def test_limits_include_their_ends() -> None:
    assert check_contract(analyse(build_network("stride"), (3, 32, 32)), LIMITS).passed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_parameters": 192_297}, "parameters must be at most 192,297 and is 192,298"),
        ({"max_macs": 46_745_919}, "macs must be at most 46,745,919 and is 46,745,920"),
        ({"min_receptive_field": 68}, "receptive field must be at least 68 and is 67"),
        ({"require": ("residual",)}, "residual is required and is absent"),
        ({"require": (), "forbid": ("dilated",)}, "dilated is forbidden and is present"),
    ],
)
def test_each_limit_can_break_the_contract(change: dict[str, object], words: str) -> None:
    result = check_contract(
        analyse(build_network("stride"), (3, 32, 32)), dataclasses.replace(LIMITS, **change)  # type: ignore[arg-type]
    )  # fmt: skip
    assert not result.passed
    assert [check.format() for check in result.checks if not check.passed] == [words]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_document_of_inspect(variant: str) -> None:
    analysis = analyse(build_network(variant), (3, 32, 32))
    document = describe(variant, family(variant), analysis, check_contract(analysis, LIMITS))
    assert json.loads(json.dumps(document)) == document
    assert list(document) == [
        "variant", "family", "parameters", "macs", "receptive_field", "output_shape", "layers", "contract",
    ]  # fmt: skip
    assert set(document["receptive_field"]) == {"features", "output"}
    assert document["output_shape"] == [10]
    assert all(
        list(row) == ["name", "type", "output_shape", "parameters", "kernel", "stride", "padding", "dilation", "groups",
                      "jump", "receptive_field"]
        for row in document["layers"]
    )  # fmt: skip
    assert all(set(check) == {"name", "limit", "value", "passed"} for check in document["contract"]["checks"])
