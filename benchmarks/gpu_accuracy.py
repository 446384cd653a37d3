"""Parts of the GPU benchmark that train on real CIFAR-10: a shared recipe, the published ones, and how fast 85 % is.

Recipes are chosen by validation accuracy alone; the test split is read once a trial, with the weights so chosen, and
for the published protocol every epoch, as the reports did.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from gpu_common import LIGHT, NO_TIME, Setting, recipe, spec
from gpu_workers import train, train_all

from orchestrator.spec import Optimizer, Recipe, TrialSpec
from orchestrator.spec.fields import from_json
from orchestrator.training import checkpoint
from orchestrator.trial import TrialFolder

PUBLISHED_BEST = {
    "stride": 0.8636,
    "grouped_concat": 0.8641,
    "dilated_separable": 0.8539,
    "dilated_stride": 0.8567,
    "depthwise_stride": 0.8662,
}
ALLOWED = {  # at most half of the epochs that each report took
    "stride": 25,
    "grouped_concat": 40,
    "dilated_separable": 40,
    "dilated_stride": 40,
    "depthwise_stride": 30,
}
TRIED_WITH = ("dilated_separable", "stride")  # the one that learned least and the one with the fewest epochs
CROPS = (
    {"HorizontalFlip": {"p": 0.5}},
    {"PadIfNeeded": {"min_height": 40, "min_width": 40, "border_mode": 4}},
    {"RandomCrop": {"height": 32, "width": 32}},
)
HEAVY = (
    {"HorizontalFlip": {"p": 0.5}},
    {"ShiftScaleRotate": {"shift_limit": 0.125, "scale_limit": 0.1, "rotate_limit": 15, "p": 0.5}},
    {
        **LIGHT[2],
        "CoarseDropout": {**LIGHT[2]["CoarseDropout"], "hole_height_range": [16, 16], "hole_width_range": [16, 16]},
    },
)


def muon(lr: float, decay: float) -> Optimizer:
    """Muon as the experiment file has it, with another rate and decay."""
    return Optimizer(name="muon", lr=lr, momentum=0.95, beta2=0.95, weight_decay=decay)


def sgd(lr: float) -> Optimizer:
    """SGD with Nesterov momentum; biases and normalisation do not decay."""
    return Optimizer(name="sgd", lr=lr, nesterov=True, decay_vectors=False)


CANDIDATES: dict[str, dict[str, Any]] = {
    "muon 0.01, decay 0.1": {"optimizer": muon(0.01, 0.1)},
    "muon 0.02, decay 0.1": {"optimizer": muon(0.02, 0.1)},
    "muon 0.01, decay 0.1, crops": {"optimizer": muon(0.01, 0.1), "augmentation": CROPS},
    "muon 0.005, decay 0.1": {"optimizer": muon(0.005, 0.1)},
    "muon 0.02, decay 0.02": {"optimizer": muon(0.02, 0.02)},
    "sgd 0.4": {"optimizer": sgd(0.4)},
}
TRIED_FOR = 20  # epochs


def candidate(setting: Setting, name: str, variant: str, **changes: Any) -> Recipe:
    """One of the candidates as a recipe, with as many epochs as the variant may have."""
    epochs = 1 if setting.smoke else ALLOWED[variant]
    return recipe(setting.device, **{"epochs": epochs, **CANDIDATES[name], **changes})


def recipes(setting: Setting) -> dict[str, Any]:
    """Every candidate with two of the variants, one seed, the test split untouched; the best by validation."""
    names, variants = (
        list(CANDIDATES)[: 1 if setting.smoke else None],
        setting.variants if setting.smoke else TRIED_WITH,
    )
    epochs = 1 if setting.smoke else TRIED_FOR
    trials = [(n, spec(v, candidate(setting, n, v, epochs=epochs))) for n in names for v in variants]
    found = train_all(setting, trials, "recipes", measure=False, seconds=0.25 * setting.left())
    by_recipe: dict[str, dict[str, float]] = {}
    for row in found:
        if "best" in row:
            by_recipe.setdefault(row["recipe"], {})[row["variant"]] = row["best"]
    complete = {n: by for n, by in by_recipe.items() if len(by) == len(variants)}
    # By the variant that is worst off beside its published best: one recipe is to serve all.
    margins = {n: min(by[v] - PUBLISHED_BEST[v] for v in by) for n, by in complete.items()}
    chosen = max(margins, key=lambda n: margins[n]) if margins else next(iter(CANDIDATES))
    (setting.out / "chosen.json").write_text(json.dumps(chosen))
    return {"chosen": chosen, "margins": margins, "by_recipe": by_recipe, "trials": found}


def chosen(setting: Setting) -> str:
    """The recipe that `recipes` has chosen."""
    return str(json.loads((setting.out / "chosen.json").read_text()))


def shared(setting: Setting) -> list[dict[str, Any]]:
    """The chosen recipe, all variants, three seeds; the weights chosen by validation are kept in one file."""
    name = chosen(setting)
    order = sorted(setting.variants, key=lambda v: -ALLOWED[v])
    trials = [(name, spec(v, candidate(setting, name, v), seed)) for seed in (0, 1, 2) for v in order]
    found = train_all(setting, trials, "shared", measure=True)
    folders = {f"{row['variant']}/seed-{row['seed']}": Path(row["folder"]) for row in found if "folder" in row}
    weights = {name: checkpoint.load(TrialFolder(folder).best)["network"] for name, folder in folders.items()}
    torch.save(weights, setting.out / "weights.pt")
    return found


def long(setting: Setting) -> list[dict[str, Any]]:
    """Many epochs under heavier augmentation, the chosen optimiser; three seeds of the two most promising variants."""
    name, rows = chosen(setting), json.loads((setting.out / "shared.json").read_text())
    means = {v: [r["best"] for r in rows if r.get("variant") == v and "best" in r] for v in setting.variants}
    best = sorted(means, key=lambda v: -sum(means[v]) / max(len(means[v]), 1))[:2]
    settings = candidate(setting, name, best[0], epochs=1 if setting.smoke else 150, augmentation=HEAVY)
    trials = [(f"{name}, long", spec(v, settings, seed)) for v in best for seed in (0, 1, 2)]
    return train_all(setting, trials, "long", measure=True)


def published(setting: Setting) -> list[dict[str, Any]]:
    """The reports' own recipes and protocol, three seeds each; those of most steps first."""
    import yaml

    folder = Path(__file__).parent.parent / "experiments" / "published"
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        tree = yaml.safe_load(file.read_text())
        settings = from_json(Recipe, tree["trainer"])
        epochs = 1 if setting.smoke else settings.epochs
        settings = replace(settings, device=setting.device, threads=1, epochs=epochs)  # type: ignore[arg-type]
        found[tree["variants"][0]] = settings
    order = sorted((v for v in found if v in setting.variants), key=lambda v: -found[v].epochs / found[v].batch_size)
    trials = [("published", spec(v, found[v], seed)) for v in order for seed in (0, 1, 2)]
    return train_all(setting, trials, "published", measure=True)


