"""The YAML of experiment files and of ``--set``: no tags, anchors, duplicate keys or unlimited nesting."""

import re
from typing import Any

import yaml

from orchestrator.spec.json_values import DEEPEST

_NOT_USED: dict[type[yaml.Token], str] = {
    yaml.AnchorToken: "YAML anchors and aliases are not supported here; repeat the values",
    yaml.AliasToken: "YAML anchors and aliases are not supported here; repeat the values",
    yaml.TagToken: "YAML tags are not supported here",
}
_OPENING = (
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)


def parse(text: str) -> Any:
    """The values in ``text``. Raises yaml.YAMLError for invalid YAML and for unsupported features."""
    _refuse_what_is_not_used(text)
    return yaml.load(text, Loader=_Loader)  # a SafeLoader


class _Loader(yaml.SafeLoader):
    """A SafeLoader that rejects duplicate keys and reads 1e-3 as a number."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, ArithmeticError) as problem:  # 2026-13-45 is parsed as a date, 0x_ as a number
            raise yaml.constructor.ConstructorError(None, None, str(problem), node.start_mark) from problem

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"keys must be text, not {key!r}", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    text = str(loader.construct_scalar(node))
    try:
        return float(text.replace("_", ""))
    except ValueError:
        return loader.construct_yaml_float(node)


_Loader.add_implicit_resolver(
    "!exponent", re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)
_Loader.add_constructor("!exponent", _float)


def _refuse_what_is_not_used(text: str) -> None:
    """Raise YAML's own error for the first tag, anchor, alias or too deep nesting."""
    depth = 0
    for token in yaml.scan(text):
        problem = _NOT_USED.get(type(token))
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if problem is None and depth > DEEPEST:
            problem = f"nested more than {DEEPEST} deep"
        if problem is not None:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=token.start_mark)
