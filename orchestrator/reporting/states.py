"""How a trial stands or has ended, in words and colours: the same on the terminal, in tables and on pages."""

ENDED = ("complete", "stopped", "interrupted", "failed")
STYLES = {  # of rich; to be stopped early is a normal end
    "waiting": "dim",
    "running": "cyan",
    "complete": "green",
    "stopped": "",
    "interrupted": "yellow",
    "failed": "red",
}
_WORDS = {"stopped": "stopped early"}


def state_word(status: str) -> str:
    """``status`` for people."""
    return _WORDS.get(status, status)


def state_text(status: str, reason: str) -> str:
    """``failed: its worker was lost``, ``stopped early by the scheduler after epoch 3``."""
    if status == "stopped" and reason.startswith("stopped by "):
        return f"{state_word(status)} {reason.removeprefix('stopped ')}"
    return f"{state_word(status)}: {reason}" if reason else state_word(status)


def stopped_text(count: int, best: float | None = None, epoch: int | None = None) -> str:
    """``stopped early: 5, best 63.40 % at epoch 3``; ``best`` is a validation accuracy, a fraction."""
    found = "" if best is None else f", best {100 * best:.2f} %"
    return f"stopped early: {count}{found}" + (f" at epoch {epoch}" if found and epoch is not None else "")
