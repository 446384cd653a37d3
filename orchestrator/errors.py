"""The one error tree: every error that a user can see, and its exit code.

OrchestratorError                exit code 1
├── RequestError                 exit code 2: the request was invalid, nothing was started
│   ├── ExperimentError          an experiment file or an override; lists every problem at once
│   ├── VariantError             no such architecture, or it does not fit the data
│   ├── ContractError            a variant breaks the experiment's contract
│   ├── DataError                a dataset is missing, damaged or mislabelled; names the file
│   ├── AugmentationError        an augmentation pipeline that cannot be built
│   ├── ResourceError            the machine or cluster can never give what a trial asks for
│   └── StorageError             a folder or a tracking store that cannot be used
├── TrialError                   one trial failed; the others continue
│   ├── DivergedError            a loss or an output is not a finite number; says where
│   └── CheckpointError          a checkpoint that cannot be read or belongs to another trial
├── DiskFullError                the disk is full; existing files are intact
├── TrackingError                MLflow rejected or lost something
└── InterruptedLaunchError       exit code 130: interrupted; says how to resume
"""

from collections.abc import Sequence

from orchestrator.text import counted


class OrchestratorError(Exception):
    """The root of everything that this project raises on purpose. Its text is written for users."""

    exit_code = 1


class RequestError(OrchestratorError):
    """The request was invalid: nothing was started and nothing was changed."""

    exit_code = 2


class ExperimentError(RequestError):
    """An experiment file that cannot be used; ``problems`` holds every problem found, one line each."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        heading = f"{source}: {counted(len(self.problems), 'problem')}"
        super().__init__("\n".join([heading, *(f"  - {problem}" for problem in self.problems)]))

    def __reduce__(self) -> tuple[type["ExperimentError"], tuple[str, tuple[str, ...]]]:
        return type(self), (self.source, self.problems)


class VariantError(RequestError):
    """No such architecture, or an architecture that does not fit the data it is given."""


class ContractError(RequestError):
    """A variant breaks the experiment's contract; the text has its figures."""


class DataError(RequestError):
    """A dataset is missing, truncated, mislabelled or otherwise invalid; the text names the file."""


class AugmentationError(RequestError):
    """An augmentation pipeline that cannot be built: an unknown transform or an unknown argument."""


class ResourceError(RequestError):
    """A trial requests more than any node of the machine or cluster has: it would wait forever."""


class StorageError(RequestError):
    """A folder that cannot be written, or a tracking store that cannot be used."""


class TrialError(OrchestratorError):
    """One trial failed. The other trials of its launch continue."""


class DivergedError(TrialError):
    """A loss, or an output of the network, is not a finite number; ``where`` names the epoch and the step or split."""

    def __init__(self, what: str, where: str) -> None:
        self.what, self.where = what, where
        super().__init__(f"{what} at {where}; lower the learning rate, clip gradients or use precision float32")

    def __reduce__(self) -> tuple[type["DivergedError"], tuple[str, str]]:
        return type(self), (self.what, self.where)


class CheckpointError(TrialError):
    """A checkpoint that cannot be read, is damaged, or belongs to another trial."""


class DiskFullError(OrchestratorError):
    """A file could not be written because the disk is full. The file that it was to replace is unchanged."""


class TrackingError(OrchestratorError):
    """MLflow rejected a record or could not be reached."""


class InterruptedLaunchError(OrchestratorError):
    """The launch was interrupted; finished work is kept and the text says how to resume."""

    exit_code = 130
