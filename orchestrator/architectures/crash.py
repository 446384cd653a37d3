"""Describe what a user's own code has raised, with the line of it at which that happened."""

import os
import sysconfig
import traceback
from pathlib import Path

from orchestrator.text import in_one_line

INSTALLED = {"site-packages", "dist-packages"}
_OWN = Path(__file__).resolve().parents[1]  # the code of this project
_PYTHON = tuple({sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "platstdlib")})


def crash(problem: BaseException) -> str:
    """``Net.forward, net.py:31: RuntimeError: the first line of it``, or without a place if no user's code is in it."""
    where = place(problem)
    return f"{where}: {in_one_line(problem)}" if where else in_one_line(problem)


def place(problem: BaseException) -> str:
    """The innermost line of a user's code in the traceback: ``Net.forward, net.py:31``; empty if there is none."""
    if isinstance(problem, SyntaxError) and problem.filename and problem.lineno and is_users(problem.filename):
        return f"{_shown(problem.filename)}:{problem.lineno}"
    found = ""
    for frame, line in traceback.walk_tb(problem.__traceback__):
        if is_users(frame.f_code.co_filename):
            name = frame.f_code.co_qualname.replace(".<locals>", "")
            found = f"{'' if name == '<module>' else f'{name}, '}{_shown(frame.f_code.co_filename)}:{line}"
    return found


def is_users(file: str) -> bool:
    """Whether ``file`` is neither installed, nor Python's, nor this project's."""
    if file.startswith("<"):  # code without a file
        return False
    path = Path(file)
    if INSTALLED & set(path.parts) or path.is_relative_to(_OWN):
        return False
    return not file.startswith(_PYTHON)


def _shown(file: str) -> str:
    """Relative to the current folder if it lies in it."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file
