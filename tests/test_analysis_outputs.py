"""What is analysed of a network that returns more than logits."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn
from torchvision.models import GoogLeNetOutputs

from orchestrator.analysis import analyse


class Heads(nn.Module):
    """Returns more than logits: what ``give`` makes of a map and the logits."""

    def __init__(self, give: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.stem, self.head, self.give = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 10), give

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        return self.give(x, self.head(x.mean((2, 3))))


@pytest.mark.parametrize(
    ("give", "shape", "note"),
    [(lambda _, logits: logits, (10,), None),
     (lambda seen, logits: GoogLeNetOutputs(logits, seen, None), (10,), "the first one"),
     (lambda seen, logits: {"features": seen, "logits": logits}, (10,), "its part 'logits'"),
     (lambda seen, logits: OrderedDict(out=seen, logits=logits), (10,), "its part 'logits'"),
     (lambda seen, logits: {"out": seen, "other": logits}, (4, 24, 32), "the first one"),
     (lambda seen, logits: ((seen, logits), logits), (4, 24, 32), "the first one")],
)  # fmt: skip
def test_the_output_is_that_which_training_takes(
    give: Callable[[Tensor, Tensor], Any], shape: tuple[int, ...], note: str | None
) -> None:
    analysis = analyse(Heads(give), (3, 24, 32))
    assert analysis.output_shape == shape
    assert analysis.notes == (() if note is None else (f"it returns several tensors: {note} is used as its output",))


def test_an_output_without_a_tensor_is_said() -> None:
    with pytest.raises(TypeError, match="its output is of type str and holds no tensor"):
        analyse(Heads(lambda *_: "logits"), (3, 24, 32))
