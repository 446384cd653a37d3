"""How often the verdict is wrong: simulated variants whose true accuracies are known, judged as real ones are.

`python benchmarks/verdict.py [--repetitions 4000] [--json]`. Each row is one setting, with its limit where
docs/verdict.md promises one. The exit code is 1 where a promise is broken by more than chance.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict

import numpy as np
from verdict_settings import EXPERIMENTS


def main() -> int:
    """Run every experiment with its own fixed seed and print a table of what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=4000, help="of each setting; some take a part of it")
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS))
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    rows, started = [], time.perf_counter()
    for name in asked.only:
        stream = np.random.default_rng([2026, list(EXPERIMENTS).index(name)])
        for row in EXPERIMENTS[name](asked.repetitions, stream):
            rows.append(row)
            if not asked.json:
                limit = row.at_most if row.at_most is not None else row.at_least
                word = (
                    ""
                    if limit is None
                    else f"{'at most' if row.at_most is not None else 'at least'} {100 * limit:.2g} %"
                )
                print(
                    f"{row.experiment:17} {row.setting:42} {row.figure:42} {100 * row.found:6.2f} %  n = {row.times:6,}"
                    f"  {word:14} {'' if limit is None else 'holds' if row.holds else 'BROKEN'}",
                    flush=True,
                )
    held = all(row.holds for row in rows)
    if asked.json:
        json.dump({"holds": held, "rows": [asdict(row) for row in rows]}, sys.stdout, indent=1)
    else:
        print(f"{'every promise holds' if held else 'a promise is BROKEN'}; {time.perf_counter() - started:.0f} s")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
