"""Submit a job: check and pack the experiment here, join its job or start one, then follow it."""

import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.cli.following import address_flags, print_result, watch
from orchestrator.cli.options import print_json
from orchestrator.cli.packed import Packed, pack
from orchestrator.cli.places import problems_of_places
from orchestrator.cli.reaching import reach, say
from orchestrator.cluster.jobs import COMPLETE, Job, Jobs, attempts, job_name, next_name
from orchestrator.errors import ExperimentError, ResourceError

TRIES = 5  # job names in a row that others may take while we submit


@dataclass(frozen=True)
class Request:
    """What the job is to do, checked and packed."""

    packed: Packed
    options: tuple[str, ...]  # of `orchestrator run`
    command: str  # that submits the same again
    name: str  # of the first job


def submit(
    experiment: Path,
    overrides: Sequence[str],
    *,
    storage: str | None,
    data_dir: str | None,
    tracking_uri: str | None,
    address: str | None,
    insecure: bool,
    wait: bool,
    again: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Submit ``experiment``, or join its running job; returns the exit code."""
    places = {"--storage": storage, "--data-dir": data_dir, "--tracking-uri": tracking_uri}
    flags = address_flags(address, insecure)
    request = _check(experiment, overrides, {flag: place for flag, place in places.items() if place is not None}, flags)
    jobs = reach(address, insecure)
    job, is_new = _find_or_start(jobs, request, again, (*request.options, *(["--quiet"] if quiet else [])))
    if not is_new and job.status == COMPLETE:
        say(f"job {job.id} has already run this experiment; its output: orchestrator logs {job.id}{flags}")
        say("to run it again from the beginning: --again")
        if not as_json:
            return 0
        if not wait:
            print_json({"job": job.id, "status": job.status, "address": jobs.address})
            return 0
    elif not is_new:
        say(f"job {job.id} already runs this experiment ({job.status}); joining it")
    if not wait:
        say(f"watch it: orchestrator logs {job.id} --follow{flags}    stop it: orchestrator stop {job.id}{flags}")
        if as_json:
            print_json({"job": job.id, "status": job.status, "address": jobs.address})
        return 0
    say("Ctrl-C stops watching; the job continues")
    console = Console(file=sys.stderr if as_json else sys.stdout)
    code, result = watch(jobs, job, console, say, flags, quiet)
    if as_json and code != 130:
        print_result(result, job, code)
    elif as_json and result is not None:
        print_json(result)
    return code


def _check(experiment: Path, overrides: Sequence[str], places: dict[str, str], flags: str) -> Request:
    """Check everything that needs no cluster. Raises ExperimentError with every problem."""
    problems = problems_of_places(*(places.get(flag) for flag in ("--storage", "--data-dir", "--tracking-uri")))
    try:
        packed = pack(experiment, overrides)
    except ExperimentError as error:
        raise ExperimentError(error.source, [*error.problems, *problems]) from error
    if problems:
        raise ExperimentError(str(experiment), problems)
    given = [word for pair in places.items() for word in pair]
    sets = [word for override in (*overrides, *packed.overrides) for word in ("--set", override)]
    settings = [word for override in overrides for word in ("--set", override)]
    command = shlex.join(["orchestrator", "submit", str(experiment), *settings, *given]) + flags
    name = job_name(packed.experiment.name, packed.digest(sorted(places.items())))
    return Request(packed, (*sets, *given), command, name)


def _find_or_start(jobs: Jobs, request: Request, again: bool, options: Sequence[str]) -> tuple[Job, bool]:
    """The job of this experiment, and whether it was started by this call."""
    for _ in range(TRIES):
        there = jobs.all()
        if earlier := attempts(request.name, there):
            newest = earlier[-1]
            if not newest.has_ended or (newest.status == COMPLETE and not again):
                return newest, False
        name = next_name(request.name, there)
        if earlier and not again:
            say(f"job {earlier[-1].id} ran this experiment and {_ended(earlier[-1])}; {name} resumes it")
        if _start(jobs, name, request, [*options, *(["--again"] if again else [])]):
            started = jobs.find(name)
            if started is None:
                raise ResourceError(f"{jobs.address} has lost job {name}; was the cluster replaced?")
            return started, True
        # Somebody else submitted the same experiment at the same moment: join that job.
        again = False
    raise ResourceError(f"{jobs.address}: the names of job {request.name} and its successors are taken; try again")


def _start(jobs: Jobs, name: str, request: Request, options: Sequence[str]) -> bool:
    packed = request.packed
    run = ["orchestrator", "run", str(packed.file), "--address", "auto", "--events", *options]
    entrypoint = f"cd {shlex.quote(packed.folder)} && exec {shlex.join(run)}"
    metadata = {
        "experiment": packed.experiment.name,
        "trials": str(packed.trials),
        "command": request.command,
    }
    with tempfile.TemporaryDirectory(prefix="orchestrator-submit-") as folder:
        packed.package.write(Path(folder))
        started = jobs.submit(name, entrypoint, Path(folder), metadata)
    if started:
        count = len(packed.package.files)
        size = packed.package.size() / 1e3
        sent = f"{_many(packed.trials, 'trial')}; {_many(count, 'file')}, {size:,.1f} kB, sent"
        say(f"job {name} submitted to {jobs.address}: {sent}")
    return started


def _ended(job: Job) -> str:
    said: dict[Any, str] = {1: "has failed trials", 2: "was rejected there", 130: "was stopped"}
    return said[job.exit_code]


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
