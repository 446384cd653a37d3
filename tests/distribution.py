"""How `--dist loadgroup` distributes tests among processes, in place of xdist's own way.

xdist appends a group's name to a test's id, which pytest 9.2 makes from other parts: groups have no effect. Here a
process that has collected the tests notes each one's scope in a file, and the process that distributes them reads it.
"""

import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

RAY = "ray"
_NOTE = pytest.StashKey[Path]()


def scope_of(item: pytest.Item) -> str:
    """The tests of one scope run in one process, one after another.

    Those that start a Ray stay together: two would halve each other's cores, and they share a launch. The slow ones
    do not, which would make one process run nearly all of them. Whoever shares a fixture of a file stays together,
    too; the other tests are on their own.
    """
    starts_ray = any(item.get_closest_marker(name) for name in ("ray", "cluster"))
    if starts_ray and (not item.get_closest_marker("slow") or "launched" in getattr(item, "fixturenames", ())):
        return RAY
    return item.nodeid.split("::")[0] if _has_fixtures(item.path) else item.nodeid


@cache
def _has_fixtures(file: Path) -> bool:
    return 'scope="module"' in file.read_text()


def note(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a process that runs tests: put the longest scope first, the single tests last, and note the scopes."""
    if (file := getattr(config, "workerinput", {}).get("scopes")) is None:
        return
    scopes = {item.nodeid: scope_of(item) for item in items}
    items.sort(key=lambda item: (scopes[item.nodeid] != RAY, scopes[item.nodeid] == item.nodeid))
    part = Path(f"{file}.{os.getpid()}")
    part.write_text(json.dumps(scopes))
    part.replace(file)


class Scheduler(LoadScopeScheduling):
    """Distributes scopes in the order in which they were noted."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False
        self._scopes: dict[str, str] | None = None
        self._note = config.stash[_NOTE]

    def _split_scope(self, nodeid: str) -> str:
        if self._scopes is None:  # asked for the first time when every process has collected
            self._scopes = json.loads(self._note.read_text())
        return self._scopes[nodeid]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    if node.config.getvalue("dist") == "loadgroup":
        if _NOTE not in node.config.stash:
            folder = tempfile.TemporaryDirectory()
            node.config.add_cleanup(folder.cleanup)
            node.config.stash[_NOTE] = Path(folder.name) / "scopes.json"
        node.workerinput["scopes"] = str(node.config.stash[_NOTE])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler | None:
    return Scheduler(config, log) if config.getvalue("dist") == "loadgroup" else None
