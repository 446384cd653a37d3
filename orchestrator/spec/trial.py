"""One trial, completely specified: the same specification gives the same weights, and its hash is its identity."""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from orchestrator.records import CONFIRM as CONFIRM
from orchestrator.records import SEARCH as SEARCH
from orchestrator.spec.fields import Range, SeveralProblems, check, from_json, to_json
from orchestrator.spec.recipe import STRICT, Recipe
from orchestrator.spec.references import REFERENCE, map_references

STAGES = ("", SEARCH, CONFIRM)  # in the order in which they train; "": a launch has but one
LONGEST_LABEL = 100  # bytes of UTF-8; a folder is named after it
# Settings that trials were once identified without: at their defaults they are left out, so that those stay the same.
LATER = {
    "dataset": ("channels", "test", "splits", "label_column", "image_column"),
    "trainer": ("auxiliary_weight",),
}
BUILT_IN = ("digits", "cifar10")  # datasets that are no paths
FILES = "files"  # instead of a dataset's path, where it does not matter where they lie
WHEREFORE = ("sample", "settings", "settings_label", "stage")  # of a specification: nothing is trained by them


@dataclass(frozen=True, kw_only=True)
class SplitNames:
    """What a dataset's files call its splits: folders, parquet files or the arrays of an `.npz` file."""

    __pydantic_config__ = STRICT

    train: str | None = None
    """The images to learn from. null: `train`."""
    test: str | None = None
    """The images by which variants are compared. null: `test`, and without it the validation split."""
    validation: str | None = None
    """The images by which an epoch is chosen. null: `val`, `valid`, `validation` or `dev`, where there is one."""


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """The dataset."""

    __pydantic_config__ = STRICT

    name: str = "digits"
    """`digits`, `cifar10`, or the path of a folder or file: class folders of images, parquet files, an `.npz` file or a
    packed `.pt` file."""
    validation: Annotated[float, Range(gt=0, lt=1)] = 0.1
    """Part of the training split that is held out for validation, chosen by the trial's seed and stratified by class;
    not used if the dataset has a validation split. Unit: fraction."""
    image_size: Annotated[int, Range(ge=8, le=1024)] | None = None
    """Resize images to this height and width. null: their own size (digits: 32). Unit: pixels."""
    channels: Literal[1, 3] | None = None
    """1: grey images, for networks made for one channel; 3: colour, grey ones as three equal channels. null: 3, or what
    a packed file holds."""
    test: Annotated[float, Range(gt=0, lt=1)] = 0.2
    """Part of each class that is the test split of class folders without a split, chosen by the files' names, the same
    for all trials; not used otherwise. Unit: fraction."""
    splits: SplitNames = field(default_factory=SplitNames)
    """What the dataset's files call its splits."""
    label_column: str | None = None
    """Column of parquet files that holds the labels. null: `label`."""
    image_column: str | None = None
    """Column of parquet files that holds the images. null: `img` or `image`."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One training of one variant with one seed and one set of hyperparameters."""

    __pydantic_config__ = STRICT

    variant: str  # a built-in name, `path/to/file.py:Class` or `package.module:Class`
    as_: str = ""  # the variant's name where it is another than that of its class
    arguments: dict[str, Any] = field(default_factory=dict)  # passed to the network's constructor
    source_digest: str = ""  # sha256 of the source files of a user's own network
    seed: Annotated[int, Range(ge=0, lt=2**31)] = 0
    sample: int | None = None  # index of the draw from the search space
    settings: dict[str, Any] = field(default_factory=dict)  # what was drawn, by dotted path; also applied below
    settings_label: str = ""  # the same as part of the trial's name
    stage: str = ""  # of a launch in stages, one of STAGES: what the trial is for
    dataset: DatasetSpec = field(default_factory=DatasetSpec)
    dataset_digest: str = ""  # sha256 of the images and labels; empty before they are read
    trainer: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        check(self)
        if problem := label_problem(self.variant):
            raise SeveralProblems([f"variant: {problem}"])
        if self.as_ and (problem := as_problem(self.as_)):
            raise SeveralProblems([f"as: {problem}"])

    @property
    def label(self) -> str:
        """The variant's display name: the class name for a user's own network, unless it was given another."""
        return self.as_ or variant_label(self.variant)

    @property
    def network_key(self) -> str:
        """Variant and arguments: trials with the same key build the same network."""
        return f"{self.variant} {sorted(self.arguments.items())}"

    @property
    def name(self) -> str:
        """The trial's name within its launch: ``variant/seed-0``, in a search ``variant/seed-0/lr=0.1``."""
        drawn = self.settings_label or ("" if self.sample is None else f"sample-{self.sample}")
        return f"{self.label}/seed-{self.seed}{drawn and '/'}{drawn}"

    def to_json(self) -> dict[str, Any]:
        """JSON values, complete: every default is written out."""
        return to_json(self)

    @classmethod
    def from_json(cls, data: Any) -> "TrialSpec":
        """Read what :meth:`to_json` wrote. Raises ValueError that names the invalid field."""
        return from_json(cls, data, "spec")

    def identity(self) -> str:
        """Hash (sha256, hexadecimal) of the whole specification: trials with the same identity are the same trial.

        A user's own network is identified by its source, not by the path of its file, and so are classes in its
        arguments; a dataset of files by its images and labels; the settings of a search by their values, not by the
        index of the draw. The variant's name counts if it is another than that of its class. A setting that came later
        counts where it is set: trials from before it stay the same.
        """
        return self._hash(self._without_path(), named=self.label != variant_label(self.variant))

    def earlier_identity(self) -> str:
        """The same as earlier versions recorded it: with the path of the dataset, and with any name that is given."""
        return self._hash(self.to_json(), named=bool(self.as_))

    def earlier_identities(self, paths: Iterable[str]) -> Iterator[str]:
        """All that earlier versions may have recorded, if they found the dataset at one of ``paths``."""
        yield self._hash(self._without_path(), named=bool(self.as_))
        for path in paths:
            yield replace(self, dataset=replace(self.dataset, name=path)).earlier_identity()

    def _without_path(self) -> dict[str, Any]:
        plain = self.to_json()
        return {**plain, "dataset": without_path(plain["dataset"], self.dataset_digest)}

    def _hash(self, plain: Mapping[str, Any], named: bool) -> str:
        data = {k: v for k, v in without_later(plain).items() if k not in WHEREFORE and (k != "as" or named)}
        if not self.source_digest:
            return digest(data)
        arguments = map_references(self.arguments, lambda name: {REFERENCE: variant_label(name)})
        return digest({**data, "variant": variant_label(self.variant), "arguments": arguments})

    def weights_identity(self) -> str:
        """The same whatever the variant is called: trials with the same one have the same weights."""
        return replace(self, as_="").identity() if self.as_ else self.identity()

    def earlier_weights_identity(self) -> str:
        """The same as earlier versions recorded it."""
        return replace(self, as_="").earlier_identity()


