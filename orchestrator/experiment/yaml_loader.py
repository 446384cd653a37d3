"""The YAML of experiment files and of ``--set``: no tags, anchors, duplicate keys or unlimited nesting."""

import re
from typing import Any, ClassVar

import yaml

from orchestrator.experiment.scalars import (
    FREE,
    NULLS,
    NUMBER_STARTS,
    TRUTH,
    AmbiguousNumberError,
    number,
    word_problem,
)
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


Problems = list[tuple[yaml.Mark, str]]


def parse_unclear(text: str) -> tuple[Any, Problems]:
    """The values in ``text``, and what is wrong with some of them: these are read as what they probably mean.

    Raises yaml.YAMLError for invalid YAML and for unsupported features.
    """
    _refuse_what_is_not_used(text)
    loader = _Loader(text)
    try:
        return loader.get_single_data(), loader.problems
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """A SafeLoader that lists duplicate keys and reads values without quotes as people mean them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: Problems = []

    # Which tag a value without quotes may have, by its first character: none of YAML 1.1's.
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # PyYAML has it on the class, too

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"keys must be text, not {key!r}", key_node.start_mark
                )
            if key in seen:
                self.problems.append((key_node.start_mark, f"duplicate key {key!r}"))
            elif key in FREE:
                self.problems += _ambiguous_words(value_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    text = str(loader.construct_scalar(node))
    try:
        value = number(text)
    except AmbiguousNumberError as problem:  # 010
        loader.problems.append((node.start_mark, str(problem)))
        value = problem.meant
    return text if value is None else value


_Loader.add_implicit_resolver("!null", re.compile(f"^({'|'.join(NULLS)})$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("!truth", re.compile(f"^({'|'.join(TRUTH)})$"), list("tTfF"))
_Loader.add_implicit_resolver("!number", re.compile(r"^[-+.0-9]"), list(NUMBER_STARTS))
_Loader.add_constructor("!null", lambda loader, node: None)
_Loader.add_constructor("!truth", lambda loader, node: TRUTH[str(node.value)])
_Loader.add_constructor("!number", _number)


def _ambiguous_words(node: yaml.Node) -> Problems:
    """Every yes, no, on or off without quotes, where no type says what is meant."""
    if isinstance(node, yaml.MappingNode):
        return [found for key, value in node.value if key.value not in FREE for found in _ambiguous_words(value)]
    if isinstance(node, yaml.SequenceNode):
        return [found for value in node.value for found in _ambiguous_words(value)]
    if isinstance(node, yaml.ScalarNode) and node.style is None and (problem := word_problem(node.value)):
        return [(node.start_mark, problem)]
    return []


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
