"""A submitted job: its status, its exit code, its name, and how to describe it to people."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.redact import redact

MARK = "orchestrator"  # metadata key that marks jobs of this program
DIGITS = 8  # of the submission's hash, in a job's name
PENDING, RUNNING, COMPLETE, FAILED, STOPPED = "pending", "running", "complete", "failed", "stopped"
_STATES = {"PENDING": PENDING, "RUNNING": RUNNING, "SUCCEEDED": COMPLETE, "FAILED": FAILED, "STOPPED": STOPPED}


@dataclass(frozen=True)
class Job:
    """One submitted job as listed by the cluster; times are seconds since 1970."""

    id: str
    status: str  # pending, running, complete, failed or stopped
    driver_exit_code: int | None = None
    started: float | None = None
    ended: float | None = None
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended."""
        return self.status not in (PENDING, RUNNING)

    @property
    def exit_code(self) -> int:
        """The exit code of a command that followed this job to its end: 0 done, 1 failed, 2 invalid, 130 stopped."""
        if self.status == COMPLETE:
            return 0
        if self.status == STOPPED:
            return 130
        return self.driver_exit_code if self.driver_exit_code in (1, 2, 130) else 1

    @property
    def is_ours(self) -> bool:
        """Whether `orchestrator submit` made it."""
        return MARK in self.metadata

    def to_json(self) -> dict[str, Any]:
        """The document of ``status --json``."""
        return {
            "job": self.id,
            "status": self.status,
            "experiment": self.metadata.get("experiment", ""),
            "trials": int(self.metadata.get("trials", "0")),
            "started": self.started,
            "ended": self.ended,
            "exit_code": self.exit_code if self.has_ended else None,
        }

    @classmethod
    def from_ray(cls, plain: Mapping[str, Any]) -> "Job":
        """What Ray's Jobs API says of one job."""

        def seconds(key: str) -> float | None:
            return plain[key] / 1000 if plain.get(key) else None

        code = plain.get("driver_exit_code")
        return cls(
            id=str(plain.get("submission_id") or plain.get("job_id") or ""),
            status=_STATES.get(str(plain.get("status")), str(plain.get("status")).lower()),
            driver_exit_code=int(code) if code is not None else None,
            started=seconds("start_time"),
            ended=seconds("end_time"),
            message=str(plain.get("message") or ""),
            metadata=dict(plain.get("metadata") or {}),
        )


def job_name(experiment: str, digest: str) -> str:
    """``widths-1a2b3c4d``: the name of an experiment's first job; letters, digits, '-', '_' and '.' only."""
    plain = "".join(c if c.isascii() else "_" for c in experiment)
    return f"{plain}-{digest[:DIGITS]}"


def attempts(base: str, jobs: Sequence[Job]) -> list[Job]:
    """The ``jobs`` named ``base``, ``base-2``, ``base-3``, ...; the last one is the newest."""
    name = re.compile(re.escape(base) + r"(?:-([2-9]|[1-9]\d+))?")
    found = [(int(match[1] or 1), job) for job in jobs if (match := name.fullmatch(job.id))]
    return [job for _, job in sorted(found, key=lambda pair: pair[0])]


def next_name(base: str, jobs: Sequence[Job]) -> str:
    """The name of this experiment's next job: a name can be used only once."""
    done = attempts(base, jobs)
    if not done:
        return base
    newest = done[-1].id.removeprefix(base).removeprefix("-")
    return f"{base}-{int(newest or 1) + 1}"


def describe(job: Job, flags: str = "") -> str:
    """How the job ended and, where possible, how to resume it; ``flags`` are added to suggested commands."""
    if not job.has_ended:
        return f"job {job.id}: {job.status}"
    if job.status == STOPPED:
        return f"job {job.id}: stopped; resume with: {resubmit_command(job, flags)}"
    if job.exit_code == 0:
        return f"job {job.id}: complete"
    code = job.driver_exit_code
    if code in (1, 2, 130):
        reason = {1: "a trial failed", 2: "invalid request", 130: "interrupted"}[code]
        retry = "" if code == 2 else f"; try again with: {resubmit_command(job, flags)}"
        return f"job {job.id}: {reason} (exit code {code}){retry}"
    if code == 127:
        return f"job {job.id}: the head cannot find the command orchestrator; put it on the PATH of `ray start`"
    reason = f"its driver ended with exit code {code}" if code is not None else f"Ray says: {_last_line(job.message)}"
    return f"job {job.id}: failed; {reason}; resume with: {resubmit_command(job, flags)}"


def resubmit_command(job: Job, flags: str = "") -> str:
    """The command that submits the same experiment again, from the same folder."""
    command = job.metadata.get("command", "orchestrator submit EXPERIMENT.yaml")
    return command if flags.strip() in command else command + flags


def _last_line(message: str) -> str:
    lines = [line for line in message.splitlines() if line.strip()]
    return redact(lines[-1].strip()) if lines else "nothing"
