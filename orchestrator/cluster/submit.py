"""Submit a job, or join the one that already runs the same submission."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.cluster.job import COMPLETE, Job, attempts, job_name, next_name
from orchestrator.cluster.jobs import Jobs
from orchestrator.cluster.working_dir import WorkingDir
from orchestrator.errors import ResourceError
from orchestrator.text import counted

TRIES = 5  # job names in a row that others may take while we submit
_ENDED = {1: "has failed trials", 2: "was rejected there", 130: "was stopped"}  # by exit code


@dataclass(frozen=True)
class Submission:
    """What a job is to do; everything that can be checked without the cluster has been."""

    experiment: str  # its name
    trials: int  # number of trials
    arguments: tuple[str, ...]  # of `orchestrator run`
    working_dir: WorkingDir
    folder: str  # in the working directory: where the user stood
    command: str  # that submits the same again
    digest: str  # of the settings, the locations and what is uploaded


def submit(
    jobs: Jobs, submission: Submission, log: Callable[[str], None], *, again: bool = False, quiet: bool = False
) -> tuple[Job, bool]:
    """The job of ``submission``, and whether this call started it; with ``again`` a complete one is started anew.

    Raises ResourceError if the cluster does not accept it, or if another job of the same experiment has not ended: both
    would train one launch, unless ``again`` begins a launch of its own.
    """
    base = job_name(submission.experiment, submission.digest)
    for _ in range(TRIES):
        existing = jobs.all()
        earlier = attempts(base, existing)
        if earlier and (not earlier[-1].has_ended or (earlier[-1].status == COMPLETE and not again)):
            return earlier[-1], False
        name = next_name(base, existing)
        for other in existing:
            if not other.has_ended and other.metadata.get("experiment") == submission.experiment:
                running = f"job {other.id} runs {submission.experiment} with other settings or files"
                if not again:
                    raise ResourceError(
                        f"{running}, and two jobs must not train one launch; wait until it has ended, or stop it: "
                        f"orchestrator stop {other.id} (for a launch of its own beside it: --again)"
                    )
                log(running)
        if earlier and not again:
            log(f"job {earlier[-1].id} ran this experiment and {_ENDED[earlier[-1].exit_code]}; {name} resumes it")
        flags = [*(["--quiet"] if quiet else []), *(["--again"] if again else [])]
        if _start(jobs, name, submission, flags):
            total = sum(submission.working_dir.files.values())
            sent = f"{counted(len(submission.working_dir.files), 'file')}, {total / 1e3:,.1f} kB, uploaded"
            log(f"job {name} submitted to {jobs.address}: {counted(submission.trials, 'trial')}; {sent}")
            started = jobs.find(name)
            if started is None:
                raise ResourceError(f"{jobs.address} has lost job {name}; was the cluster replaced?")
            return started, True
        again = False  # somebody else submitted the same at the same moment: join that job
    raise ResourceError(f"{jobs.address}: the names of job {base} and its successors are taken; try again")


def _start(jobs: Jobs, name: str, submission: Submission, flags: Sequence[str]) -> bool:
    run = ["orchestrator", "run", *submission.arguments, "--address", "auto", "--events", *flags]
    entrypoint = f"cd {shlex.quote(submission.folder)} && exec {shlex.join(run)}"
    metadata = {
        "experiment": submission.experiment,
        "trials": str(submission.trials),
        "command": submission.command,
    }
    folder = submission.working_dir.folder
    return jobs.submit(name, entrypoint, metadata, folder, submission.working_dir.excludes)
