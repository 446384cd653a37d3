"""The transforms that have a compiled form, with every argument they take: names, defaults and allowed values."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from orchestrator.data.augment import arguments as read
from orchestrator.data.augment.arguments import BORDERS, CONSTANT, INTERPOLATIONS, LINEAR, Reader
from orchestrator.text import did_you_mean

_REQUIRED: Any = object()


class Argument(NamedTuple):
    """The default, as it would be written, and how a value is read."""

    default: Any
    read: Reader


_NEAREST = INTERPOLATIONS["nearest"]
_POSITIONS = read.one_of("center", "top_left", "top_right", "bottom_left", "bottom_right", "random")
_MASKS = {
    "fill_mask": Argument(0, read.fill_mask),
    "mask_interpolation": Argument(_NEAREST, read.code(INTERPOLATIONS)),
    "rotate_method": Argument("largest_box", read.one_of("largest_box", "ellipse")),
}
_BORDER = {"border_mode": Argument(CONSTANT, read.code(BORDERS)), "fill": Argument(0, read.fill)}
_WARP = {"interpolation": Argument(LINEAR, read.code(INTERPOLATIONS)), **_BORDER, **_MASKS}


def _p(default: float) -> dict[str, Argument]:
    return {"p": Argument(default, read.probability)}


SCHEMAS: dict[str, dict[str, Argument]] = {
    "NoOp": _p(0.5),
    "HorizontalFlip": _p(0.5),
    "VerticalFlip": _p(0.5),
    "Transpose": _p(0.5),
    "RandomRotate90": _p(1),
    "D4": _p(1),
    "SquareSymmetry": _p(1),
    "ShiftScaleRotate": {
        "shift_limit": Argument(0.0625, read.symmetric(-1, 1)),  # fraction of the side
        "scale_limit": Argument(0.1, read.symmetric(-1)),  # added to 1
        "rotate_limit": Argument(45, read.symmetric()),  # degrees
        "shift_limit_x": Argument(None, read.optional(read.symmetric(-1, 1))),
        "shift_limit_y": Argument(None, read.optional(read.symmetric(-1, 1))),
        **_WARP,
        **_p(0.5),
    },
    "Affine": {
        "scale": Argument(1, read.per_axis(absent=1)),
        "translate_percent": Argument(None, read.optional(read.per_axis(absent=0))),  # fraction of the side
        "translate_px": Argument(None, read.optional(read.per_axis(absent=0))),
        "rotate": Argument(0, read.fixed),  # degrees
        "shear": Argument(0, read.per_axis(absent=1)),  # degrees; an axis left out is sheared by 1, as in the library
        "fit_output": Argument(False, read.boolean),
        "keep_ratio": Argument(False, read.boolean),
        "balanced_scale": Argument(False, read.boolean),
        **_WARP,
        **_p(0.5),
    },
    "PadIfNeeded": {
        "min_height": Argument(1024, read.optional(read.positive)),
        "min_width": Argument(1024, read.optional(read.positive)),
        "pad_height_divisor": Argument(None, read.optional(read.positive)),
        "pad_width_divisor": Argument(None, read.optional(read.positive)),
        "position": Argument("center", _POSITIONS),
        "fill_mask": Argument(0, read.fill_mask),
        **_BORDER,
        **_p(1),
    },
    "RandomCrop": {
        "height": Argument(_REQUIRED, read.positive),
        "width": Argument(_REQUIRED, read.positive),
        "pad_if_needed": Argument(False, read.boolean),
        "pad_position": Argument("center", _POSITIONS),
        "fill_mask": Argument(0, read.fill_mask),
        **_BORDER,
        **_p(1),
    },
    "CoarseDropout": {
        "num_holes_range": Argument((1, 2), read.counts),
        "hole_height_range": Argument((0.1, 0.2), read.lengths),
        "hole_width_range": Argument((0.1, 0.2), read.lengths),
        "fill": Argument(0, read.fill_or_pattern),
        "fill_mask": Argument(None, read.optional(read.fill_mask)),
        **_p(0.5),
    },
}

# Names from Albumentations 1 and earlier, and what says the same today.
_RENAMED = {
    "always_apply": "p: 1.0",
    "max_holes": "num_holes_range: [low, high]",
    "min_holes": "num_holes_range: [low, high]",
    "num_holes": "num_holes_range: [low, high]",
    "max_height": "hole_height_range: [low, high]",
    "min_height": "hole_height_range: [low, high]",
    "max_width": "hole_width_range: [low, high]",
    "min_width": "hole_width_range: [low, high]",
    "fill_value": "fill",
    "cval": "fill",
    "value": "fill",
    "mask_fill_value": "fill_mask",
    "mask_value": "fill_mask",
    "cval_mask": "fill_mask",
    "mode": "border_mode",
    "pad_mode": "border_mode",
    "var_limit": "std_range: [low, high]",
}


def parse(name: str, written: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Every argument of the compiled transform ``name``, defaults included, and every problem in words."""
    schema = SCHEMAS[name]
    problems = [unknown_argument(argument, schema) for argument in written if argument not in schema]
    settings = {}
    for argument, (default, reader) in schema.items():
        value = written.get(argument, default)
        if value is _REQUIRED:
            problems.append(f"{argument} is missing")
            continue
        try:
            settings[argument] = reader(value)
        except ValueError as problem:
            problems.append(f"{argument}: {problem}")
    return settings, problems or list(_together(settings))


def _together(settings: Mapping[str, Any]) -> Iterable[str]:
    """Problems of arguments that are right alone but not side by side."""
    if settings.get("translate_percent") is not None and settings.get("translate_px") is not None:
        yield "translate_percent and translate_px: give one of them"
    if settings.get("keep_ratio") and settings["scale"][0] != settings["scale"][1]:
        yield "scale: with keep_ratio both axes need the same span"
    for axis in ("height", "width"):
        least, divisor = f"min_{axis}", f"pad_{axis}_divisor"
        if least in settings and (settings[least] is None) == (settings[divisor] is None):
            yield f"{least} and {divisor}: give one of them, and null for the other"


def unknown_argument(argument: str, known: Iterable[str]) -> str:
    """The problem of an argument that does not exist, with what it is called now or the nearest spelling."""
    known = list(known)
    renamed = _RENAMED.get(argument, "")
    if renamed.partition(":")[0] in known:
        return f"{argument} is an old name; write {renamed}"
    return f"unknown argument {argument}{did_you_mean(argument, known)}; allowed: {', '.join(sorted(known))}"
