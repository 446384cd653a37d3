"""What each setting means: the string below a field in its dataclass, for the JSON schema and the documentation."""

import ast
import dataclasses
import inspect
import textwrap
from itertools import pairwise

from orchestrator.spec.fields import key_of


def descriptions(kind: type) -> dict[str, str]:
    """The description of each field of the dataclass ``kind``; empty for a field without one."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    found = {key_of(field.name): "" for field in dataclasses.fields(kind)}
    for statement, below in pairwise(getattr(definition, "body", [])):
        match statement, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ) if key_of(name) in found:
                found[key_of(name)] = " ".join(text.split())
    return found
