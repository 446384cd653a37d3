"""``launch.json``: what a launch was begun with, and every plan it has been given since."""

import json
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from orchestrator.errors import StorageError
from orchestrator.scheduling.looks import RULES
from orchestrator.spec import Plan, label_of, variant_label
from orchestrator.spec.differences import differences as changed_settings
from orchestrator.spec.differences import said
from orchestrator.spec.fields import to_json
from orchestrator.spec.plan import IMAGES, wherever

LAUNCH_FILE = "launch.json"
EARLIER_VERSION = "an earlier version began it"
TICK = 0.001  # seconds; more than is lost where times are written


def new_content(plan: Plan, again: bool = False, directory: str | None = None) -> dict[str, Any]:
    """The content for a new launch of ``plan``; ``again``: one that trains all of it, whatever was trained before.

    Paths in its experiment are relative to ``directory``; None if that will not last, as a job's.
    """
    first = _entry(plan)
    return {
        "id": uuid.uuid4().hex,
        "identity": plan.identity(),
        "created": first["time"],
        "again": again,
        "directory": directory,
        "basis": plan.basis(),
        "experiment": first["experiment"],
        "plans": [first],
    }


def amended(
    content: Mapping[str, Any], plan: Plan, ended: int = 0, directory: str | None = None
) -> dict[str, Any] | None:
    """``content`` with ``plan`` as its newest, run in ``directory``; None if it is that already.

    So many trials have ``ended`` by now.
    """
    newest, entry = content["plans"][-1], _entry(plan, ended)
    now = {**content, "directory": directory, "experiment": entry["experiment"]}
    if all(_without_places(newest[key]) == _without_places(entry[key]) for key in ("experiment", "networks")):
        same = newest["experiment"] == entry["experiment"] and content.get("directory") == directory
        return (
            None if same else {**now, "plans": [*content["plans"][:-1], {**newest, "experiment": entry["experiment"]}]}
        )
    before = {**newest, "seen": ended > newest.get("ended", 0)}
    return {**now, "plans": [*content["plans"][:-1], before, entry]}


def differences(content: Mapping[str, Any], plan: Plan) -> list[str]:
    """Why ``plan`` cannot amend the launch: what differs in words; empty if it can."""
    return _differences(content, plan.basis(), _entry(plan))


