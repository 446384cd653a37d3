"""Processor seconds of `compare` on a launch of 5,000 recorded trials. Run: python benchmarks/reading.py.

Against MLflow's own `mlflow.search_runs` of the same runs, which makes a table of them and no comparison. One launch of
a search is recorded as always; the rest of its trials are copies of its first, made in the database itself.
"""

import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from common import Comparison, arguments, interleaved, report
from launches import our_run, trivial_experiment

TRIALS = 5_000
MAY_TAKE = 10.0  # processor seconds
THEIRS = """
import sys, warnings
warnings.simplefilter("ignore")
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
assert len(mlflow.search_runs(experiment_names=["trivial"], max_results=int(sys.argv[2]))) == int(sys.argv[2])
"""
COPIED = ("tags", "params", "metrics", "latest_metrics")  # tables with rows of each run


def multiply(database: Path, trials: int) -> None:
    """Copy the run of the search's first sample until the launch has so many trials."""
    with closing(sqlite3.connect(database)) as store:
        [(source,)] = store.execute("SELECT run_uuid FROM tags WHERE key = 'place' AND value LIKE '%.0.0.0'")
        [(found,)] = store.execute("SELECT count(*) FROM tags WHERE key = 'trial'")
        columns = {t: [row[1] for row in store.execute(f"PRAGMA table_info({t})")] for t in ("runs", *COPIED)}
        for number in range(found, trials):
            for table, names in columns.items():
                chosen = ", ".join("?" if name == "run_uuid" else f'"{name}"' for name in names)
                quoted = ", ".join(f'"{name}"' for name in names)
                store.execute(
                    f"INSERT INTO {table} ({quoted}) SELECT {chosen} FROM {table} WHERE run_uuid = ?",
                    (f"{number:032x}", source),
                )
            for table, key, value in (
                ("tags", "place", f"1.{number}.0.0"),
                ("tags", "trial", f"Trivial/seed-0/sample-{number}"),
                ("tags", "spec_hash", f"{number:064x}"),
                ("params", "sample", str(number)),
            ):
                store.execute(
                    f"UPDATE {table} SET value = ? WHERE key = ? AND run_uuid = ?", (value, key, f"{number:032x}")
                )
        store.commit()


def worked(command: list[str], folder: Path) -> float:
    """Processor seconds of a process and of those that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Both sides read one store, in turn."""
    flags = arguments(__doc__ or "", repeats=3)
    with tempfile.TemporaryDirectory(prefix="reading-") as name:
        folder = Path(name)
        our_run(trivial_experiment(folder, 2), folder / "ours")
        database = folder / "ours" / "mlflow.db"
        multiply(database, TRIALS)
        uri = f"sqlite:///{database}"
        compare = [sys.executable, "-m", "orchestrator", "compare", "trivial", "--tracking-uri", uri]
        search = [sys.executable, "-c", THEIRS, uri, str(TRIALS + 1)]  # the launch has a run of its own
        sides = interleaved(lambda: worked(compare, folder), lambda: worked(search, folder), flags.repeats)
    taken = statistics.median(sides[0])
    return report(
        "reading",
        [Comparison(f"{TRIALS} trials, against mlflow.search_runs", *sides, "processor seconds")],
        must_reach=1.0,
        as_json=flags.json,
        remarks={f"compare (at most {MAY_TAKE:g})": f"{taken:.1f} processor seconds"},
        holds=taken <= MAY_TAKE,
    )


if __name__ == "__main__":
    sys.exit(main())
