"""A plan: an experiment with its trials. It grows while some of them depend on how others end."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.spec.experiment import Experiment
from orchestrator.spec.fields import to_json
from orchestrator.spec.references import REFERENCE, classes_in, map_references
from orchestrator.spec.trial import CONFIRM, STAGES, TrialSpec, digest, variant_label, without_later, without_path

IMAGES = "images and labels"  # in what a launch is based on: the digest of these
DRAWN = 8  # digits of the digest of a sample's settings; a launch keeps those of all its samples


@dataclass(kw_only=True)
class Plan:
    """An experiment with the full specification of every trial that is known, in the order in which they start.

    Raises ValueError for two trials of the same name.
    """

    experiment: Experiment
    trials: tuple[TrialSpec, ...]
    rejected_samples: int = 0  # draws that broke the contract and were drawn again
    notes: tuple[str, ...] = ()  # messages for the user
    searching: bool = False  # results of its search can make further trials known
    listed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by variant: sources that may yet be drawn
    caution: str = ""  # what a verdict must say of rules that were changed after results had been seen
    _by_name: dict[str, TrialSpec] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        trials, self.trials = self.trials, ()
        names = [trial.name for trial in trials]
        if len(set(names)) != len(names):  # each has a folder of its name
            raise ValueError(
                f"several trials have the same name: {', '.join(sorted({n for n in names if names.count(n) > 1}))}"
            )
        self.add(trials)

    def add(self, trials: Iterable[TrialSpec]) -> list[TrialSpec]:
        """Add those of ``trials`` that are new, and return them."""
        new = [spec for spec in trials if spec.name not in self._by_name]
        self._by_name.update((spec.name, spec) for spec in new)
        self.trials = (*self.trials, *new)
        return new

    def clear(self) -> None:
        """Forget all trials."""
        self.trials = ()
        self._by_name.clear()

    def spec(self, trial: str) -> TrialSpec:
        """The specification of the trial called ``trial``."""
        return self._by_name[trial]

    def place(self, spec: TrialSpec) -> str:
        """Where ``spec`` stands in the plan, whichever trials are known: ``stage.sample.seed.variant``, each from 0.

        Places compare as tuples of numbers. Seeds beyond those that the experiment lists count on from the largest.
        """
        seeds = self.experiment.seeds
        if spec.stage == CONFIRM and self.experiment.confirm is not None:
            seeds = self.experiment.confirm.seeds
        turn = seeds.index(spec.seed) if spec.seed in seeds else len(seeds) + max(spec.seed - max(seeds) - 1, 0)
        variant = [variant.label for variant in self.experiment.variants].index(spec.label)
        return f"{STAGES.index(spec.stage)}.{spec.sample or 0}.{turn}.{variant}"

    def basis(self) -> dict[str, Any]:
        """What decides a trial apart from its variant, seed and sample, as JSON: a launch has one, however it grows."""
        experiment = without_later(to_json(self.experiment))
        search = experiment["search"]
        if search is not None:
            search = _without_folders({key: value for key, value in search.items() if key != "samples"})
        return {
            "dataset": experiment["dataset"],
            IMAGES: self.trials[0].dataset_digest if self.trials else "",
            "trainer": experiment["trainer"],
            "search": search,
            "scheduler": experiment["scheduler"],
        }

    def identity(self) -> str:
        """Hash of the experiment's name and of :meth:`basis`: launches with the same one may be one launch."""
        return digest([self.experiment.name, wherever(self.basis())])

    def networks(self) -> dict[str, Any]:
        """By variant, what decides its network, whatever folder it is in: its arguments, and its source or name.

        A search that draws classes gives it several sources: those of its trials, by the classes that they have, and
        with TPE those of every class that is listed.
        """
        found = {
            variant.label: {classes: {source} for classes, source in self.listed.get(variant.label, {}).items()}
            for variant in self.experiment.variants
        }
        for spec in self.trials:
            known = found.setdefault(spec.label, {}).setdefault(classes_in(spec.arguments), set())
            known.add(spec.source_digest or spec.variant)
        return {
            variant.label: {
                "arguments": _without_folders(variant.arguments),
                "source": _one_or_all(found[variant.label], classes_in(variant.arguments)),
            }
            for variant in self.experiment.variants
        }

    def draws(self) -> Mapping[str, list[str]]:
        """By variant, the digest of the settings of each sample that the file alone decides: not what TPE suggests."""
        if self.experiment.search is not None and self.experiment.search.name == "tpe":
            return {}
        found: dict[str, dict[int, str]] = {}
        for spec in self.trials:
            if spec.sample is not None and spec.stage != CONFIRM:
                found.setdefault(spec.label, {})[spec.sample] = digest(_without_folders(spec.settings))[:DRAWN]
        return {label: [samples[k] for k in sorted(samples)] for label, samples in found.items()}


def wherever(basis: Mapping[str, Any]) -> dict[str, Any]:
    """``basis`` without the path of its dataset: the same images and labels are the same wherever they lie."""
    dataset, images = basis.get("dataset"), basis.get(IMAGES)
    return {**basis, "dataset": without_path(dataset, images)} if isinstance(dataset, Mapping) and images else {**basis}


def _one_or_all(sources: Mapping[str, set[str]], own: str) -> str | dict[str, list[str]]:
    """The only one of ``sources``, that with the classes ``own``, or all; empty without trials."""
    if sources.keys() <= {own} and len(only := sources.get(own, {""})) == 1:
        return next(iter(only))
    return {classes: sorted(digests) for classes, digests in sorted(sources.items())}


def _without_folders(tree: Any) -> Any:
    """``tree`` with classes and functions by their names alone, wherever their files lie."""
    return map_references(tree, lambda name: {REFERENCE: variant_label(name)})
