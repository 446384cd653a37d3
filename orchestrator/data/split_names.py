"""Which of a dataset's parts are its training, test and validation splits, by their names or by the settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.errors import DataError
from orchestrator.spec import SplitNames

VALIDATION = ("val", "valid", "validation", "dev")  # what a validation split is called


@dataclass(frozen=True)
class Splits:
    """The names of the splits, and what a person should know of how they were chosen."""

    train: str
    test: str
    validation: str | None
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every split once, the training split first."""
        return (self.train, self.test, *([] if self.validation is None else [self.validation]))


def choose_splits(
    where: object,
    wanted: SplitNames,
    holds: Callable[[str], bool],
    written: Callable[[str], str],
    present: Callable[[], Sequence[str]],
    hint: str = "",
) -> Splits:
    """The splits of the dataset at ``where``; without a test split, the validation split is it, which is said.

    ``holds`` says whether there is a split of a name, ``written`` how it is written there (``test/``), ``present``
    which names there are, for messages; ``hint`` ends the one about a missing test split. Raises DataError.
    """
    for setting in ("train", "test", "validation"):
        name = getattr(wanted, setting)
        if name is not None and not holds(name):
            raise DataError(f"{where}: dataset.splits.{setting}: there is no {written(name)}{_listed(present())}")
    train = wanted.train or "train"
    if not holds(train):
        raise DataError(f"{where}: there is no {written(train)}{_listed(present())}; {_choose('train')}")
    taken = {train, wanted.test}
    own = [wanted.validation] if wanted.validation else [n for n in VALIDATION if n not in taken and holds(n)]
    if len(own) > 1:
        raise DataError(f"{where}: several validation splits, {', '.join(own)}; leave one, or {_choose('validation')}")
    test = wanted.test or "test"
    notes: tuple[str, ...] = ()
    if not holds(test):
        if not own:
            raise DataError(
                f"{where}: has {written(train)} but neither {written('test')} nor {written('val')}"
                f"{_listed(present())}; {_choose('test')}{hint}"
            )
        notes = (f"{where}: without {written(test)}, {written(own[0])} is the test split",)
        test, own = own[0], []
    elif own:
        notes = (f"{where}: {written(own[0])} is the validation split",)
    names = [train, test, *own]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"{where}: {written(twice.pop())} cannot be two splits at once; see dataset.splits")
    return Splits(train, test, own[0] if own else None, notes)


def _choose(setting: str) -> str:
    return f"if it has another name, set dataset.splits.{setting}"


def _listed(present: Sequence[str]) -> str:
    return f" (there are: {', '.join(present)})" if present else ""
