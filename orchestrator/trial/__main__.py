"""``python -m orchestrator.trial spec.json``: one trial on a box that has only torch."""

import argparse
import json
import sys
from pathlib import Path

from orchestrator.data import load_dataset
from orchestrator.errors import OrchestratorError, StorageError
from orchestrator.spec import TrialSpec
from orchestrator.trial.run import run_trial


def main(arguments: list[str] | None = None) -> int:
    """Run the trial of a spec.json, print one JSON line a record; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.trial", description=__doc__)
    parser.add_argument("spec", type=Path, help="a trial's specification, as found in every trial folder")
    parser.add_argument("--out", type=Path, default=Path("trial"), help="the trial folder (default: ./trial)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where datasets lie (default: ./data)")
    options = parser.parse_args(arguments)
    try:
        spec = _read(options.spec)
        dataset = load_dataset(spec.dataset, options.data_dir)
        if spec.dataset_digest and dataset.digest != spec.dataset_digest:
            raise StorageError(f"{options.spec} was made for other data: the digest of {dataset.name} differs")
        for record in run_trial(spec, dataset, options.out):
            print(json.dumps(record.to_json()), flush=True)
    except OrchestratorError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print(f"interrupted; the same command resumes from {options.out}", file=sys.stderr)
        return 130
    return 0


def _read(path: Path) -> TrialSpec:
    try:
        return TrialSpec.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as problem:
        raise StorageError(f"{path}: cannot be read: {problem.strerror}") from problem
    except (ValueError, RecursionError) as problem:  # not JSON, not UTF-8, or not a specification
        raise StorageError(f"{path}: not a trial's specification: {problem}") from problem


if __name__ == "__main__":
    sys.exit(main())
