"""Whether the source of a trial's network is still what the trial is of."""

from orchestrator.architectures import named_in, refuse_changed
from orchestrator.architectures.library import library_of
from orchestrator.architectures.locate import is_of_this_process
from orchestrator.spec import TrialSpec


def refuse_edited_since_planned(spec: TrialSpec) -> None:
    """Raise VariantError if it would be another network that is trained.

    What was defined in a notebook or in the script that runs is what this process holds: it was planned by it, too.
    """
    if any(map(is_of_this_process, (spec.variant, *named_in(spec.arguments)))):
        return
    remedy = (
        "run the same command again to train the edited network; or, to complete the launch with the old one, bring "
        "that back first"
    )
    refuse_changed(spec.variant, spec.arguments, spec.source_digest, "this launch was planned", remedy)


def refuse_edited_since_trained(spec: TrialSpec) -> None:
    """Raise VariantError if it would be another network that the weights are put into.

    A library's network may be of another version: its weights are loaded strictly, and fit or are refused.
    """
    if library_of(spec.variant) is not None and not named_in(spec.arguments):
        return
    since, remedy = f"{spec.name} was trained with it", "bring the old one back"
    refuse_changed(spec.variant, spec.arguments, spec.source_digest, since, remedy)
