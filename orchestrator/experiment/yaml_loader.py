"""The YAML of experiment files and of ``--set``: no tags, anchors, duplicate keys or unlimited nesting."""

import re
from typing import Any, ClassVar

import yaml

from orchestrator.experiment.scalars import FREE, NUMBER_STARTS, number, word_problem
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
    """A SafeLoader that rejects duplicate keys and reads values without quotes as people mean them."""

    # Which tag a value without quotes may have, by its first character: none of YAML 1.1's.
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # PyYAML has it on the class, too

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, ArithmeticError) as problem:  # 010
            raise yaml.constructor.ConstructorError(None, None, str(problem), node.start_mark) from problem

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"keys must be text, not {key!r}", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            if key in FREE:
                _refuse_ambiguous_words(value_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    text = str(loader.construct_scalar(node))
    value = number(text)
    return text if value is None else value


_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_Loader.add_implicit_resolver("!null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("!truth", re.compile(f"^({'|'.join(_TRUTH)})$"), list("tTfF"))
_Loader.add_implicit_resolver("!number", re.compile(r"^[-+.0-9]"), list(NUMBER_STARTS))
_Loader.add_constructor("!null", lambda loader, node: None)
_Loader.add_constructor("!truth", lambda loader, node: _TRUTH[str(node.value)])
_Loader.add_constructor("!number", _number)


def _refuse_ambiguous_words(node: yaml.Node) -> None:
    """Raise YAML's own error for the first yes, no, on or off without quotes, where no type says what is meant."""
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            _refuse_ambiguous_words(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_ambiguous_words(value)
    elif isinstance(node, yaml.ScalarNode) and node.style is None and (problem := word_problem(node.value)):
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


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
