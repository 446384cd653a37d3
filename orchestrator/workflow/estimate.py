"""What a launch would take and cost, as far as earlier launches tell; no speed is made up."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator import records as keys
from orchestrator.analysis import Analysis
from orchestrator.errors import OrchestratorError
from orchestrator.experiment.stages import to_come
from orchestrator.redact import redact
from orchestrator.reporting.comparison.spending import Share, money
from orchestrator.spec import Resources
from orchestrator.text import counted, duration
from orchestrator.tracking.earlier import EarlierTrials
from orchestrator.tracking.read import read_judging
from orchestrator.tracking.store import asked, connect
from orchestrator.tracking.trial_rows import read_trials
from orchestrator.workflow.check import Checked


@dataclass(frozen=True)
class Estimate:
    """Of all trials of a launch that begins anew and stops none early; None is unknown. Seconds are of training.

    Trials that results may make known count as the most that they can be, each as long as the longest of its variant.
    """

    seconds: float | None = None
    cpu_seconds: float | None = None
    gpu_seconds: float | None = None
    price: float | None = None  # None also without resources.price_per_hour
    variants: Mapping[str, float | None] = field(default_factory=dict)  # seconds of each variant's trials
    earlier_trials: int = 0  # whose speed this is
    trials: int = 0  # that are known from the outset
    trials_to_come: int = 0  # at most, that results may make known
    reason: str = ""  # why the time is unknown, or the price that was asked for

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if self.seconds is None:
            return f"estimate: unknown, because {self.reason}"
        known = {"of CPU cores": self.cpu_seconds, "of GPUs": self.gpu_seconds}
        reserved = "".join(f", {duration(seconds)} {of}" for of, seconds in known.items() if seconds)
        price = f", price unknown, because {self.reason}" if self.reason else ""
        price = price if self.price is None else f", price {money(self.price)}"
        most, covered, less = "", "", "if trials stop early"
        if self.trials_to_come:
            most, less = "at most ", "if the launch ends before"
            covered = f" for {counted(self.trials, 'trial')} and {self.trials_to_come} that may follow"
        return (
            f"estimate: {most}{duration(self.seconds)} of training{covered}, one trial after another{reserved}{price}; "
            f"less {less} (at the speed of {counted(self.earlier_trials, 'earlier trial')})"
        )


def estimate(checked: Checked, uri: str) -> Estimate:
    """By the earlier trials in the store at ``uri`` with the same networks, data and settings; never raises.

    MLflow is imported only if there is a store: without its SQLite file, nothing is known and no time is lost.
    """
    try:
        client = connect(uri, make=False)
        with asked(uri):
            return _by_earlier(checked, client, redact(uri))
    except OrchestratorError as problem:  # a plan is valid whether or not a store answers
        return Estimate(reason=str(problem))


def _by_earlier(checked: Checked, client: Any, uri: str) -> Estimate:
    labels = [variant.label for variant in checked.plan.experiment.variants]
    earlier = EarlierTrials(client, labels, checked.dataset.digest)
    seconds, longest = dict.fromkeys(labels, 0.0), dict.fromkeys(labels, 0.0)
    unknown: dict[str, None] = {}  # variants, in order
    runs: set[str] = set()
    parent = ""
    for spec in checked.plan.trials:
        if (speed := earlier.speed(spec, _size(checked.analyses[spec.name]))) is None:
            unknown[spec.label] = None
            continue
        seconds[spec.label] += spec.trainer.epochs * speed.seconds
        longest[spec.label] = max(longest[spec.label], spec.trainer.epochs * speed.seconds)
        runs |= speed.runs
        parent = parent or speed.parent_run_id
    later = to_come(checked.plan.experiment)
    seconds = {label: known + sum(x.seeds for x in later) * longest[label] for label, known in seconds.items()}
    by_variant = {label: None if label in unknown else known for label, known in seconds.items()}
    if unknown:
        reason = (
            f"no complete trial in {uri} has trained {', '.join(unknown)} on this data with these settings (batch "
            "size, augmentation, optimizer, device, precision, threads)"
        )
        return Estimate(variants=by_variant, reason=reason)
    share = _share(checked.plan.experiment.resources, client, parent)
    every = sum(seconds.values())
    priced = checked.plan.experiment.resources.price_per_hour is not None
    unpriced = priced and share.price_per_second is None
    return Estimate(
        seconds=every,
        cpu_seconds=None if share.cpus is None else every * share.cpus,
        gpu_seconds=None if share.gpus is None else every * share.gpus,
        price=None if share.price_per_second is None else every * share.price_per_second,
        variants=by_variant,
        earlier_trials=len(runs),
        trials=len(checked.plan.trials),
        trials_to_come=sum(x.trials for x in later),
        reason="no earlier launch has recorded what a trial gets" if unpriced else "",
    )


def _size(analysis: Analysis) -> dict[str, float]:
    """What recognises a network in MLflow: the metrics of its size that are known."""
    known = {keys.PARAMETERS: analysis.parameters, keys.MACS: analysis.macs}
    return {name: float(value) for name, value in known.items() if value is not None}


def _share(resources: Resources, client: Any, parent_run_id: str) -> Share:
    """What a trial gets: as the experiment says, and where that is ``auto``, as it was in an earlier launch."""
    judging = read_judging(client, parent_run_id)
    before = Share.recorded(judging.share, judging.metrics, read_trials(client, parent_run_id))
    given = {"CPU": resources.cpus, "GPU": resources.gpus}
    known = {
        kind: earlier if isinstance(amount, str) else amount
        for (kind, amount), earlier in zip(given.items(), (before.cpus, before.gpus), strict=True)
    }
    if any(amount is None for amount in known.values()):
        return Share(known["CPU"], known["GPU"])
    return Share.of({kind: amount for kind, amount in known.items() if amount is not None}, resources.price_per_hour)
