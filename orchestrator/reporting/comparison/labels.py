"""Names beside the points of a scatter plot, placed so that none covers another name or a point."""

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.transforms import Bbox

from orchestrator.reporting.fonts import fit
from orchestrator.reporting.style import HAIRLINE, INK, QUIET, SMALL

Point = tuple[float, float]
POINT = 7.0  # half the side, in pixels, of the room that a point takes
GAP = 4.0  # pixels between a point and its name


def place_labels(
    axes: Any, points: Mapping[str, Point], emphasised: Collection[str], lines: Sequence[Sequence[Point]] = ()
) -> None:
    """Write each name near its point, with a thin line where it is not beside it; off the ``lines`` if there is room.

    Fixes the limits of the axes, whose figure must have a canvas.
    """
    figure = axes.figure
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    figure.draw_without_rendering()  # the layout moves the axes
    room = axes.get_window_extent().padded(-GAP)
    pixels = {name: tuple(axes.transData.transform(point)) for name, point in points.items()}
    taken = [_around(x, y, POINT, POINT) for x, y in pixels.values()]
    drawn = [spot for line in lines for spot in _along([tuple(axes.transData.transform(p)) for p in line])]
    for name in points:
        text = axes.annotate(
            name, points[name], xytext=(0, 0), textcoords="offset pixels", va="center", ha="center", fontsize=SMALL,
            fontweight="bold" if name in emphasised else "normal", color=INK if name in emphasised else QUIET,
        )  # fmt: skip
        fit(text)
        box = text.get_window_extent(figure.canvas.get_renderer())
        centre = _free(pixels[name], (box.width / 2, box.height / 2), room, taken, drawn)
        offset = (centre[0] - pixels[name][0], centre[1] - pixels[name][1])
        points_each = 72 / figure.dpi
        text.set_position((offset[0] * points_each, offset[1] * points_each))
        text.anncoords = "offset points"
        text.set_in_layout(False)
        taken.append(_around(*centre, box.width / 2 + 2, box.height / 2 + 1))
        _leader(axes, pixels[name], taken[-1])


def _leader(axes: Any, point: Point, box: Bbox) -> None:
    """A thin line from a point to a name that is far from it."""
    nearest = (min(max(point[0], box.x0), box.x1), min(max(point[1], box.y0), box.y1))
    if math.dist(point, nearest) > 3 * POINT:
        ends = axes.transData.inverted().transform([point, nearest])
        axes.plot(*ends.T, color=HAIRLINE, linewidth=1, zorder=0, scalex=False, scaley=False)


def _free(point: Point, half: Point, room: Bbox, taken: Sequence[Bbox], drawn: Sequence[Point]) -> Point:
    """The first place that is free; if need be one on the line; if there is none at all, the last that was tried."""
    centre = point
    for avoided in (drawn, ()):
        for centre in _around_point(point, half):
            box = _around(*centre, *half)
            inside = box.x0 >= room.x0 and box.x1 <= room.x1 and box.y0 >= room.y0 and box.y1 <= room.y1
            covers = any(box.overlaps(other) for other in taken) or any(box.contains(*spot) for spot in avoided)
            if inside and not covers:
                return centre
    return centre


def _around_point(point: Point, half: Point) -> Iterator[Point]:
    """Centres of a text of half size ``half``: beside the point, above, below, at its corners; then farther away."""
    for far in (0.0, 8.0, 18.0, 30.0, 45.0, 65.0, 90.0, 120.0, 160.0, 210.0):
        across, up = half[0] + POINT + GAP + far, half[1] + POINT + GAP / 2 + far
        yield point[0] + across, point[1]
        yield point[0] - across, point[1]
        yield point[0], point[1] + up
        yield point[0], point[1] - up
        for x in (1, -1):
            for y in (1, -1):
                yield point[0] + x * (half[0] + POINT), point[1] + y * up
                yield point[0] + x * across, point[1] + y * up / 2


def _around(x: float, y: float, across: float, up: float) -> Bbox:
    return Bbox.from_extents(x - across, y - up, x + across, y + up)


def _along(corners: Sequence[Point]) -> list[Point]:
    """Points on the line through ``corners``, a few pixels apart."""
    found: list[Point] = []
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        count = max(2, int(math.dist((x0, y0), (x1, y1)) / 3))
        found += zip(np.linspace(x0, x1, count).tolist(), np.linspace(y0, y1, count).tolist(), strict=True)
    return found