def takes_plan_of(content: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the newest plan of the launch with the content ``other`` could amend the one with ``content``."""
    if "basis" not in other:
        return False
    return not _differences(content, other["basis"], other["plans"][-1])


def _differences(content: Mapping[str, Any], basis: Any, entry: Mapping[str, Any]) -> list[str]:
    """Why a launch of ``basis`` with the plan ``entry`` is not the one with ``content``."""
    if "basis" not in content:
        return [EARLIER_VERSION]
    before = content["basis"]
    if before.get(IMAGES) == basis.get(IMAGES):
        before, basis = wherever(before), wherever(basis)
    found = changed_settings(before, basis)
    for label in entry["networks"]:
        found += [why for earlier in content["plans"] for why in _other_network(label, earlier, entry)]
    for label, draws in entry["draws"].items() if not found else ():
        for earlier in content["plans"]:
            known = earlier["draws"].get(label, [])
            if any(one != other for one, other in zip(known, draws, strict=False)):
                found.append(_other_draws(label, before["search"], basis["search"]))
    return list(dict.fromkeys(found))


def _other_network(label: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs in the network of the variant ``label`` between two plans; nothing if only one of them has it.

    Of the sources of classes that a search draws, one plan may have more than the other, as it may have more samples.
    """
    if label not in before["networks"]:
        return []
    old, new = before["networks"][label], now["networks"][label]
    found = [f"the arguments of {label}"] if old["arguments"] != new["arguments"] else []
    was, is_now = (_class_name(label, plan["experiment"]) for plan in (before, now))
    if was != is_now:  # a source is the same for every class in it
        return [*found, f"the network of {label} ({was} there, {is_now} now)"]
    one, other = _sources(old), _sources(new)
    pairs = [(one[classes], other[classes]) for classes in one.keys() & other.keys()]
    return found if all(a <= b or b <= a for a, b in pairs) else [*found, f"the source of {label}"]


def _class_name(label: str, experiment: Mapping[str, Any]) -> str | None:
    return next((variant_label(v["name"]) for v in experiment["variants"] if label_of(v) == label), None)


def _sources(network: Mapping[str, Any]) -> dict[str | None, set[str]]:
    """All sources of a network, and those by the classes that a search has drawn; earlier versions kept only the last.

    By classes, since files of one content may be edited apart; all together, since a file may get another name.
    """
    source = network["source"]
    by_classes: dict[str | None, set[str]] = {}
    if not isinstance(source, str):
        by_classes.update((classes, set(digests)) for classes, digests in source.items())
    return {None: {source} - {""} if isinstance(source, str) else set().union(*by_classes.values()), **by_classes}


def _other_draws(label: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Why settings drawn for ``label`` differ although the searches ``before`` and ``now`` have the same settings."""
    if now["name"] == "grid" and list(before["space"]) != list(now["space"]):
        return "the order of search.space"
    return f"the settings drawn for {label}, since other draws meet the contract"


def _listed(what: str, experiment: Mapping[str, Any]) -> list[Any]:
    seeds: list[Any] = experiment["seeds"]
    return seeds if what == "seed" else [label_of(variant) for variant in experiment["variants"]]


def change(content: Mapping[str, Any], plan: Plan) -> str:
    """How ``plan`` differs from the newest plan of ``content``, in words: what it adds and what it leaves out."""
    before, now = content["plans"][-1]["experiment"], to_json(plan.experiment)
    if _without_places(before) == _without_places(now):
        return ""
    parts = []
    for what in ("variant", "seed"):
        old, new = _listed(what, before), _listed(what, now)
        known = {value for plan in content["plans"] for value in _listed(what, plan["experiment"])}
        for words, some in (
            ("new", [v for v in new if v not in known]),
            ("again", [v for v in new if v not in old and v in known]),
            ("without", [v for v in old if v not in new]),
        ):
            if some:
                parts.append(f"{words} {what}{'s' * (len(some) > 1)} {', '.join(map(str, some))}")
    was, is_now = (set(_listed("variant", experiment)) for experiment in (before, now))
    if (now["search"] or {}).get("per") == "variant" and was - is_now and is_now - was:
        parts.append("a variant with another name has other draws (search.per: variant)")
    samples = [e["search"]["samples"] if e["search"] else None for e in (before, now)]
    if samples[0] != samples[1]:
        parts.append(f"{samples[1]} samples instead of {samples[0]}")
    seeds = [(e.get("confirm") or {}).get("seeds", []) for e in (before, now)]
    if seeds[0] != seeds[1]:
        parts.append(f"confirmed with seeds {', '.join(map(str, seeds[1]))}" if seeds[1] else "no confirm stage")
    decided = [e["verdict"].get("until_decided", False) for e in (before, now)]
    if decided[0] != decided[1]:
        parts.append("further rounds until decided" if decided[1] else "no further rounds")
    rules = [key for key in RULES if before["verdict"].get(key) != now["verdict"].get(key)]
    parts += [f"verdict.{key} {said(now['verdict'][key])}" for key in rules if now["verdict"].get("until_decided")]
    return "; ".join(parts) or "other settings that change no trial"


def opened(content: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """``content`` of a launch that is worked on from now on: after all ``others``, though the clock was set back."""
    return {**content, "opened": max([time.time(), *(opened_at(other) + TICK for other in others)])}


def opened_at(content: Mapping[str, Any]) -> float:
    """When a command last began to work on the launch, in seconds since 1970.

    Earlier versions kept only when it was last given a plan.
    """
    planned = content["plans"][-1]["time"] if "basis" in content else content["created"]
    return float(content.get("opened", planned))


def read_all(parent: Path, launch: str = "*") -> list[tuple[Path, dict[str, Any]]]:
    """The file and content of every launch in ``parent``, or of the one called ``launch``. Raises StorageError."""
    found = []
    for path in sorted(parent.glob(f"{launch}/{LAUNCH_FILE}")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            for key, kinds in (("created", (int, float)), ("identity", str), ("experiment", dict)):
                if not isinstance(content[key], kinds):
                    raise ValueError(f"{key} is {type(content[key]).__name__}")
            float(content.get("opened", 0.0))
            given = content.get("id", "0")
            if not isinstance(given, str) or not given.isalnum():
                raise ValueError("id is not of letters and digits")
            if "basis" in content:
                _check_plans(content)
            found.append((path, content))
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as problem:
            raise StorageError(f"{path}: damaged ({problem}); restore it or move its folder away") from problem
    return found


def _check_plans(content: Mapping[str, Any]) -> None:
    """Raise ValueError, TypeError or KeyError unless every plan has the form that :func:`_entry` gives it."""
    if not isinstance(content["basis"], dict) or not isinstance(content["plans"], list) or not content["plans"]:
        raise ValueError("no plans")
    for entry in content["plans"]:
        networks, draws = entry["networks"].values(), entry["draws"].values()
        float(entry["time"])
        lists = [entry["experiment"]["seeds"], entry["experiment"]["variants"], *draws]
        whole = all("arguments" in n and _sources(n) for n in networks)
        whole = whole and all(isinstance(v["name"], str) for v in entry["experiment"]["variants"])
        if not whole or not all(isinstance(x, list) for x in lists):
            raise ValueError("a plan is not whole")


def _entry(plan: Plan, ended: int = 0) -> dict[str, Any]:
    return {
        "time": time.time(),
        "ended": ended,
        "experiment": to_json(plan.experiment),
        "networks": plan.networks(),
        "draws": plan.draws(),
    }


def _without_places(tree: Any) -> Any:
    """``tree`` without the folders of the files that it names: in another folder they are the same."""
    if isinstance(tree, Mapping):
        return {key: _without_places(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_places(value) for value in tree]
    return PurePath(tree).name if isinstance(tree, str) and "/" in tree else tree
