"""How long commands take that ought to take no time, against what they cannot do without: benchmarks/startup.py.

`validate` of the quick start against importing torch, `compare` of a finished launch against importing MLflow, and
`run` of one trivial trial, everything included, against a plain script: ray.init, one Tune trial, MLflowLoggerCallback
and a fresh SQLite store. All are processes of their own.
"""

import sys
import tempfile
from pathlib import Path

from common import Comparison, arguments, interleaved, report
from launches import our_run, plain_run, seconds_of_process, trivial_experiment

# Times as long as the other side's, at most.
VALIDATE_MAY_TAKE, COMPARE_MAY_TAKE, RUN_MAY_TAKE = 2.0, 1.5, 0.6
QUICKSTART = Path(__file__).parent.parent / "experiments" / "quickstart.yaml"


def main() -> int:
    """Three pairs, each in turn."""
    flags = arguments(__doc__ or "", repeats=5)
    ours = [sys.executable, "-m", "orchestrator"]
    with tempfile.TemporaryDirectory(prefix="startup-") as name:
        folder = Path(name)
        experiment = trivial_experiment(folder, 1)

        def timed(*command: str) -> float:
            return seconds_of_process(list(command), folder)

        validate = interleaved(
            lambda: timed(*ours, "validate", str(QUICKSTART)),
            lambda: timed(sys.executable, "-c", "import torch"),
            flags.repeats,
        )
        run = interleaved(
            lambda: our_run(experiment, folder / "ours")[0],
            lambda: plain_run(1, folder / "theirs"),
            flags.repeats,
        )
        store = f"sqlite:///{folder / 'ours' / 'mlflow.db'}"
        compare = interleaved(
            lambda: timed(*ours, "compare", "trivial", "--tracking-uri", store),
            lambda: timed(sys.executable, "-c", "import mlflow"),
            flags.repeats,
        )
    return report(
        "startup",
        [
            Comparison("validate, against importing torch", *validate, "seconds", 1 / VALIDATE_MAY_TAKE),
            Comparison("compare, against importing mlflow", *compare, "seconds", 1 / COMPARE_MAY_TAKE),
            Comparison("run of one trivial trial, against plain Tune", *run, "seconds", 1 / RUN_MAY_TAKE),
        ],
        as_json=flags.json,
    )


if __name__ == "__main__":
    sys.exit(main())
