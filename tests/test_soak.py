"""The soak in small: what a launch by ASHA leaves whose workers, driver and raylet are killed again and again."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

SOAK = Path(__file__).parent.parent / "benchmarks" / "soak.py"


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(13_000)  # seconds, for what waits ten times as long as usual
def test_a_launch_killed_again_and_again_decides_and_trains_as_one_that_was_not(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**31)
    print(f"seed {seed}")  # pytest shows it of a test that fails
    command = [sys.executable, str(SOAK), "--json", "--kills", "8", "--each", "8", "--seed", str(seed)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=10 * PATIENCE)
    assert ran.stdout, ran.stderr
    verdict = json.loads(ran.stdout)
    assert verdict["seed"] == seed
    assert sum(verdict["kills"].values()) == 8, ran.stderr
    assert verdict["differences"] == []
