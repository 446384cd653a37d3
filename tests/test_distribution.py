"""How these tests are distributed among processes: those that start a Ray run in one, whatever pytest and xdist do."""

import os
import subprocess
import sys
from pathlib import Path

from patience import PATIENCE

CONFTEST = """
import distribution
from distribution import pytest_configure_node, pytest_xdist_make_scheduler

def pytest_collection_modifyitems(config, items):
    distribution.note(config, items)
"""
TESTS = """
import os
from pathlib import Path

import pytest

@pytest.fixture(autouse=True)
def told(request):
    file = Path(os.environ["PLACE"]) / f"{request.node.module.__name__}.{request.node.originalname}"
    with file.open("a") as workers:
        workers.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")

@pytest.mark.ray
@pytest.mark.parametrize("which", ["a@b", "c[d]", "e::f"])
def test_ray(which): ...

@pytest.mark.parametrize("which", range(9))
def test_other(which): ...
"""
SHARES = '\n@pytest.fixture(scope="module")\ndef shared(): ...\n'


def test_what_starts_a_ray_and_what_shares_a_fixture_stays_together(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = ray\n")
    for name, text in (("test_a", TESTS), ("test_b", TESTS + SHARES)):
        (tmp_path / f"{name}.py").write_text(text)
    (place := tmp_path / "place").mkdir()
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--numprocesses", "2", "--dist", "loadgroup", "-p", "no:hypothesispytest"],
        cwd=tmp_path,
        env={**outside, "PLACE": str(place), "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "24 passed" in done.stdout, done.stdout + done.stderr
    workers = {file.name: set(file.read_text().split()) for file in place.iterdir()}
    assert len(workers["test_a.test_ray"] | workers["test_b.test_ray"]) == 1
    assert len(workers["test_b.test_other"]) == 1
    assert set.union(*workers.values()) == {"gw0", "gw1"}
