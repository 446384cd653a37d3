"""Whether results of a launch were seen before its rules for a verdict were changed, by the plans that it was given."""

from collections.abc import Mapping
from typing import Any

from orchestrator.spec import Experiment, VerdictSettings, label_of
from orchestrator.spec.rounds import seeds_of_rounds
from orchestrator.verdict.planning import LEAST_SEEDS

RULES = ("max_seeds", "margin", "confidence", "baseline")  # of verdict
DESIGN = ("until_decided", *RULES, "seeds", "variants")


def caution(content: Mapping[str, Any]) -> str:
    """What a verdict on the launch must say of rules that were changed after results had been seen; or nothing.

    A plan was looked at if trials ended under it and it could decide: with three seeds, or in rounds.
    """
    looks = [_design(plan["experiment"]) for plan in content["plans"][:-1] if plan.get("seen")]
    now = _design(content["plans"][-1]["experiment"])
    looks = [look for look in looks if look["until_decided"] or len(look["seeds"]) >= LEAST_SEEDS]
    changed = [key for key in DESIGN if any(_differs(key, look, now) for look in looks)]
    if not changed:
        return ""
    if changed == ["seeds"] and not now["until_decided"]:
        seen = sorted({len(look["seeds"]) for look in looks if look["seeds"] != now["seeds"]})
        return (
            f"Seeds were changed after a verdict on {' and on '.join(map(str, seen))} had been seen: each further "
            "look makes a wrong decision more likely than the confidence says. Rounds (verdict.until_decided) allow "
            "for that."
        )
    first = next(look for look in looks if any(_differs(key, look, now) for key in changed))
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
    verdict = experiment["verdict"]
    seeds = (experiment.get("confirm") or experiment)["seeds"]
    variants = [label_of(variant) for variant in experiment["variants"]]
    rules = {key: verdict.get(key) for key in ("until_decided", *RULES)}
    return {**rules, "until_decided": bool(rules["until_decided"]), "seeds": seeds, "variants": variants}


def _differs(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    rounds = before["until_decided"] or now["until_decided"]
    if key == "seeds":
        if not (before["until_decided"] and now["until_decided"]):
            return bool(before["seeds"] != now["seeds"])
        most = VerdictSettings.max_seeds  # if a plan does not say it
        orders = [seeds_of_rounds(design["seeds"], design["max_seeds"] or most) for design in (before, now)]
        return any(one != other for one, other in zip(*orders, strict=False))
    if key == "variants":  # a further one is judged with all others; one that is gone was judged before
        gone = set(before[key]) - set(now[key])
        return bool(gone) or (rounds and set(before[key]) != set(now[key]))
    return before[key] != now[key] and (rounds or key != "max_seeds")


def _brief(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else "none" if value is None else str(value)
