"""``orchestrator submit``: run an experiment file as a job on a cluster."""

import sys
from pathlib import Path

import click

from orchestrator.cli.options import PATH, log, options, print_json


@click.command("submit")
@options("experiment", "set", "again", "jobs_address", "insecure", "json", "quiet")
@click.option(
    "--working-dir",
    type=PATH,
    metavar="FOLDER",
    show_default="the current folder",
    help="The project folder, which is uploaded.",
)
@click.option(
    "--storage",
    metavar="PLACE",
    show_default="the head's ORCHESTRATOR_STORAGE",
    help="Where the cluster keeps trial folders.",
)
@click.option(
    "--data-dir",
    metavar="FOLDER",
    show_default="the head's ORCHESTRATOR_DATA_DIR",
    help="Folder of datasets on the head.",
)
@click.option(
    "--tracking-uri", metavar="URI", show_default="the head's MLFLOW_TRACKING_URI", help="MLflow's tracking store."
)
@click.option(
    "--follow/--no-wait",
    "wait",
    default=True,
    show_default=True,
    help="Show the job's progress until it ends, or return at once.",
)
def command(
    experiment: Path,
    overrides: tuple[str, ...],
    working_dir: Path | None,
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
    """Run EXPERIMENT.yaml as a job on a cluster; submitting the same experiment again joins or resumes the job.

    The project folder is uploaded, at most 100 MiB, so that networks and the files they read are found as they are
    here. Not uploaded: what .gitignore or .rayignore name, hidden files, environments, keys, trial folders, and
    datasets, which must be on the head. Ctrl-C stops watching with exit code 130, and the job continues. Other exit
    codes are those of `orchestrator run`.
    """
    from orchestrator.cluster.address import address_flags, connect, jobs_address
    from orchestrator.cluster.job import COMPLETE
    from orchestrator.cluster.jobs import Jobs
    from orchestrator.cluster.submit import submit
    from orchestrator.reporting.console import plain_console
    from orchestrator.workflow.submit import prepare
    from orchestrator.workflow.watch import watch

    flags = address_flags(address, insecure)
    locations = {"storage": storage, "data_dir": data_dir, "tracking_uri": tracking_uri}
    submission = prepare(experiment, overrides, folder=working_dir, flags=flags, log=log, **locations)
    jobs = Jobs(connect(jobs_address(address), insecure, log))
    job, is_new = submit(jobs, submission, log, again=again, quiet=quiet)
    has_run = not is_new and job.status == COMPLETE
    if has_run:
        log(f"job {job.id} has already run this experiment; its output: orchestrator logs {job.id}{flags}")
        log("to run it again from the beginning: --again")
    elif not is_new:
        log(f"job {job.id} already runs this experiment ({job.status}); joining it")
    if not wait or (has_run and not as_json):
        if not has_run:
            log(f"watch it: orchestrator logs {job.id} --follow{flags}    stop it: orchestrator stop {job.id}{flags}")
        if as_json:
            print_json({"job": job.id, "status": job.status, "address": jobs.address})
        return 0
    log("Ctrl-C stops watching; the job continues")
    code, result = watch(jobs, job, plain_console(file=sys.stderr if as_json else sys.stdout), log, flags, quiet)
    if as_json and result is not None:
        print_json(result)
    return code
