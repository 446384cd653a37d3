"""What differs between two sets of settings, in words: each path, what it was and what it is now."""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.spec.trial import WHEREFORE, TrialSpec

LONGEST = 40  # characters of a value; of longer ones only the path is said


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``epochs (3 there, 6 now)`` for every path whose value differs."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    return [
        f"{path}{_both(old.get(path), new.get(path))}"
        for path in dict.fromkeys([*old, *new])
        if old.get(path) != new.get(path)
    ]


def of_trials(held: TrialSpec, asked: TrialSpec) -> str:
    """By what another trial differs, such as ``trainer.epochs (3 there, 6 now)``."""
    before, now = ({k: v for k, v in spec.to_json().items() if k not in WHEREFORE} for spec in (held, asked))
    names = {"source_digest": "the network's source", "dataset_digest": "the data"}
    return ", ".join(names.get(line.partition(" ")[0], line) for line in differences(before, now))


def said(value: Any) -> str:
    """A value in such a sentence."""
    return "none" if value is None else str(value)


def _both(old: Any, new: Any) -> str:
    return "" if max(len(str(old)), len(str(new))) > LONGEST else f" ({said(old)} there, {said(new)} now)"


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree
