"""One trial: its specification, its epochs, its network with the chosen weights, and its figures."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RequestError
from orchestrator.records import PREDICTIONS, Record, Status

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image
    from torch import nn

    from orchestrator.spec import TrialSpec
    from orchestrator.trial import TrialFolder


class Trial:
    """The files of one trial, in a local folder or among MLflow's artifacts, which are fetched when needed.

    ``run_id`` is None for a trial that is not in MLflow.
    """

    def __init__(self, name: str, *, folder: Path | None = None, run_id: str | None = None, client: Any = None) -> None:
        self.name = name
        self.run_id = run_id
        self._client = client
        self._given = folder

    @cached_property
    def folder(self) -> Path:
        """The folder of the trial; MLflow's artifacts are fetched into one that this process removes at exit.

        Raises RequestError if it cannot be fetched.
        """
        if self._given is not None:
            return self._given
        from orchestrator.tracking.artifacts import artifacts_of
        from orchestrator.tracking.mlflow_settings import import_mlflow, mlflow_settings_ended

        place = _fetched() / str(self.run_id)
        place.mkdir(exist_ok=True)
        try:
            with mlflow_settings_ended():
                import_mlflow()
                artifacts_of(self._client, self._client.get_run(self.run_id)).download_artifacts("", str(place))
        except Exception as problem:  # whatever an artifact store raises
            raise RequestError(f"{self.name}: its artifacts cannot be fetched: {problem}") from problem
        return place

    def __getstate__(self) -> dict[str, Any]:
        """Without the folder of fetched files, which does not outlive this process."""
        return {name: value for name, value in vars(self).items() if name != "folder"}

    @property
    def _files(self) -> "TrialFolder":
        from orchestrator.trial import TrialFolder

        files = TrialFolder(self.folder)
        if not (self.folder / "spec.json").exists():
            raise RequestError(f"{self.name} has no files yet, because it has not ended")
        return files

    @property
    def spec(self) -> "TrialSpec":
        """The complete specification."""
        return self._files.spec()

    @property
    def status(self) -> Status | None:
        """How the trial ended; None if it has not."""
        outcome = self._files.outcome()
        return None if outcome is None else outcome.status

    def epochs(self) -> "pd.DataFrame":
        """One row per epoch, with all of its metrics; accuracies are fractions."""
        return epochs_table(self._files.records())

    def predictions(self) -> "pd.DataFrame":
        """One row per test image: its number, its class and the predicted class, as numbers.

        Raises RequestError if the trial was not evaluated on the test split.
        """
        import pandas as pd

        file = self.folder / PREDICTIONS
        if not file.exists():
            raise RequestError(f"{self.name} was not evaluated on the test split, so it has no predictions")
        table = pd.read_csv(file)
        table.insert(0, "image", range(len(table)))
        return table

    def model(self) -> "nn.Module":
        """The network with the chosen weights, in evaluation mode on the CPU.

        It takes normalised images, (N, channels, height, width) float32: ``facts()["normalisation"]`` has the mean and
        standard deviation per channel, of images from 0 to 1. Raises RequestError if no weights were saved, or if the
        network's source has changed since it was trained.
        """
        facts = self.facts()
        if "classes" not in facts:
            raise RequestError(f"{self.name} has not trained, or with an earlier version: its model is unknown")
        from orchestrator.workflow.apart import apart

        channels, height, width = facts["shape"]
        with apart():
            network = self._files.network(facts["classes"], (channels, height, width))
        if network is None:
            raise RequestError(f"{self.name} has no saved weights")
        return network

    def facts(self) -> dict[str, Any]:
        """What is known before training: parameters, normalisation, image shape, number of classes, machine."""
        return self._files.facts()

    def figure(self, name: str) -> "Image":
        """A figure of the trial's report, as an image. Raises RequestError that lists the existing ones."""
        from PIL import Image

        file = self.folder / "figures" / f"{name}.png"
        if not file.is_file():
            there = sorted(path.stem for path in file.parent.glob("*.png"))
            raise RequestError(f"{self.name} has no figure {name!r}; it has: {', '.join(there) or 'none'}")
        with Image.open(file) as image:
            return image.copy()

    def __repr__(self) -> str:
        return f"Trial({self.name!r})"


@cache
def _fetched() -> Path:
    """The folder of fetched artifacts; removed when this process ends."""
    folder = tempfile.mkdtemp(prefix="orchestrator-trials-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def epochs_table(records: Sequence[Record]) -> "pd.DataFrame":
    """One row per epoch, in order, without the final evaluation."""
    import pandas as pd

    return pd.DataFrame([{"epoch": record.epoch, **record.metrics} for record in records if not record.final])
