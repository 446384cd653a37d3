"""How often the verdict is wrong: simulated variants whose true accuracies are known, judged as real ones are.

`python benchmarks/verdict.py [--repetitions 4000] [--json]`. Each row is one setting, with its limit where
docs/verdict.md promises one. The exit code is 1 where a promise is broken by more than chance.
"""

import sys

from verdict_common import report
from verdict_settings import EXPERIMENTS

if __name__ == "__main__":
    sys.exit(report(__doc__ or "", EXPERIMENTS, repetitions=4000))
