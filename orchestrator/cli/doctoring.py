"""Run the checks of the doctor (this machine, its tracking store and data, the nodes) and print them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.options import print_json
from orchestrator.cluster.doctor import (
    Finding,
    Level,
    ask_head,
    ask_without_token,
    check_storage,
    examine_nodes,
    gather,
    judge,
    knock,
    worst,
)
from orchestrator.cluster.doctor.finding import HERE
from orchestrator.cluster.doctor.reach import is_remote
from orchestrator.errors import OrchestratorError, ResourceError
from orchestrator.redact import redact
from orchestrator.scheduling.storage import refuse_keys
from orchestrator.tracking.probe import probe
from orchestrator.tracking.store import tracking_uri as choose_store
from orchestrator.tracking.store import without_secrets

SIGNS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.FAILURE: ("✗", "bold red")}


def examine(
    *,
    experiment: Path | None,
    address: str | None,
    data_dir: Path,
    storage: str,
    tracking_uri: str | None,
    patience: float,
    as_json: bool,
    debug: bool,
) -> int:
    """Print the findings; returns 1 if one of them is a failure, else 0."""
    refuse_keys(str(storage))
    storage = str(storage) if is_remote(str(storage)) else str(Path(storage).absolute())
    facts = gather([] if is_remote(storage) else [storage])
    found = judge(HERE, facts)
    found += [_tracking(tracking_uri), *_data(experiment, data_dir)]
    if address is None:
        found.append(check_storage(storage))
    else:
        found += _cluster(address, facts, storage, patience, debug)
    found = [Finding(f.node, f.name, f.status, redact(f.value), redact(f.advice)) for f in found]
    if as_json:
        print_json({"checks": [asdict(finding) for finding in found], "worst": worst(found)})
    else:
        _show(found)
    return 1 if worst(found) is Level.FAILURE else 0


def _cluster(address: str, facts: dict[str, object], storage: str, patience: float, debug: bool) -> Iterator[Finding]:
    if address.startswith(("http://", "https://")):  # the head runs the checks, with its own settings
        yield from ask_head(address, patience)
        return
    problem = knock(address)
    if problem:
        yield Finding(HERE, "cluster", Level.FAILURE, problem, "ray status    (on the head)")
        yield check_storage(storage)
        return
    from orchestrator.scheduling import ray_session

    try:
        with ray_session(address, debug=debug) as nodes:
            yield Finding(HERE, "cluster", Level.OK, f"{len(nodes)} node{'s' * (len(nodes) != 1)} at {address}")
            if (stranger := ask_without_token()) is not None:
                yield stranger
            yield from examine_nodes(facts, storage, patience)
    except ResourceError as refused:
        advice = "RAY_AUTH_MODE=token and the cluster's own token in RAY_AUTH_TOKEN or ~/.ray/auth_token; ray status"
        yield Finding(HERE, "cluster", Level.FAILURE, _first_line(refused).partition(". ")[0], advice)
        yield check_storage(storage)


def _tracking(given: str | None) -> Finding:
    uri = choose_store(given)
    try:
        return Finding(HERE, "tracking", Level.OK, f"{without_secrets(uri)}: {probe(uri)}")
    except OrchestratorError as problem:
        advice = "start it, or choose another one with --tracking-uri (MLFLOW_TRACKING_URI)"
        return Finding(HERE, "tracking", Level.FAILURE, f"{without_secrets(uri)}: {_first_line(problem)}", advice)


def _data(experiment: Path | None, data_dir: Path) -> Iterator[Finding]:
    """The experiment's dataset, read and hashed; without an experiment, the content of the data folder."""
    if experiment is None:
        held = sorted(path.name for path in data_dir.iterdir()) if data_dir.is_dir() else []
        value = f"{data_dir} contains {', '.join(held[:4])}{', ...' if len(held) > 4 else ''}"
        yield Finding(HERE, "data", Level.OK, value if held else f"{data_dir} is empty; cifar10 is downloaded there")
        return
    from orchestrator.experiment.reader import read_file

    wanted = read_file(experiment).dataset
    from orchestrator.data import load_dataset

    try:
        dataset = load_dataset(wanted, data_dir)
    except OrchestratorError as problem:
        advice = f"orchestrator validate {experiment}    (after fixing the files)"
        yield Finding(HERE, "data", Level.FAILURE, _first_line(problem), advice)
        return
    images = f"{len(dataset.train):,} + {len(dataset.test):,} images"
    yield Finding(HERE, "data", Level.OK, f"{wanted.name}: {images}, sha256 {dataset.digest[:12]}")


def _first_line(problem: OrchestratorError) -> str:
    return str(problem).splitlines()[0]


def _places(where: Sequence[str], nodes: Sequence[str]) -> str:
    if len(where) == len(nodes):
        return "everywhere"
    if len(nodes) > 2 and set(where) == set(nodes) - {HERE}:
        return "all nodes"
    return ", ".join(where if len(where) <= 4 else [*where[:3], f"{len(where) - 3} more"])


def _show(found: Sequence[Finding]) -> None:
    """One row per finding; nodes with the same finding share a row."""
    nodes = list(dict.fromkeys(finding.node for finding in found))
    names = list(dict.fromkeys(finding.name for finding in found))
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False, pad_edge=False)
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    if len(nodes) > 1:
        table.add_column(max_width=18, overflow="fold", style="dim")
    table.add_column(overflow="fold", ratio=1)
    for name in names:
        groups: dict[tuple[Level, str, str], list[str]] = {}
        for finding in found:
            if finding.name == name:
                groups.setdefault((finding.status, finding.value, finding.advice), []).append(finding.node)
        for (status, value, advice), where in groups.items():
            sign, style = SIGNS[status]
            text = Text(value, style="" if status is Level.OK else style)
            if advice:
                text.append(f"\n→ {advice}", style="cyan")
            places = [_places(where, nodes)] if len(nodes) > 1 else []
            table.add_row(Text(sign, style=style), name, *places, text)
    console = Console()
    console.print(table)
    counts = {level: sum(f.status is level for f in found) for level in Level}
    words = [f"{counts[Level.FAILURE]} failures" if counts[Level.FAILURE] != 1 else "1 failure"]
    words.append(f"{counts[Level.WARNING]} warnings" if counts[Level.WARNING] != 1 else "1 warning")
    console.print(f"{', '.join(words)}, {counts[Level.OK]} ok", style=SIGNS[worst(found)][1], highlight=False)
