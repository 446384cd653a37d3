"""Stop a job: ask it to end, wait until it has ended, say how to resume."""

import time

from orchestrator.cli.following import address_flags, in_words
from orchestrator.cli.reaching import known_job, reach, say
from orchestrator.cluster.jobs import LostError
from orchestrator.errors import ResourceError

PAUSE = 1.0  # seconds between checks


def stop(name: str, address: str | None, insecure: bool) -> int:
    """Stop the job called ``name`` and wait for it; returns 0 once it has ended, 130 if the user stops waiting."""
    flags = address_flags(address, insecure)
    jobs = reach(address, insecure)
    job = known_job(jobs, name)
    if job.has_ended:
        say(f"it had already ended; {in_words(job, flags)}")
        return 0
    jobs.stop(name)
    say(f"job {name}: stopping after the epochs in progress (Ctrl-C stops waiting; the job still stops)")
    away = False
    try:
        while True:
            time.sleep(PAUSE)
            try:
                found = jobs.find(name)
            except LostError as problem:
                if not away:
                    say(f"{problem}; trying again")
                away = True
                continue
            away = False
            if found is None:
                raise ResourceError(f"{jobs.address} no longer knows job {name}; was the cluster replaced?")
            if found.has_ended:
                break
    except KeyboardInterrupt:
        say(f"\nno longer waiting; job {name} will end by itself: orchestrator status {name}{flags}")
        return 130
    say(in_words(found, flags))
    return 0
