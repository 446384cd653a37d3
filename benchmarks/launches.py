"""What `startup.py` and `sweep.py` share: launches of trivial trials as processes, ours and plain Ray Tune's, timed."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Our command in this process, which then says how long its processor worked.
OURS = """
import sys, time
from orchestrator.cli import main
try:
    main(sys.argv[2:])
finally:
    open(sys.argv[1], "w").write(str(time.process_time()))
"""


def trivial_experiment(folder: Path, trials: int) -> Path:
    """An experiment file for so many trials of one epoch of the handwritten digits, with a network of 20 parameters."""
    file = folder / f"trivial-{trials}.yaml"
    tree: dict[str, Any] = {
        "name": "trivial",
        "variants": [f"{Path(__file__).with_name('trivial.py')}:Trivial"],
        "trainer": {"epochs": 1, "batch_size": 32},
    }
    if trials > 1:
        space = {"trainer.optimizer.lr": {"loguniform": [0.01, 0.1]}}
        tree["search"] = {"samples": trials, "space": space}
    file.write_text(json.dumps(tree))  # JSON is YAML
    return file


def seconds_of_process(command: list[str], folder: Path) -> float:
    """Wall seconds of a process that must succeed; what it says is kept in a file, and shown if it fails."""
    log = folder / "log.txt"
    started = time.perf_counter()
    with log.open("w") as written:
        code = subprocess.run(command, cwd=folder, stdout=written, stderr=subprocess.STDOUT, check=False).returncode
    seconds = time.perf_counter() - started
    if code != 0:
        raise SystemExit(f"{command} ended with exit code {code}:\n{log.read_text()[-3000:]}")
    return seconds


def our_run(experiment: Path, folder: Path) -> tuple[float, float]:
    """Wall seconds of `orchestrator run` in a fresh ``folder``, and processor seconds of the driver alone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    driver = folder / "driver.txt"
    seconds = seconds_of_process([sys.executable, "-c", OURS, str(driver), "run", str(experiment)], folder)
    return seconds, float(driver.read_text())


def plain_run(trials: int, folder: Path) -> float:
    """Wall seconds of plain Ray Tune in a fresh ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    script = Path(__file__).with_name("plain_tune.py")
    return seconds_of_process([sys.executable, str(script), str(folder), str(trials)], folder)
