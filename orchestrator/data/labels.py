"""Labels of any kind as numbers from 0, and the names of the classes."""

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.errors import DataError
from orchestrator.text import listed

Label = int | str | bool
UNLABELLED = "if the split has no labels, choose another by dataset.splits"


def class_labels(training: Iterable[Label]) -> tuple[list[Label], tuple[str, ...]]:
    """The different labels in the order of the classes, which is their own, and a note about it unless they count up.

    True and False are 1 and 0 in order, but keep their names. Raises TypeError if numbers and text are mixed.
    """
    labels = sorted(set(training))
    kinds = {type(label) for label in labels}
    if kinds == {int} and labels == list(range(len(labels))):
        return labels, ()
    what = "numbers with gaps" if kinds == {int} else "not numbers"
    named = listed([repr(label) for label in labels], 8)
    return labels, (f"the labels are {what}: {len(labels)} classes in the order {named}",)


def numbered(where: str, values: Sequence[Label], known: Sequence[Label]) -> list[int]:
    """The place of each of ``values`` among ``known``. Raises DataError naming the row, counted from 0."""
    places = {label: place for place, label in enumerate(known)}
    for row, value in enumerate(values):
        if value not in places:
            allowed = listed([repr(label) for label in known], 8)
            raise DataError(f"{where}, row {row}: the label {value!r} is not one of the classes {allowed}")
    return [places[value] for value in values]


def check_kinds(kinds: Mapping[str, str]) -> None:
    """Raise DataError unless the labels at all places, ``{where: what they are}``, are of one kind."""
    first, *rest = kinds.items()
    for where, kind in rest:
        if kind != first[1]:
            raise DataError(f"{where}: its labels are {kind}, those of {first[0]} are {first[1]}")


def absent_note(classes: Sequence[str], counts: Sequence[int]) -> tuple[str, ...]:
    """The line that says which classes have no training image; none if all have some."""
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    return (f"classes without a training image: {listed(absent)}",) if absent else ()
