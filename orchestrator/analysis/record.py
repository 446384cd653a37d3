"""Record a network's forward pass, operation by operation: what every tensor sees, and what was computed."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from orchestrator.analysis.field import Field
from orchestrator.analysis.intervals import UnknownFieldError
from orchestrator.analysis.joins import same
from orchestrator.analysis.operations import name_of, rule_of
from orchestrator.analysis.receptive_field import Call
from orchestrator.analysis.recorded import INDEPENDENT, Known, Operation
from orchestrator.analysis.windows import everything

IN_PLACE = "a tensor was changed in place through another that shares its memory"
BATCH = 2  # images in the batch that is recorded: with one, a bare squeeze() would drop the batch dimension


class MacCounter:
    """Counts multiply-accumulates by the formulas of torch's own FlopCounterMode: of convolutions and matrix products.

    Biases, normalisation, activations and pooling count as nothing.
    """

    def __init__(self) -> None:
        from torch.utils.flop_counter import FlopCounterMode  # here: a fifth of a second, which others need not wait

        self._flops: Mapping[Any, Any] = FlopCounterMode(display=False).flop_registry

    def count(self, function: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
        """Of one operation on a whole batch; torch counts two operations for each multiply-accumulate."""
        formula = self._flops.get(function.overloadpacket)
        return int(formula(*args, **kwargs, out_val=result)) // 2 if formula else 0


@dataclass(repr=False)
class Recorder(TorchDispatchMode):
    """While active, records each operation on tensors that are computed from the image."""

    operations: list[Operation] = field(default_factory=list)
    opaque: set[str] = field(default_factory=set)  # operations that are not torch's own and have no rule
    uncounted: set[str] = field(default_factory=set)  # operations with weights whose multiply-accumulates are not known
    recurrent: set[int] = field(default_factory=set)  # what stands for the memory of the weights of recurrent layers

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True, the default, imports torch's compiler on first use: seconds

    def __repr__(self) -> str:
        return "Recorder()"  # torch puts it into messages

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._macs = MacCounter()
        self._constant_macs = 0  # of a recurrent layer's first step, until they are recorded
        self._aliases: dict[int, list[weakref.ref[Tensor]]] = {}  # tensors by the memory that they share
        # Memory changed through one of its tensors, with what is known of the others; the tensor keeps it alive.
        self._changed: dict[int, tuple[Tensor, Known]] = {}

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for every operation."""
        kwargs = kwargs or {}
        given = list(tensors_in((args, kwargs)))
        looked_up = [self.look(tensor) for tensor in given]  # all of them: it attaches what is known
        if not any(looked_up):
            return self._constant(func, args, kwargs, given)
        if rule_of(func) is None and _makes_tensors(func):
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if made := list(tensors_in(result)):
            self._record(func, (args, kwargs), given, made, result)
        return result

    def start(self, batch: Tensor, seen: Field) -> None:
        """Let ``batch`` be the images."""
        self._know(batch, Known(seen))

    def count_states(self, network: nn.Module) -> None:
        """Count the products of the recurrent layers of ``network`` with a constant first state, too."""
        layers = [layer for layer in network.modules() if isinstance(layer, (nn.RNNBase, nn.RNNCellBase))]
        self.recurrent.update(_storage(weight) for layer in layers for weight in layer.parameters())

    def look(self, tensor: Tensor) -> Known | None:
        """What is known of ``tensor``; None if it does not depend on the image."""
        if known(tensor) is None and (changed := self._changed.get(_storage(tensor))):
            attach(tensor, changed[1])
        return known(tensor)

    def _constant(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[Tensor]) -> Any:
        """An operation on what does not depend on the image, which is not recorded.

        A recurrent layer multiplies its first state, which may be constant, with weights as it does every later one:
        that is counted with the operation that follows.
        """
        if not self.recurrent or not any(_storage(tensor) in self.recurrent for tensor in given):
            return func(*args, **kwargs)
        with self:
            result = func.decompose(*args, **kwargs)
        if result is NotImplemented:
            result = func(*args, **kwargs)
            self._constant_macs += self._macs.count(func, args, kwargs, result)
        return result

    def _record(
        self, func: OpOverload, args: tuple[Any, Any], given: Sequence[Tensor], made: Sequence[Tensor], result: Any
    ) -> None:
        before = [found for tensor in given if (found := known(tensor)) is not None]
        name, number, shape = name_of(func), len(self.operations), tuple(made[0].shape)
        arguments = _by_name(func, *args)
        sources = tuple(dict.fromkeys(name for found in before for name in found.sources))
        # Counted before the results are known: in place, a weight may become one of them.
        weights = [t for t in given if known(t) is None and t.is_floating_point() and t.dim() > 1]
        for tensor, seen in zip(made, self._fields(func, name, arguments, args, given, made), strict=True):
            if isinstance(seen, Field) and not seen.parts:
                _forget(tensor)
                continue
            after = Known(seen, sources, number)
            if any(tensor is other for other in given):
                self._change_in_place(tensor, after)
            self._know(tensor, after)
        output = known(made[0]) or Known(INDEPENDENT, sources, number)
        macs = self._macs.count(func, *args, result) // BATCH
        if rule_of(func) is None and func.namespace not in ("aten", "prims"):
            self.opaque.add(f"{func.namespace}::{name}")
        if rule_of(func) is None and weights and not macs:
            self.uncounted.add(name)
        macs, self._constant_macs = macs + self._constant_macs // BATCH, 0
        self.operations.append(Operation(number, name, arguments, tuple(before), output, shape, macs))

    def _fields(
        self,
        func: OpOverload,
        name: str,
        arguments: dict[str, Any],
        args: tuple[Any, Any],
        given: Sequence[Tensor],
        made: Sequence[Tensor],
    ) -> Sequence[Field | str]:
        """What each result sees, or why that is not known."""
        fields: list[Field] = []
        for tensor in given:
            seen = found.field if (found := known(tensor)) else Field(tuple(tensor.shape))
            if isinstance(seen, str):
                return [seen] * len(made)
            fields.append(seen)
        rule, shape = rule_of(func), tuple(made[0].shape)
        try:
            if rule is None:
                raise UnknownFieldError("its effect on positions is unknown")
            found_fields = rule(Call(func, name, arguments, given, fields, args, shape))
        except UnknownFieldError as reason:
            if all(part.is_single and not part.intervals.shift for f in fields for part in f.parts):
                return [everything(fields, tensor.shape) for tensor in made]  # there are no positions left to confuse
            return [f"{name}: {reason}"] * len(made)
        if isinstance(found_fields, Field):
            one = found_fields
            return [one if tuple(t.shape) == one.shape else everything([one], t.shape) for t in made]
        return found_fields

    def _know(self, tensor: Tensor, after: Known) -> None:
        attach(tensor, after)
        self._aliases.setdefault(_storage(tensor), []).append(weakref.ref(tensor))

    def _change_in_place(self, tensor: Tensor, after: Known) -> None:
        """Tensors that share the memory of ``tensor`` have changed with it: what they see is not known."""
        before, storage = known(tensor), _storage(tensor)
        if before is None:
            self._changed[storage] = tensor, Known(IN_PLACE, after.sources, after.operation)
        elif isinstance(after.field, Field) and isinstance(before.field, Field) and same(before.field, after.field):
            return
        for alias in (ref() for ref in self._aliases.get(storage, ())):
            shared = None if alias is None or alias is tensor else known(alias)
            if alias is not None and shared is not None and isinstance(shared.field, Field):
                attach(alias, Known(IN_PLACE, shared.sources, shared.operation))


def known(tensor: Tensor) -> Known | None:
    """What is known of ``tensor``; None if it does not depend on the image."""
    found = getattr(tensor, "_known", None)
    return found if isinstance(found, Known) else None


def attach(tensor: Tensor, found: Known) -> None:
    """Keep with ``tensor`` what is known of it."""
    tensor._known = found  # type: ignore[attr-defined]


def _makes_tensors(func: OpOverload) -> bool:
    """Whether it does more than to ask for something, such as a size."""
    return any("Tensor" in str(result.type) for result in func._schema.returns)


def _forget(tensor: Tensor) -> None:
    if hasattr(tensor, "_known"):
        del tensor._known


def _storage(tensor: Tensor) -> int:
    """What stands for the memory of ``tensor``: for one that has none itself (sparse, or under vmap) its own id."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except NotImplementedError:
        return -id(tensor)


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
