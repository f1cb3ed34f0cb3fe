"""Paint outlines and colours onto a picture, in units of half a head's width.

A brush stands in the middle of a head, tilted and turned as it is: x is to the right, y down.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, ...]
Points = NDArray[np.float64]

INK, WHITE = (34, 28, 30), (255, 255, 255)


def to_colour(levels: NDArray[np.float64]) -> Colour:
    """Return the colour of these levels, clipped to 0 .. 255."""
    return tuple(int(level) for level in np.clip(levels, 0, 255))


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return the colour on the way from `one` (share 0) to `other` (share 1)."""
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))


def contour(colour: Colour, share: float) -> Colour:
    """Return the colour of a line that is seen on `colour`: darker, but lighter on black fur."""
    return mix(colour, INK, share) if sum(colour) > 210 else mix(colour, WHITE, 0.45 * share)


def along(text: str, at: tuple[float, float] = (0, 0)) -> Points:
    """Return the points of a path written as in SVG, "x,y x,y x,y", moved by `at`."""
    return np.array([point.split(",") for point in text.split()]).astype(np.float64) + at


def mirrored(text: str) -> Points:
    """Return the outline whose right half is the path, from top to bottom."""
    right = along(text)
    return np.concatenate([right, right[-2:0:-1] * (-1, 1)])


def smooth(points: Points) -> Points:
    """Return a closed curve through `points` (a uniform Catmull-Rom spline)."""
    here = points[:, None]
    before, after, beyond = (np.roll(here, shift, axis=0) for shift in (1, -1, -2))
    t = np.linspace(0, 1, 8, endpoint=False)[:, None]
    square, cube = 2 * before - 5 * here + 4 * after - beyond, 3 * (here - after) + beyond - before
    return (here + 0.5 * t * (after - before + t * (square + t * cube))).reshape(-1, 2)


def _bent(points: Points) -> Points:
    """Return the curve from the first of three points to the last that the middle one attracts (Bézier)."""
    t = np.linspace(0, 1, 12)[:, None]
    curve: Points = (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t**2 * points[2]
    return curve


@dataclass(frozen=True)
class Brush:
    """Paints on `canvas` in units of a head that sits at `centre` (pixels), tilted, and turned to a side."""

    canvas: Image.Image
    centre: tuple[float, float]
    unit: float
    tilt: float
    turn: float
    rough: np.random.Generator
    flip: int = 1

    def toward(self, depth: float) -> "Brush":
        """Return the brush for what lies `depth` before the middle: it moves aside when the head turns."""
        x, y = self._pixels(np.array([(self.flip * self.turn * depth, 0)]))[0]
        return replace(self, centre=(x, y))

    def halves(self) -> tuple["Brush", "Brush"]:
        """Return the brush and its mirror image, for what comes in pairs."""
        return self, replace(self, flip=-self.flip)

    def fill(self, outline: Points, colour: Colour, *, edge: float = 0, fluff: float = 0) -> None:
        """Fill a polygon; `edge` is the width of a darker rim, `fluff` how far hairs stand off."""
        if fluff:
            hairs = 1 + fluff * self.rough.uniform(-1, 1, (len(outline), 1))
            outline = outline.mean(axis=0) + (outline - outline.mean(axis=0)) * hairs
        corners = list(map(tuple, self._pixels(outline)))
        pen = ImageDraw.Draw(self.canvas, "RGBA")
        pen.polygon(corners, colour)
        if edge:
            rim, width = contour(colour, 0.45), max(1, round(edge * self.unit))
            pen.line([*corners, *corners[:2]], rim, width)

    def oval(self, middle: tuple[float, float], axes: tuple[float, float], colour: Colour) -> None:
        """Fill an ellipse; `axes` are the half ones."""
        turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
        self.fill(np.stack([np.cos(turn), np.sin(turn)], axis=1) * axes + middle, colour)

    def line(self, points: Points, colour: Colour, width: float) -> None:
        """Draw a line with round ends, straight through two points or bent by three."""
        corners = list(map(tuple, self._pixels(_bent(points) if len(points) == 3 else points)))
        pen, thick = ImageDraw.Draw(self.canvas, "RGBA"), max(1, round(width * self.unit))
        pen.line(corners, colour, thick, joint="curve")
        for end in (corners[0], corners[-1]):
            pen.circle(end, thick / 2 - 0.5, colour)

    @contextmanager
    def within(self, outline: Points) -> Iterator["Brush"]:
        """Give a brush whose paint stays inside `outline`."""
        corners = self._pixels(outline)
        box = np.concatenate([np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))]).astype(int)
        left, top, right, bottom = box.tolist()
        layer = self.canvas.crop((left, top, right, bottom))
        yield replace(self, canvas=layer, centre=(self.centre[0] - left, self.centre[1] - top))
        stencil = Image.new("1", layer.size)
        ImageDraw.Draw(stencil).polygon(list(map(tuple, corners - (left, top))), 1)
        self.canvas.paste(layer, (left, top), stencil)

    def _pixels(self, points: Points) -> Points:
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        tilted: Points = points * (self.flip, 1) @ np.array([[cos, sin], [-sin, cos]])
        return tilted * self.unit + self.centre
