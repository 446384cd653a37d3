"""A simulated experiment on a terminal: cost, stops, choices and verdicts, as medians and ranges over the replays."""

from collections.abc import Callable, Iterator

from rich.console import RenderableType
from rich.text import Text

from orchestrator.reporting.terminal_table import terminal_table
from orchestrator.simulation.figures import Figures
from orchestrator.simulation.means import Mean
from orchestrator.simulation.summary import Spread, Summary
from orchestrator.text import counted
from orchestrator.workflow.simulate import Simulated
from orchestrator.workflow.simulation_words import told_law, told_plan, told_workers

UNITS = ((2 * 3600.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))  # from, size, name
Shown = Callable[[float], str]
GUIDE = "docs/simulating.md says which row answers which question, and what a simulation cannot tell."


def terminal_simulation(found: Simulated) -> Iterator[RenderableType]:
    """The parts of the page, with an empty line between them."""
    experiment, n = found.experiment, len(found.planned.replays)
    times = "once" if n == 1 else f"{n} times"
    workers = told_workers(experiment, found.asked.workers, found.planned)
    law = "" if found.asked.source else told_law(found.asked.law)
    yield Text(f"{experiment.name} simulated: {told_plan(experiment)}.")
    yield Text(f"{found.curves[:1].upper()}{found.curves[1:]}{law}.")
    yield Text(
        f"Replayed {times} (seed {found.asked.seed}) on {workers}; nothing was trained."
        f"{'' if n == 1 else ' Medians, and in brackets the range over the replays.'}"
    )
    yield ""
    yield _overview(found)
    if found.lost is not None:
        yield Text(_difference(found.lost))
    if found.planned.stopped:
        yield ""
        yield _stops(found.planned)
    if found.planned.compared:
        yield ""
        yield _variants(found.planned)
    yield from _course(found.planned.replays[0])
    yield ""
    yield Text(GUIDE)


def _overview(found: Simulated) -> RenderableType:
    columns = ["", "as planned", "all to the end"]
    summaries = [found.planned, found.whole]
    if found.whole is None:
        columns[1:] = ["all to the end", ""]
    rows: list[list[str]] = []

    def add(label: str, cell: Callable[[Summary], str]) -> None:
        rows.append([label, *("" if one is None else cell(one) for one in summaries)])

    add("trials", lambda one: _cell(one.spread(lambda f: f.trials), _whole))
    add("epochs", lambda one: _cell(one.spread(lambda f: f.epochs), _whole))
    for label, figure in (("workers added up", _work), ("start to end", _elapsed)):
        size, unit = _unit(max(one.spread(figure).median for one in summaries if one is not None))
        add(f"{unit}, {label}", _time_cell(figure, size))
    if found.planned.choices:
        add("best tried is chosen", lambda one: f"{sum(c.is_best for c in one.choices)} of {len(one.choices)}")
        add("regret, points", lambda one: _optional(one.regret, _points))
        add("mean regret, points", lambda one: "" if one.mean_regret is None else _mean(one.mean_regret))
        add("points below the optimum", lambda one: _optional(one.regret_of_all, _points))
    if found.planned.compared:
        if len(set(found.planned.seeds.values())) > 1:
            add("most seeds of a variant", lambda one: _cell(one.rounds, _whole))
        add("decided", lambda one: f"{one.decided} of {one.compared}")
        add("best variant leads", lambda one: f"{one.best_leads} of {one.compared}")
        add("best variant leads alone", lambda one: f"{one.best_alone} of {one.compared}")
        add('any wrong "better"', lambda one: f"{one.wrong} of {one.compared}")
    searching = "regret: how far the chosen settings truly lie below the best tried\n±: standard error"
    judged = next((one.verdict for one in found.planned.replays if one.verdict is not None), None)
    deciding = "decided: the best variant is shown, or that the leaders are equivalent"
    if judged and judged.baseline:
        deciding = "decided: of every variant it is shown how it compares with the baseline"
    captions = [searching] * bool(found.planned.choices) + [deciding] * bool(found.planned.compared)
    return terminal_table("", columns, rows, "\n".join(captions))


def _stops(planned: Summary) -> RenderableType:
    trials = planned.spread(lambda one: one.trials)
    rows = [[str(epoch), _cell(count, _whole)] for epoch, count in planned.stopped.items()]
    rows.append(["to the end", _cell(planned.spread(lambda one: one.trials - sum(one.stopped.values())), _whole)])
    return terminal_table(f"Where the {counted(round(trials.median), 'trial')} end", ["after epoch", "trials"], rows)


def _variants(planned: Summary) -> RenderableType:
    """Which variants were compared, by how many seeds, and how the verdicts placed them."""
    n = planned.compared
    judged = [one for one in planned.replays if one.verdict is not None]
    rows = [
        [
            variant,
            _cell(seeds, _whole),
            str(sum(variant in one.best_variants for one in judged)),
            str(sum(variant in one.leaders for one in judged)),
            str(sum(one.leaders == (variant,) for one in judged)),
        ]
        for variant, seeds in planned.seeds.items()
    ]
    columns = ["variant", "seeds", f"truly best (of {n})", "leads", "leads alone"]
    return terminal_table("Variants", columns, rows, "leads: no variant is shown to be better")


def _course(first: Figures) -> Iterator[RenderableType]:
    """What the first replay decided on its way, if anything, and its verdict."""
    if not first.said:
        return
    yield ""
    yield Text("In the first replay", "bold")
    yield from (Text(f"- {line}") for line in first.said)
    if first.verdict is not None:
        yield ""
        yield Text(first.verdict.sentence)


def _cell(spread: Spread, shown: Shown) -> str:
    """``12 (10 to 15)``, or one figure if all are the same."""
    median, low, high = (shown(value) for value in (spread.median, spread.low, spread.high))
    return median if low == high else f"{median} ({low} to {high})"


def _optional(spread: Spread | None, shown: Shown) -> str:
    return "unknown" if spread is None else _cell(spread, shown)


def _whole(count: float) -> str:
    return f"{count:,.0f}"


def _work(one: Figures) -> float:
    return one.work_seconds


def _elapsed(one: Figures) -> float:
    return one.seconds


def _unit(seconds: float) -> tuple[float, str]:
    """The unit that a duration is shown in: its seconds, and its name."""
    return next((size, name) for least, size, name in UNITS if seconds >= least)


def _time_cell(figure: Callable[[Figures], float], size: float) -> Callable[[Summary], str]:
    return lambda one: _cell(one.spread(figure), _in(size))


def _in(size: float) -> Shown:
    def shown(seconds: float) -> str:
        value = seconds / size
        return f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"

    return shown


def _mean(found: Mean) -> str:
    return _points(found.mean) + ("" if found.standard_error is None else f" ± {_points(found.standard_error)}")


def _difference(lost: Mean) -> str:
    """What stopping trials early costs, and whether these replays can tell."""
    begin = "Mean regret as planned minus all to the end, in the same worlds:"
    if lost.standard_error is None:
        return f"{begin} {100 * lost.mean:+.2f} points; of one replay nothing follows: raise --repeat."
    if not lost.mean and not lost.standard_error:
        return f"{begin} 0, they choose alike in all {lost.n} replays."
    error = f"{100 * lost.mean:+.3f} points, standard error {100 * lost.standard_error:.3f}"
    if lost.is_distinguishable:
        return f"{begin} {error}: a difference at --repeat {lost.n}. A larger --repeat narrows it."
    return f"{begin} {error}: no difference that --repeat {lost.n} can tell. A larger one narrows it."


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f}"
