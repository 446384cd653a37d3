"""From facts to findings: what is fine, what is not, and how to fix it. No machine is accessed here."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.cluster.doctor.finding import Finding, Level

FEWEST_FILES = 65_536  # open files; Ray's own advice for a busy node
LITTLE_DISK = 5e9  # bytes: enough for a few checkpoints and figures
NO_DISK = 0.5e9  # bytes
FULLEST = 0.95  # of the disk with Ray's temporary files: above it Ray refuses to spill objects
OBJECT_STORE = 0.3  # of the memory: what Ray takes for its object store by default
MOST_OBJECT_STORE = 200e9  # bytes, and no more than this
SKEW_WARNED = 1.0  # seconds: above it, logs of two nodes are hard to compare
SKEW_REFUSED = 60.0  # seconds: half of a driver's lease in MLflow
NAMES = {"ray": "Ray", "torch": "torch", "architecture-orchestrator": "orchestrator"}
SAME = "install the same versions: cd ~/orchestrator && uv sync"

Facts = Mapping[str, Any]


def judge(node: str, facts: Facts, reference: Facts | None = None, object_store: float | None = None) -> list[Finding]:
    """The findings of one machine. ``reference`` is the machine whose versions it must have, because Ray requires it.

    ``object_store`` is the size of the node's object store in bytes, if there is one.
    """
    found = [
        *_versions(node, facts, reference),
        _gpu(node, facts),
        *_disks(node, facts),
        _shared_memory(node, facts, object_store),
        _open_files(node, facts),
        *_token(node, facts),
        *_listeners(node, facts, in_cluster=object_store is not None),
    ]
    return [finding for finding in found if finding is not None]


def judge_clock(node: str, offset: float, uncertainty: float) -> Finding:
    """How far a node's clock is ahead of the driver's, in seconds, known to ± ``uncertainty``."""
    certain = max(0.0, abs(offset) - uncertainty)
    level = Level.FAILURE if certain > SKEW_REFUSED else Level.WARNING if certain > SKEW_WARNED else Level.OK
    if level is Level.OK:
        bound = next(b for b in (0.01, 0.1, 1.0, float("inf")) if abs(offset) + uncertainty <= b)
        return Finding(node, "clock", level, f"within {bound:g} s of the driver's")
    text = f"{offset:+.3f} ± {uncertainty:.3f} s from the driver's"
    return Finding(node, "clock", level, text, "sudo timedatectl set-ntp true")


def _versions(node: str, facts: Facts, reference: Facts | None) -> Iterable[Finding]:
    yield _same(node, "Python", facts["python"], None if reference is None else reference["python"], SAME)
    for package, name in NAMES.items():
        version = facts["packages"][package]
        shown = version or "not installed"
        if package == "torch" and version:
            shown += f", built for CUDA {facts['torch_cuda']}" if facts["torch_cuda"] else ", built for the CPU"
        if package == "architecture-orchestrator" and version:
            shown += f", {_source(facts)}"
        if not version:
            yield Finding(node, name, Level.FAILURE, shown, SAME)
            continue
        theirs = None
        if reference is not None:
            theirs = reference["packages"][package]
            if package == "architecture-orchestrator":  # the same version may have been edited since
                shown_there = f"{theirs}, {_source(reference)}"
                same = (version, facts["source"]) == (theirs, reference["source"])
                yield _same(node, name, shown, shown if same else shown_there, SAME)
                continue
        different = theirs is not None and theirs != version
        yield _same(node, name, shown, theirs if different else None, SAME)


def _same(node: str, name: str, value: str, expected: str | None, advice: str) -> Finding:
    if expected is None or expected == value:
        return Finding(node, name, Level.OK, value)
    return Finding(node, name, Level.FAILURE, f"{value}; the driver has {expected}", advice)


def _source(facts: Facts) -> str:
    if facts["commit"]:
        return f"commit {facts['commit']}"
    return f"source {facts['source'][:10]}" if facts["source"] else "source not found"


def _gpu(node: str, facts: Facts) -> Finding:
    gpus = facts["gpus"]
    if facts["cuda_problem"]:
        advice = "nvidia-smi    (then a driver that supports torch's CUDA: sudo ubuntu-drivers install)"
        return Finding(node, "GPU", Level.FAILURE, facts["cuda_problem"], advice)
    if not gpus:
        return Finding(node, "GPU", Level.OK, "no NVIDIA GPU: trials run on the CPU")
    parts = []
    busy = False
    for gpu in gpus:
        memory = ""
        if gpu["total"] and gpu["free"] is not None:
            memory = f", {gpu['free'] / 2**30:.0f} of {gpu['total'] / 2**30:.0f} GiB free"
            busy = busy or gpu["free"] < gpu["total"] / 2
        parts.append(f"{gpu['index']}: {gpu['name']}{memory}")
    text = "; ".join([*parts, f"driver {gpus[0]['driver']}"])
    if busy:
        return Finding(node, "GPU", Level.WARNING, text, "nvidia-smi    (shows who uses the memory)")
    return Finding(node, "GPU", Level.OK, text)


def _disks(node: str, facts: Facts) -> Iterable[Finding]:
    for place, disk in facts["disks"].items():
        free, total = disk["free"], disk["total"]
        text = f"{free / 1e9:,.1f} GB free of {total / 1e9:,.0f} at {place}"
        full = place == facts["ray_temp"] and total > 0 and free / total < 1 - FULLEST
        if free < NO_DISK:
            yield Finding(node, "disk", Level.FAILURE, text, f"free some: du -xh {place} | sort -h | tail")
        elif free < LITTLE_DISK or full:
            why = f"; Ray stops spilling at {100 * FULLEST:.0f} % full" if full else ""
            yield Finding(node, "disk", Level.WARNING, text + why, f"free some: du -xh {place} | sort -h | tail")
        else:
            yield Finding(node, "disk", Level.OK, text)


def _shared_memory(node: str, facts: Facts, object_store: float | None) -> Finding | None:
    if facts["shared_memory"] is None:  # not Linux: Ray uses files there
        return None
    wanted = object_store or min(OBJECT_STORE * facts["memory"], MOST_OBJECT_STORE)
    shared = facts["shared_memory"]
    text = f"{shared / 1e9:.1f} GB for an object store of {wanted / 1e9:.1f} GB"
    if shared >= wanted:
        return Finding(node, "shared memory", Level.OK, text)
    advice = f"sudo mount -o remount,size={wanted * 1.1 / 1e9:.0f}G /dev/shm    (in Docker: --shm-size)"
    return Finding(node, "shared memory", Level.WARNING, f"{text}: Ray falls back to the disk", advice)


def _open_files(node: str, facts: Facts) -> Finding:
    soft, hard = facts["open_files"]
    if soft >= FEWEST_FILES:
        return Finding(node, "open files", Level.OK, "no limit" if soft >= 2**31 else f"{soft:,}")
    raise_it = f"ulimit -n {FEWEST_FILES}"
    if hard < FEWEST_FILES:
        raise_it = f"sudo prlimit --pid $$ --nofile={FEWEST_FILES}:{FEWEST_FILES}"
    advice = f"{raise_it}    (before Ray is started)"
    return Finding(node, "open files", Level.WARNING, f"{soft:,}, fewer than {FEWEST_FILES:,}", advice)


def _token(node: str, facts: Facts) -> Iterable[Finding]:
    token = facts["token"]
    if token["file"] and token["file_mode"] & 0o077:
        text = f"{token['file']} can be read by others (mode {token['file_mode']:04o}): they could run code as you"
        yield Finding(node, "token file", Level.FAILURE, text, f"chmod 600 {token['file']}")
    elif token["file"]:
        yield Finding(node, "token file", Level.OK, f"{token['file']}, mode {token['file_mode']:04o}")


def _listeners(node: str, facts: Facts, in_cluster: bool) -> Iterable[Finding]:
    open_rows = [row for row in facts["listeners"] if not row["loopback"]]
    if not open_rows:
        count = len(facts["listeners"])
        value = f"{count} sockets of Ray and MLflow, on loopback only" if count else "no socket of Ray or MLflow"
        yield Finding(node, "listening", Level.OK, value)
    groups: dict[tuple[str, bool], list[Mapping[str, Any]]] = defaultdict(list)
    for row in open_rows:
        groups[row["program"], row["token"]].append(row)
    for (program, token), rows in sorted(groups.items()):
        where = ", ".join(sorted({f"{row['ip']}:{row['port']}" for row in rows})[:3]) + (
            ", ..." if len(rows) > 3 else ""
        )
        if program == "mlflow":
            advice = "kill " + " ".join(str(pid) for pid in sorted({row["pid"] for row in rows}))
            text = f"MLflow listens beyond loopback without authentication: {where}"
            yield Finding(node, "listening", Level.WARNING, text, f"{advice}    (then: orchestrator ui)")
        elif token:
            text = f"Ray on {_ports(rows)} beyond loopback, all requiring a token"
            advice = "" if in_cluster else "put a firewall in front of them; if nothing runs on it: ray stop"
            level = Level.OK if in_cluster else Level.WARNING
            yield Finding(
                node, "listening", level, text + "; a cluster needs them: use a firewall" * in_cluster, advice
            )
        else:
            text = f"Ray on {_ports(rows)} beyond loopback without requiring a token: {where}"
            advice = "if nothing runs on it: ray stop, then RAY_AUTH_MODE=token and ray start, on every node"
            yield Finding(node, "listening", Level.FAILURE if in_cluster else Level.WARNING, text, advice)


def _ports(rows: Sequence[object]) -> str:
    return "1 port" if len(rows) == 1 else f"{len(rows)} ports"
