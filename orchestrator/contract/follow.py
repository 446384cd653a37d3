"""Follow a network's forward pass, operation by operation: what every tensor depends on, and what was computed."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from orchestrator.contract.call import Call
from orchestrator.contract.combine import everything, is_everywhere
from orchestrator.contract.law import Unfollowable
from orchestrator.contract.macs import multiply_accumulates
from orchestrator.contract.rules import name_of, rule_of
from orchestrator.contract.view import View, blank

SPOILED = "a tensor was changed in place through another that shares its memory"
INDEPENDENT = "it does not depend on the image"
INPUT = "input"  # the name under which layers name the image as their source
PICTURES = 2  # in the batch that is followed: with one, a bare squeeze() would drop the batch dimension


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of one tensor that depends on the image; ``view`` is a reason where following ended."""

    view: View | str
    sources: tuple[str, ...] = (INPUT,)  # the layers that it comes from directly
    operation: int = -1  # the number of the operation that made it; -1 is the image


@dataclass(frozen=True, slots=True)
class Operation:
    """One torch operation on tensors that depend on the image."""

    number: int
    name: str  # torch's own, such as ``convolution`` or ``add``
    arguments: Mapping[str, Any]  # by torch's names; tensors stand as their shapes
    inputs: tuple[Mark, ...]
    output: Mark
    shape: tuple[int, ...]  # of the (first) result, with the batch
    macs: int  # for one image

    @property
    def lost(self) -> str:
        """Why it is not known what its result sees; empty if it is."""
        view = self.output.view
        return view if isinstance(view, str) and view != INDEPENDENT else ""


@dataclass
class Follower(TorchDispatchMode):
    """While active, marks every tensor that is computed from a marked one and writes down each operation."""

    operations: list[Operation] = field(default_factory=list)
    opaque: set[str] = field(default_factory=set)  # operations that are not torch's own and have no rule
    uncounted: set[str] = field(default_factory=set)  # operations with weights whose multiply-accumulates are not known

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True, the default, imports torch's compiler on first use: seconds

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._aliases: dict[int, list[weakref.ref[Tensor]]] = {}  # tensors by the memory that they share
        # Memory changed through one of its tensors, with the mark of the others; the tensor keeps it from being reused.
        self._spoiled: dict[int, tuple[Tensor, Mark]] = {}

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for every operation."""
        kwargs = kwargs or {}
        given = list(tensors_in((args, kwargs)))
        marks = [self.look(tensor) for tensor in given]
        if not any(marks):
            return func(*args, **kwargs)
        if rule_of(func) is None:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        self._write_down(func, args, kwargs, given, result)
        return result

    def start(self, batch: Tensor, view: View) -> None:
        """Mark ``batch`` as the images that are followed."""
        self._know(batch, Mark(view))

    def look(self, tensor: Tensor) -> Mark | None:
        """The mark of ``tensor``; None if it does not depend on the image."""
        if mark_of(tensor) is None and (spoiled := self._spoiled.get(_storage(tensor))):
            attach(tensor, spoiled[1])
        return mark_of(tensor)

    def _write_down(self, func: OpOverload, args: Any, kwargs: Any, given: Sequence[Tensor], result: Any) -> None:
        made = list(tensors_in(result))
        if not made:
            return
        marks = [mark for tensor in given if (mark := mark_of(tensor)) is not None]
        arguments = _by_name(func, args, kwargs)
        name = name_of(func)
        views = self._views(func, arguments, given, made)
        sources = tuple(dict.fromkeys(name for mark in marks for name in mark.sources))
        number = len(self.operations)
        for tensor, view in zip(made, views, strict=True):
            if isinstance(view, View) and not (view.sights or view.narrow):
                _forget(tensor)
                continue
            mark = Mark(view, sources, number)
            if any(tensor is other for other in given):
                self._changed_in_place(tensor, mark)
            self._know(tensor, mark)
        if (output := mark_of(made[0])) is None:
            output = Mark(INDEPENDENT, sources, number)
        macs = multiply_accumulates(name, arguments, tuple(made[0].shape)) // PICTURES
        weights = [t for t in given if mark_of(t) is None and t.is_floating_point() and t.dim() > 1]
        if rule_of(func) is None and func.namespace not in ("aten", "prims"):
            self.opaque.add(f"{func.namespace}::{name}")
        if rule_of(func) is None and weights and not macs:
            self.uncounted.add(name)
        self.operations.append(Operation(number, name, arguments, tuple(marks), output, tuple(made[0].shape), macs))

    def _views(
        self, func: OpOverload, arguments: Mapping[str, Any], given: Sequence[Tensor], made: Sequence[Tensor]
    ) -> Sequence[View | str]:
        views: list[View] = []
        for tensor in given:
            view = mark.view if (mark := mark_of(tensor)) else blank(tensor.shape)
            if isinstance(view, str):
                return [view] * len(made)
            views.append(view)
        name, rule = name_of(func), rule_of(func)
        shape = tuple(made[0].shape)
        try:
            if rule is None:
                raise Unfollowable("its effect on positions is unknown")
            found = rule(Call(name, dict(arguments), tuple(views), shape))
        except Unfollowable as reason:
            if all(map(is_everywhere, views)):  # there are no positions left to confuse
                return [everything(views, tensor.shape) for tensor in made]
            return [f"{name}: {reason}"] * len(made)
        if isinstance(found, View):
            return [
                found if tuple(tensor.shape) == found.shape else everything([found], tensor.shape) for tensor in made
            ]
        return found

    def _know(self, tensor: Tensor, mark: Mark) -> None:
        attach(tensor, mark)
        self._aliases.setdefault(_storage(tensor), []).append(weakref.ref(tensor))

    def _changed_in_place(self, tensor: Tensor, mark: Mark) -> None:
        """Tensors that share the memory of ``tensor`` have changed with it: those are given up."""
        old, storage = mark_of(tensor), _storage(tensor)
        if old is None:
            self._spoiled[storage] = tensor, Mark(SPOILED, mark.sources, mark.operation)
        elif isinstance(mark.view, View) and old.view == mark.view:
            return
        for alias in (ref() for ref in self._aliases.get(storage, ())):
            shared = None if alias is None or alias is tensor else mark_of(alias)
            if alias is not None and shared is not None and isinstance(shared.view, View):
                attach(alias, Mark(SPOILED, shared.sources, shared.operation))


def mark_of(tensor: Tensor) -> Mark | None:
    """What is known of ``tensor``; None if it does not depend on the image."""
    found = getattr(tensor, "_followed", None)
    return found if isinstance(found, Mark) else None


def attach(tensor: Tensor, mark: Mark) -> None:
    """Mark ``tensor``."""
    tensor._followed = mark  # type: ignore[attr-defined]


def _forget(tensor: Tensor) -> None:
    if hasattr(tensor, "_followed"):
        del tensor._followed


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def tensors_in(tree: Any) -> Iterator[Tensor]:
    """Every tensor in nested arguments, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from tensors_in(item)
    elif isinstance(tree, dict):
        yield from tensors_in(list(tree.values()))


def _by_name(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments under their names in torch's schema, defaults filled in, tensors as their shapes."""
    named = {}
    for place, argument in enumerate(func._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        named[argument.name] = _shapes(args[place] if place < len(args) else kwargs.get(argument.name, default))
    return named


def _shapes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, (list, tuple)):
        return [_shapes(item) for item in value]
    return value