def target(setting: Setting) -> list[dict[str, Any]]:
    """Seconds from the start of a process to a measured test accuracy: imports, data, recording, training, test."""
    found: list[dict[str, Any]] = []
    name = chosen(setting)
    for variant in ["grouped_concat"]:
        for epochs in (8, 12):
            settings = candidate(setting, name, variant, epochs=1 if setting.smoke else epochs)
            trial = setting.out / f"target-{variant}-{epochs}.json"
            trial.write_text(json.dumps(spec(variant, settings).to_json()))
            if setting.left() < 0:
                found.append({"of_epochs": epochs, "failed": NO_TIME})
                continue
            started = time.perf_counter()
            ended = subprocess.run(
                [sys.executable, __file__, str(trial), str(setting.data)], capture_output=True, text=True, timeout=60
            )
            result = json.loads(ended.stdout) if ended.returncode == 0 else {"failed": ended.stderr[-500:]}
            result.pop("epochs", None)
            found.append({"seconds_in_all": round(time.perf_counter() - started, 2), "of_epochs": epochs, **result})
    return found


if __name__ == "__main__":  # one trial in a process of its own, for `target`
    trial_file, data_file = map(Path, sys.argv[1:])
    given = TrialSpec.from_json(json.loads(trial_file.read_text()))
    with tempfile.TemporaryDirectory(prefix="target-") as made:
        print(json.dumps(train(given, data_file, Path(made) / "trial", measure=True)))
