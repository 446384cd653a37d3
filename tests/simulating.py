"""What the tests of simulated launches share: an experiment with a search, curves of any shape, and the command."""

import sys
from collections.abc import Collection
from pathlib import Path

from click.testing import CliRunner, Result

from orchestrator.cli.main import cli
from orchestrator.simulation.curves import Curve, Curves, stream
from orchestrator.simulation.replay import Replayed, replay
from orchestrator.spec import Distribution, Experiment, Recipe, Scheduler, Search, TrialSpec, Variant

SEARCH = """
name: search
variants: [stride, grouped_concat]
trainer: {epochs: 9}
search: {samples: 9, space: {trainer.optimizer.lr: {loguniform: [0.001, 1.0]}}}
scheduler: {name: asha}
contract: {max_parameters: 10}
"""
NAMES = ("stride", "grouped_concat", "dilated_separable")
LR, DECAY = "trainer.optimizer.lr", "trainer.optimizer.weight_decay"


def searched(samples: int, epochs: int = 27, variants: Collection[str] = ("stride",), factor: int = 3) -> Experiment:
    """A random search under ASHA."""
    return Experiment(
        name="simulated",
        variants=tuple(Variant(name=name) for name in variants),
        trainer=Recipe(epochs=epochs),
        search=Search(
            samples=samples,
            space={LR: Distribution(loguniform=(0.001, 1.0)), DECAY: Distribution(uniform=(0.0, 0.01))},
        ),
        scheduler=Scheduler(name="asha", reduction_factor=factor),
    )


class Jagged:
    """Curves without any order: each trial has a pace and a level of its own."""

    description = "jagged curves"
    notes = ()

    def curve(self, spec: TrialSpec) -> Curve:
        random = stream("jagged", spec.name)
        values = random.random(spec.trainer.epochs)
        values = (0.5 * values + 0.5 * random.random()).tolist()
        return Curve(values, values, 1.0 + float(random.random()), values[-1], values[-1])

    def best(self, spec: TrialSpec) -> None:
        return None


class Even(Jagged):
    """Every epoch takes every trial as long: all that happens happens at once."""

    def curve(self, spec: TrialSpec) -> Curve:
        curve = super().curve(spec)
        return Curve(curve.validation, curve.test, 1.0, curve.truth, curve.measurable)


def replayed(
    folder: Path,
    experiment: Experiment,
    curves: Curves,
    workers: int = 8,
    kills: Collection[int] = (),
) -> Replayed:
    """A replay with its logs in a new folder below ``folder``."""
    home = folder / f"{len(list(folder.iterdir()))}"
    home.mkdir()
    return replay(experiment, curves, workers, home, kills)


def asked(folder: Path, *arguments: str) -> Result:
    (folder / "x.yaml").write_text(SEARCH)
    return CliRunner().invoke(cli, ["simulate", str(folder / "x.yaml"), *arguments], env={"COLUMNS": "80"})


def command(folder: Path, *arguments: str) -> list[str]:
    (folder / "x.yaml").write_text(SEARCH)
    program = (
        "import sys, json, atexit\n"
        "heavy = ('torch', 'ray', 'mlflow', 'matplotlib', 'albumentations')\n"
        "atexit.register(lambda: print(json.dumps([x for x in heavy if x in sys.modules]), file=sys.stderr))\n"
        "from orchestrator.cli.main import main\n"
        f"main({['simulate', 'x.yaml', *arguments]!r})\n"
    )
    return [sys.executable, "-c", program]
