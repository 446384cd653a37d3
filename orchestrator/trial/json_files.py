"""The JSON files of a trial's folder: read, or refused by name."""

import json
from pathlib import Path
from typing import Any

from orchestrator.errors import StorageError
from orchestrator.spec.json_values import one_line


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that ``path`` holds. Raises StorageError."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise StorageError(f"{path}: damaged, it holds no mapping")
    return content


def read_json(path: Path) -> Any:
    """The content of ``path``. Raises StorageError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise StorageError(f"{path}: there is no such file; is this a trial folder?") from problem
    except (ValueError, OSError, RecursionError) as problem:
        raise StorageError(one_line(f"{path}: cannot be read: {problem}")) from problem
