"""A sweep of 100 trivial trials as a process, ours against plain Ray Tune's. Run: python benchmarks/sweep.py.

Ours is `orchestrator run` with everything it does: contract, checkpoints, MLflow, a verdict, the report and the model
of the chosen sample. Theirs is Ray Tune with reuse_actors and its MLflowLoggerCallback, which keeps no weights.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from common import Comparison, arguments, interleaved, report
from launches import our_run, plain_run, trivial_experiment

MAY_TAKE = 0.8  # times as long as plain Ray Tune, at most
DRIVER_MAY_TAKE = 0.25  # processor seconds a trial
TRIALS = 100


def main() -> int:
    """Both sides in turn; the driver's share of a trial is what 100 take beyond what one takes."""
    flags = arguments(__doc__ or "", repeats=3)
    worked: list[float] = []
    with tempfile.TemporaryDirectory(prefix="sweep-") as name:
        folder = Path(name)
        one, many = trivial_experiment(folder, 1), trivial_experiment(folder, TRIALS)

        def ours() -> float:
            seconds, driver = our_run(many, folder / "ours")
            worked.append(driver)
            return seconds

        sides = interleaved(ours, lambda: plain_run(TRIALS, folder / "theirs"), flags.repeats)
        alone = statistics.median(our_run(one, folder / "ours")[1] for _ in range(flags.repeats))
    share = (statistics.median(worked) - alone) / (TRIALS - 1)
    return report(
        "sweep",
        [Comparison(f"{TRIALS} trivial trials", *sides, "seconds", 1 / MAY_TAKE)],
        as_json=flags.json,
        remarks={f"the driver's processor seconds a trial (at most {DRIVER_MAY_TAKE:g})": f"{share:.3f}"},
        holds=share <= DRIVER_MAY_TAKE,
    )


if __name__ == "__main__":
    sys.exit(main())
