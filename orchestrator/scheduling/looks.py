"""Whether results of a launch were seen before its rules for a verdict were changed, by the plans that it was given."""

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.spec import Experiment, VerdictSettings, label_of, variant_label
from orchestrator.spec.rounds import seeds_of_rounds
from orchestrator.spec.search import SAMPLES
from orchestrator.text import listed
from orchestrator.verdict.planning import LEAST_SEEDS

RULES = ("max_seeds", "margin", "confidence", "baseline")  # of verdict
GROWING = {"seeds": "seeds", "variants": "variants", "samples": "samples of the search"}  # what a launch grows by
DESIGN = ("until_decided", *RULES, *GROWING)


def caution(content: Mapping[str, Any]) -> str:
    """What a verdict on the launch must say of rules that were changed after results had been seen; or nothing.

    A plan was looked at if trials ended under it. Whether to grow was decided by a verdict only if there could be one:
    with three seeds, or in rounds.
    """
    *earlier, now = [_design(plan["experiment"]) for plan in content["plans"]]
    looks = [look for look, plan in zip(earlier, content["plans"], strict=False) if plan.get("seen")]
    told = [(key, look) for key in DESIGN for look in looks if _counts(key, look, now)]
    if not told:
        return ""
    changed = list(dict.fromkeys(key for key, _ in told))
    if not now["until_decided"] and all(_only_grows(key, look, now) for key, look in told):
        seen = sorted({len(look["seeds"]) for _, look in told})
        rounds = " Rounds (verdict.until_decided) allow for that." if changed == ["seeds"] else ""
        return (
            f"{listed([GROWING[key] for key in changed]).capitalize()} were added after a verdict on "
            f"{' and on '.join(map(str, seen))} seeds had been seen: each further look makes a wrong decision more "
            f"likely than the confidence says.{rounds}"
        )
    first = next(look for look in looks if any(look is other for _, other in told))
    words = ", ".join(f"{key} {_brief(first[key])}, now {_brief(now[key])}" for key in changed)
    return f"The rules were changed after results had been seen ({words}): wrong decisions may be more frequent."


def searched_before(content: Mapping[str, Any], experiment: Experiment) -> str:
    """Why ``experiment`` cannot amend the launch: it confirms with seeds that were searched with; or nothing.

    Seeds of rounds that may follow are among them. What an earlier version has let a launch confirm goes on.
    """
    if experiment.confirm is None:
        return ""
    plans = [plan["experiment"] for plan in content["plans"]]
    searched = {seed for plan in plans if plan.get("search") for seed in plan["seeds"]}
    verdict = experiment.verdict
    seeds = seeds_of_rounds(experiment.confirm.seeds, verdict.max_seeds if verdict.until_decided else 0)
    known = plans[-1]["confirm"]["seeds"] if plans[-1].get("confirm") else []
    if not (both := sorted(searched & set(seeds) - set(known))):
        return ""
    said = f"seed{'s' * (len(both) > 1)} {', '.join(map(str, both))}"
    return f"confirm.seeds: this launch has searched with {said}, and what was selected on is not judged on"


def _design(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how a verdict is reached: the same from the first look to the last, its error rates hold."""
    verdict, confirm, search = experiment["verdict"], experiment.get("confirm"), experiment.get("search")
    rules = {key: verdict.get(key) for key in ("until_decided", *RULES)}
    return {
        **rules,
        "until_decided": bool(rules["until_decided"]),
        "baseline": rules["baseline"] and variant_label(rules["baseline"]),
        "seeds": (confirm or experiment)["seeds"],
        "variants": [label_of(variant) for variant in experiment["variants"]],
        "samples": _samples(search) if search else None,
        "searched": experiment["seeds"] if search else [],
        "confirmed": bool(confirm),
    }


def _samples(search: Mapping[str, Any]) -> float:
    """How many settings are tried; of a grid no more than its combinations, infinity if they are not all listed."""
    samples: int | None = search.get("samples")
    if search.get("name") != "grid":
        return samples or SAMPLES
    choices = [distribution.get("choice") for distribution in search["space"].values()]
    size = math.inf if None in choices else math.prod(map(len, choices))
    return min(samples or math.inf, size)


def _counts(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the verdict must say that ``key`` was changed after a look at what ``before`` had trained.

    A search that grows, or stays as it is, and is confirmed from now on is judged on new seeds alone.
    """
    newly_confirmed = before["searched"] and now["confirmed"] and not before["confirmed"]
    grown = set(before["searched"]) <= set(now["searched"]) and _only_grows("samples", before, now)
    if key in ("seeds", "samples") and newly_confirmed and grown:
        return False
    could_decide = before["until_decided"] or len(before["seeds"]) >= LEAST_SEEDS
    return _differs(key, before, now) and (could_decide or not _only_grows(key, before, now))


def _only_grows(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether nothing of ``key`` that was looked at is given up."""
    if key == "samples":
        return (before[key] or 0) <= (now[key] or 0)
    return key in GROWING and set(before[key]) <= set(now[key])


def _differs(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    rounds = before["until_decided"] or now["until_decided"]
    if key == "seeds" and before["until_decided"] and now["until_decided"]:
        most = VerdictSettings.max_seeds  # if a plan does not say it
        orders = [seeds_of_rounds(design["seeds"], design["max_seeds"] or most) for design in (before, now)]
        return any(one != other for one, other in zip(*orders, strict=False))
    if key in ("seeds", "variants"):  # their order decides nothing
        return set(before[key]) != set(now[key])
    if key == "samples" and before["confirmed"] and now["confirmed"]:
        return False  # what is chosen is judged on new seeds
    return before[key] != now[key] and (rounds or key != "max_seeds")


def _brief(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value == math.inf:
        return "all"
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else "none" if value is None else str(value)
