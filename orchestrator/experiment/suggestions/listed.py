"""The sources of what a search can draw: TPE decides only in the light of results which of it is drawn."""

from contextlib import suppress

from orchestrator.errors import VariantError
from orchestrator.experiment.suggestions.group import has
from orchestrator.experiment.trials import Sources
from orchestrator.spec import Experiment, Search
from orchestrator.spec.references import classes_in


def listed_sources(experiment: Experiment, search: Search, sources: Sources) -> dict[str, dict[str, str]]:
    """By variant, the digest of its source with each choice that names classes, by the classes.

    What cannot be loaded is left out: whoever draws it is told.
    """
    found: dict[str, dict[str, str]] = {variant.label: {} for variant in experiment.variants}
    for variant in experiment.variants:
        for path, distribution in search.space.items():
            choices = distribution.choice if has(search, path, variant) else None
            for given in ({path: value} for value in choices or ()):
                if classes := classes_in(given):
                    with suppress(VariantError):
                        found[variant.label][classes] = sources.digest(variant.name, given)
    return found