def without_path(dataset: Mapping[str, Any], images: str) -> Mapping[str, Any]:
    """The JSON of a ``dataset`` without its path, if it has one and the digest of its ``images`` is known."""
    return dataset if not images or dataset.get("name") in BUILT_IN else {**dataset, "name": FILES}


def without_later(tree: Mapping[str, Any]) -> dict[str, Any]:
    """``tree``, the JSON of a trial or experiment, without the settings in ``LATER`` that have their defaults."""
    shorter = {
        part: {key: value for key, value in tree[part].items() if key not in usual or value != usual[key]}
        for part, usual in _usual().items()
    }
    return {**tree, **shorter}


@functools.cache
def _usual() -> Mapping[str, Mapping[str, Any]]:
    """The defaults of the settings in ``LATER``, by part and key."""
    defaults = {"dataset": to_json(DatasetSpec()), "trainer": to_json(Recipe())}
    return {part: {key: defaults[part][key] for key in keys} for part, keys in LATER.items()}


def variant_label(variant: str) -> str:
    """``stride`` for ``stride``, ``Net`` for ``path/to/file.py:Net``."""
    return variant.rpartition(":")[2]


def label_of(variant: Mapping[str, Any]) -> str:
    """The display name of a variant as an experiment's JSON holds it."""
    return variant.get("as") or variant_label(variant["name"])


def as_problem(label: str) -> str | None:
    """Why no variant can be called ``label``, or None."""
    if not label or label[0] in "-." or any(c in "/\\:" or not c.isprintable() for c in label):
        return f"{label!r} cannot be a name: without '/', '\\' and ':', and not beginning with '.' or '-'"
    if len(label.encode()) > LONGEST_LABEL:
        return f"{label[:20]!r}... cannot be a name: longer than {LONGEST_LABEL} characters"
    return None


def label_problem(variant: str) -> str | None:
    """Why ``variant`` cannot name a class, or None; a trial's folder is named after its label."""
    source, _, label = variant.rpartition(":")
    relative = source.startswith(".") and not source.endswith(".py") and "/" not in source  # a package of what?
    if relative or label.startswith(".") or any(c in "/\\" or not c.isprintable() for c in label):
        return (
            f"{variant!r} does not name a class; name your own network as path/to/file.py:Class or package.module:Class"
        )
    return None


def digest(data: Any) -> str:
    """sha256 (hexadecimal) of a JSON document, independent of the order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
