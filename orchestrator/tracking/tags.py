"""The tags of our runs in MLflow, by which they are found again and by which its UI filters."""

from collections.abc import Mapping

from orchestrator.tracking.names import LONGEST_TAG, storable

LAUNCH = "launch"  # its name, which no other launch of the experiment has
LAUNCH_ID = "launch_id"  # of a launch's own run; its folder says the same
KIND = "kind"  # "launch" for a parent run, "trial" for a child
SPEC_HASH = "spec_hash"
TRIAL = "trial"
PLACE = "place"  # in the plan: stage, sample, seed and variant, each from 0; trials are read in this order
NUMBER = "trial_number"  # what earlier versions wrote for it: one number
STAGE = "stage"  # of a trial, where the launch has several: search or confirm
CONFIRM_SEEDS = "confirm_seeds"  # of a launch whose search is confirmed, as JSON; empty: it has one stage
LEFT_OUT = "left_out"  # of a trial that is no longer in the experiment file: it is not compared
TAKEN_OVER = "taken_over_from"  # of a trial that another launch has trained: experiment/launch
VARIANT = "variant"
FAMILY = "family"
SEED = "seed"
SETTINGS = "settings"  # of a trial of a search: what was drawn, as JSON
STATUS = "status"
REASON = "status_reason"
FAILURE = "failure_kind"  # of a failed trial
STOPPED_EARLY = "stopped_early"  # "true" of a trial that the scheduler ended; its run is FINISHED
REPORT = "report"  # of a trial, as the next one; absent until it has been delivered
MODEL = "model"
MADE, CANNOT_BE_MADE = "made", "cannot be made"  # their values
PROTOCOL = "protocol"
CONTRACT = "contract"
LAYER_KINDS = "layer_kinds"  # what the contract's words recognise in the network
TARGET = "target_accuracy"  # of a launch; of a trial: what its epochs were counted to, empty if that is not known
DESCRIPTION = "description"  # of a launch: that of its experiment file, with which its note begins
PUBLISHED = "published"  # of a launch: the accuracies that it replicates and the margin, as JSON
VERDICT = "verdict"  # of a launch, in a sentence
CAUTION = "caution"  # of a launch: what its verdict says of rules that were changed after results had been seen
COMMAND = "command"  # of a launch: what a shell runs to amend it, without secrets
SHARE = "trial_share"  # of a launch: what one trial reserves and its price per second, as JSON
OPENED = "opened_at"  # of a launch: seconds since 1970, when a command last worked on it
PLANNED = "planned_trials"  # of a launch: how many its plan has, whether they have started or not
SEARCHING = "searching"  # of a launch: "true" while its search suggests further trials when some have ended
VERDICT_SETTINGS = "verdict_settings"  # how it is reached, as JSON
REJECTED = "rejected_samples"  # draws of a search that broke the contract and were replaced
LEASE = "lease_until"  # of a launch: seconds since 1970 until which its driver is taken to be alive
LEASE_OWNER = "lease_owner"  # of a launch: the host and the launch folder of the driver that keeps its lease
BESIDE = "artifacts_beside_store"  # of an experiment: where its artifacts are, if that is beside a SQLite store
PARENT = "mlflow.parentRunId"  # MLflow's own, as the next
NOTE = "mlflow.note.content"
USER = "mlflow.user"
SOURCE_NAME = "mlflow.source.name"  # the experiment file
SOURCE_TYPE = "mlflow.source.type"


def shorten(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as any store takes them, cut to its limit."""
    return {name: storable(value) for name, value in tags.items()}


def in_parts(name: str, text: str) -> dict[str, str]:
    """Tags that hold the whole of ``text``, which a program reads back: ``name``, ``name.2`` and so on.

    The last one is the first that is shorter than a tag may be, so that older ones after it are not read.
    """
    parts = [text[start : start + LONGEST_TAG] for start in range(0, len(text) + 1, LONGEST_TAG)]
    return {f"{name}.{number}" if number > 1 else name: part for number, part in enumerate(parts, start=1)}


def from_parts(tags: Mapping[str, str], name: str) -> str:
    """The text that :func:`in_parts` made tags of; empty if there is none."""
    text = part = tags.get(name, "")
    number = 1
    while len(part) == LONGEST_TAG:
        number += 1
        part = tags.get(f"{name}.{number}", "")
        text += part
    return text


def opened_tag(opened: float) -> str:
    """The value of OPENED for seconds since 1970, ordered as text."""
    return f"{opened:017.6f}"
