"""The note of a launch in MLflow: its description in front, the user's own words around it, the verdict below."""

from typing import TYPE_CHECKING, Any

from orchestrator.tracking.artifacts import MARK
from orchestrator.tracking.names import LONGEST_TAG, storable
from orchestrator.tracking.tags import DESCRIPTION, NOTE

if TYPE_CHECKING:
    from mlflow import MlflowClient


def put_description(client: "MlflowClient", run: Any, description: str) -> None:
    """Replace the earlier description in the note of a launch by today's; what else its note says stays."""
    note = run.data.tags.get(NOTE, "")
    words, mark, verdict = note.partition(MARK)
    before, now = run.data.tags.get(DESCRIPTION), storable(description.strip())
    if before is not None and (before := storable(before.strip())) == now:
        return
    new = _described(words.strip(), before, now)[: LONGEST_TAG - len(mark + verdict)] + mark + verdict
    if new == note:
        return
    if new:
        client.set_tag(run.info.run_id, NOTE, new)
    elif note:
        client.delete_tag(run.info.run_id, NOTE)


def _described(words: str, before: str | None, now: str) -> str:
    """``words`` of a note with ``now`` in the place of the description ``before``, or in front where that is not found.

    None: an earlier version did not record it apart, and all of the words may be the user's own.
    """
    at = f"\n\n{words}".find(f"\n\n{now if before is None else before}")  # where it begins them or a paragraph of them
    if before is None and at >= 0:
        return words
    if words and (before or now).startswith(words):  # cut off, to make room for a verdict
        return now
    if before and at >= 0:
        return f"{words[:at]}{now}{words[at + len(before) :]}".strip()
    return "\n\n".join(filter(None, [now, words]))
