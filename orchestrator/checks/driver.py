"""Checks that the driver makes: its tracking store and data, the cluster's token, and the clocks of its nodes."""

import time
from collections.abc import Iterator

from orchestrator.checks.check import HERE, RESTART, Outcome, Request, failure, ok, warning
from orchestrator.errors import OrchestratorError
from orchestrator.scheduling.each_node import dashboard_address, on_each_node
from orchestrator.text import first_line

TIMEOUT = 5.0  # seconds for the dashboard's answer
READINGS = 5  # of a node's clock; the one with the shortest round trip counts
SKEW_WARNED = 1.0  # seconds: above it, logs of two nodes are hard to compare
SKEW_REFUSED = 60.0  # seconds: half of a driver's lease in MLflow


def tracking(request: Request) -> Iterator[tuple[str, Outcome]]:
    """Whether a launch could be recorded in the tracking store."""
    from orchestrator.tracking.probe import probe
    from orchestrator.tracking.store import tracking_uri

    uri = tracking_uri(request.tracking_uri)
    try:
        yield HERE, ok(f"{uri}: {probe(uri)}")
    except OrchestratorError as problem:
        advice = "start it, or choose another one with --tracking-uri (MLFLOW_TRACKING_URI)"
        yield HERE, failure(f"{uri}: {first_line(problem)}", advice)


def ray_folder(request: Request) -> Iterator[tuple[str, Outcome]]:
    """Whether a Ray of our own finds a folder for its temporary files; nothing of a cluster, which has its own."""
    from orchestrator.scheduling.ray_folder import choose

    if request.nodes:
        return
    try:
        place, make = choose()
    except OrchestratorError as problem:
        what, _, advice = first_line(problem).partition("; ")
        yield HERE, failure(what, advice)
    else:
        yield HERE, ok(f"a new one in {place} for each launch" if make else f"{place}, as you asked for")


def data(request: Request) -> Iterator[tuple[str, Outcome]]:
    """The experiment's dataset, read and hashed; without an experiment, the content of the data folder.

    Raises ExperimentError if the experiment file is not valid.
    """
    if request.experiment is None:
        folder = request.data_dir
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        content = f"{folder} contains {', '.join(names[:4])}{', ...' * (len(names) > 4)}"
        yield HERE, ok(content if names else f"{folder} is empty; cifar10 is downloaded there")
        return
    from orchestrator.data import load_dataset
    from orchestrator.experiment.reader import read_file

    wanted = read_file(request.experiment).dataset
    try:
        dataset = load_dataset(wanted, request.data_dir)
    except OrchestratorError as problem:
        advice = f"orchestrator validate {request.experiment}    (after fixing the files)"
        yield HERE, failure(first_line(problem), advice)
        return
    images = f"{len(dataset.train):,} + {len(dataset.test):,} images"
    yield HERE, ok(f"{wanted.name}: {images}, sha256 {dataset.digest[:12]}")


def token(request: Request) -> Iterator[tuple[str, Outcome]]:
    """Whether the joined cluster answers a client that sends no token; nothing if it cannot be reached from here."""
    address = dashboard_address() if request.nodes else ""
    outcome = ask_anonymously(address) if address else None
    if outcome is not None:
        yield HERE, outcome


def ask_anonymously(address: str) -> Outcome | None:
    """Whether the Jobs API at ``address`` (``host:port``) requires a token; None if nothing answers."""
    import requests

    with requests.Session() as client:
        client.trust_env = False  # no proxy and no .netrc
        try:
            status = client.get(f"http://{address}/api/jobs/", timeout=TIMEOUT).status_code
        except requests.RequestException:
            return None
    if status in (401, 403):
        return ok(f"the cluster requires a token ({status})")
    text = f"http://{address} requires no token ({status}): whoever can reach it can run code on every node"
    return failure(text, "export RAY_AUTH_MODE=token before ray start, on every node")


def clock(request: Request) -> Iterator[tuple[str, Outcome]]:
    """How far each node's clock is from the driver's; half of the round trip is the uncertainty."""
    for node, name in request.nodes.items():
        readings: list[tuple[float, float]] = []
        for _ in range(READINGS):
            before = time.time()
            times, missing = on_each_node(now, {node: ()}, request.patience)
            after = time.time()
            readings += [((after - before) / 2, there - (before + after) / 2) for there in times.values()]
        yield name, evaluate_clock(*min(readings)) if readings else failure(missing[node], RESTART)


def now() -> float:
    """This machine's time, in seconds since 1970."""
    return time.time()


def evaluate_clock(uncertainty: float, offset: float) -> Outcome:
    """The outcome for a clock that is ``offset`` seconds ahead of the driver's, known to ± ``uncertainty``."""
    certain = max(0.0, abs(offset) - uncertainty)
    if certain <= SKEW_WARNED:
        bound = next(b for b in (0.01, 0.1, 1.0, float("inf")) if abs(offset) + uncertainty <= b)
        return ok(f"within {bound:g} s of the driver's")
    text, advice = f"{offset:+.3f} ± {uncertainty:.3f} s from the driver's", "sudo timedatectl set-ntp true"
    return failure(text, advice) if certain > SKEW_REFUSED else warning(text, advice)
