"""The CUDA path measured on one GPU, part by part. Run: python benchmarks/gpu.py --out FOLDER --minutes 5.

Needs torch and albumentations with its dependencies; the package is that of this checkout and need not be installed.
The results so far are in FOLDER/gpu.json after every part; a part that fails or runs out of time leaves its reason
there and the next one starts. Exits with 1 if anything has failed, was left out for lack of time, was computed that
should be recorded, or is unequal that should be equal.
``--device cpu --smoke`` runs everything small, to see that the script itself works.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gpu_accuracy import long, published, recipes, shared, target
from gpu_common import NO_TIME, Setting
from gpu_equality import equality, networks
from gpu_packing import packing
from gpu_speed import against_published, compiled, other_modes, speed, waiting
from gpu_workers import end_workers

PARTS: dict[str, Callable[[Setting], Any]] = {
    "equality": equality,
    "networks": networks,
    "speed": speed,
    "waiting": waiting,
    "other_modes": other_modes,
    "packing": packing,
    "against_published": against_published,
    "compiled": compiled,
    "recipes": recipes,
    "shared": shared,
    "target": target,
    "long": long,
    "published": published,
}
WITHOUT_DATA = ("equality", "networks", "speed", "waiting", "other_modes", "packing", "against_published", "compiled")


def machine(device: str) -> dict[str, Any]:
    """The card, its driver and the versions."""
    found: dict[str, Any] = {"torch": torch.__version__, "python": sys.version.split()[0], "device": device}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "memory": properties.total_memory, "cudnn": torch.backends.cudnn.version()}
        found["cuda"] = torch.version.cuda
        asked = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,power.limit,compute_mode", "--format=csv,noheader"]
        if shutil.which(asked[0]):
            answer = subprocess.run(asked, capture_output=True, text=True)
            found["driver, clock, power limit, mode"] = answer.stdout.strip()
    return found


def has_failed(result: object) -> bool:
    """Whether a part says, at any depth, that something failed or is unequal."""
    if isinstance(result, dict):
        return any(bool(result.get(key)) for key in ("failed", "unequal")) or any(map(has_failed, result.values()))
    return isinstance(result, list) and any(map(has_failed, result))


def main() -> int:
    """Run the parts in order until the time is up; what still trains then ends with them."""
    try:
        return run_parts()
    finally:
        end_workers()


def run_parts() -> int:
    """Each of them in turn, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of gpu.json")
    parser.add_argument("--minutes", type=float, default=5.0, help="after which no part goes on")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--smoke", action="store_true", help="everything small")
    parser.add_argument("--data", type=Path, help="CIFAR-10 as a packed .pt file, for the parts that train")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), help="only these, in this order")
    parser.add_argument("--workers", type=int, default=6, help="trials side by side, in the parts that train")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * flags.minutes
    setting = Setting(flags.device, flags.smoke, deadline, flags.data, flags.workers, flags.out)
    results: dict[str, Any] = {"machine": machine(flags.device)}
    for name in flags.parts or [part for part in PARTS if flags.data or part in WITHOUT_DATA]:
        started = time.monotonic()
        try:
            result = PARTS[name](setting) if setting.left() > 0 else {"failed": NO_TIME}
        except Exception as problem:  # a part's boundary: the others still run
            result = {"failed": repr(problem)[:500], "traceback": traceback.format_exc()[-3000:]}
        results[name] = {"seconds": round(time.monotonic() - started, 1), "result": result}
        partial = flags.out / "gpu.json.partial"
        partial.write_text(json.dumps(results, indent=1, default=str))
        partial.replace(flags.out / "gpu.json")
        print(name, json.dumps(results[name], default=str)[:3000], flush=True)
    return int(has_failed(results))


if __name__ == "__main__":
    sys.exit(main())
