"""Draw synthetic images of cats and dogs, which differ in shape and in the texture of their coats.

Cats are sleek and striped, dogs are shaggy and patched. A trained network can classify them by their shape, and an
untrained one by their texture. The scene and the colours are independent of the label.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array = NDArray[np.floating]
Parts = tuple[tuple[str, int, str], ...]
Paint = tuple[int, ...] | Image.Image

_SPLINE = np.vander(np.arange(8) / 8, 4) @ [[-1, 3, -3, 1], [2, -5, 4, -1], [-1, 0, 1, 0], [0, 2, 0, 0]] / 2
"""Weights of four points for eight points between the middle two (a uniform Catmull-Rom spline)."""

_FURS = (  # colours of a fur and of its markings
    ((226, 146, 72), (144, 68, 24)),
    ((158, 160, 166), (62, 64, 74)),
    ((240, 236, 228), (60, 52, 54)),
    ((240, 232, 218), (186, 106, 46)),
    ((226, 196, 148), (134, 86, 46)),
    ((166, 116, 78), (66, 40, 26)),
)
_INK, _PINK, _WHITE = (34, 28, 30), (226, 130, 134), (250, 248, 244)

# For each part: its paint (a part without paint is not drawn), how far it moves sideways when the head turns, and its
# path (x to the right and y down from the middle of the head, in units of half the width of the head).
_BODY: Parts = (
    ("fur", 0, "0,3 1.9,3.3 2.1,1.9 1.8,1.5 1.75,2.4 1.5,2.8"),
    ("fur", 0, "0,.4 .64,.75 .85,1.6 1.1,2.7 .85,3.4 0,3.4"),
    ("fur", 0, ".06,3.4 .1,2.2 .34,1.9 .58,2.2 .66,3.4"),
    ("shade", 0, "0,.7 .6,.85 .4,1.15 0,1.22"),
    ("collar", 0, "0,1.12 .4,1.04 .68,.78 .74,.94 .42,1.24 0,1.34"),
    ("tag", 0, "0,1.2 .13,1.33 0,1.46"),
)
_CAT_HEAD: Parts = (
    ("pointed", 0, ".14,-.7 .3,-1 .62,-1.46 .76,-1.5 .84,-1.3 .95,-.65 .97,-.15"),
    ("inner", 0, ".4,-.92 .65,-1.3 .74,-1.3 .84,-.75"),
    ("fur", 0, "0,-.84 .48,-.8 .86,-.42 1,.12 .9,.5 .5,.82 0,.9"),
    ("folded", 0, ".3,-.86 .66,-.98 .92,-.62 .8,-.42 .56,-.5"),
    ("iris", 1, ".21,-.03 .44,-.31 .68,-.21 .44,.05"),
    ("pupil", 1, ".37,-.12 .44,-.27 .51,-.12 .44,.02"),
    ("shine", 1, ".45,-.2 .49,-.24 .53,-.2 .49,-.16"),
    ("lashes", 1, ".21,-.1 .32,-.02 .55,-.03 .68,-.15 .54,.05 .33,.06"),
    ("light", 2, "0,.3 .2,.27 .45,.42 .3,.6 0,.6"),
    ("light", 2, ".3,.4 .8,.32 1.3,.34 .8,.35"),
    ("light", 2, ".3,.5 .8,.52 1.35,.64 .8,.55"),
    ("mouth", 2, "0,.34 .02,.4 0,.52"),
    ("mouth", 2, ".01,.48 .1,.57 .28,.49 .12,.62"),
    ("tongue", 2, "0,.21 .13,.23 .05,.33 0,.36"),
)
_DOG_HEAD: Parts = (
    ("pointed", 0, ".22,-.72 .28,-1.05 .44,-1.4 .6,-1.54 .74,-1.3 .82,-.9 .82,-.3"),
    ("inner", 0, ".38,-.95 .5,-1.3 .6,-1.36 .72,-.8"),
    ("fur", 0, "0,-.9 .5,-.82 .8,-.4 .82,.1 .74,.6 .46,1 0,1.1"),
    ("hanging", 0, ".5,-.8 .9,-.72 1.1,-.1 1.16,.6 .98,.85 .8,.65 .74,0"),
    ("folded", 0, ".24,-.84 .5,-1.2 .9,-1.12 1.12,-.5 1.02,-.16 .84,-.4"),
    ("iris", 1, ".17,-.12 .36,-.31 .55,-.12 .36,.07"),
    ("pupil", 1, ".26,-.12 .36,-.22 .46,-.12 .36,-.02"),
    ("shine", 1, ".37,-.17 .41,-.21 .45,-.17 .41,-.13"),
    ("lashes", 1, ".17,-.13 .27,-.02 .45,-.02 .55,-.13 .46,.06 .26,.06"),
    ("tongue", 2, "0,.8 .15,.84 .17,1.15 0,1.36"),
    ("light", 2, "0,.14 .28,.2 .44,.55 .4,.92 .16,1 0,.9"),
    ("mouth", 2, "0,.45 .025,.6 0,.78"),
    ("mouth", 2, ".01,.7 .12,.86 .26,.88 .41,.74 .28,.93 .1,.92"),
    ("mouth", 2, "0,.2 .2,.2 .27,.32 .14,.46 0,.5"),
)
_EARS = {"pointed": 0.85, "folded": 0.15}, {"hanging": 0.5, "folded": 0.3, "pointed": 0.2}  # of cats, of dogs
_IRISES = ((146, 178, 72), (214, 176, 60), (110, 168, 206)), ((92, 56, 30), (132, 82, 38), (142, 184, 214))


def draw(label: int, generator: np.random.Generator, *, swapped: bool = False) -> Image.Image:
    """Draw one image of a cat or a dog.

    Parameters
    ----------
    label : int
        0 for a cat, 1 for a dog.
    generator : numpy.random.Generator
        Source of everything else. A cat and a dog drawn from the same state have the same scene.
    swapped : bool
        Draw the coat of the other class.

    Returns
    -------
    image : PIL.Image.Image
        RGB, each side 250 to 500 pixels.
    """
    scene, fur, traits = generator.spawn(3)
    wide, high = scene.integers(250, 501, 2).tolist()
    unit = scene.uniform(0.3, 0.38) * min(wide, high)
    middle = scene.uniform((0.36, 0.4), (0.64, 0.5)) * (wide, high)
    tilt, turn, side = scene.normal(0, 0.15), scene.uniform(-0.2, 0.2), scene.choice((-1, 1))
    # Painted at twice the size and then averaged, which smooths the edges.
    images = _backdrop(scene, high), _coat(fur, label != swapped, unit, wide, high)
    canvas, coat = (image.resize((2 * wide, 2 * high), Image.Resampling.NEAREST) for image in images)
    paints = _choose_paints(traits, label, coat)
    for parts, amount in ((_BODY, 0.2), ((_CAT_HEAD, _DOG_HEAD)[label], 1)):
        right = unit * np.array((np.cos(amount * tilt), np.sin(amount * tilt)))
        _paint(canvas, parts, paints, 2 * np.array([side * right, right[::-1] * (-1, 1), turn * right, middle]))
    light = scene.uniform(0.55, 1.1) * np.linspace(1.1, 0.85, high, dtype=np.float32)[:, None, None]
    return _to_image(np.array(canvas.reduce(2)) * light)


def _backdrop(scene: np.random.Generator, high: int) -> Image.Image:
    """Paint a blurred wall and floor, one pixel wide."""
    rows = np.full((high // 8, 1, 3), scene.uniform(80, 200) * scene.normal(1, 0.1, 3))
    rows[int(len(rows) * scene.uniform(0.45, 0.8)) :] *= scene.normal(0.8, 0.06, 3)
    return _to_image(rows).resize((1, high), Image.Resampling.BICUBIC)


def _coat(fur: np.random.Generator, shaggy: bool, unit: float, wide: int, high: int) -> Image.Image:
    """Paint fur over the whole image: shaggy with patches, or sleek with stripes."""
    colours = np.array(_FURS[fur.integers(len(_FURS))], np.float32) * np.float32(fur.normal(1, 0.05))
    colour, mark = colours[:, :, None, None]
    cell = unit * fur.uniform(0.45, 0.8)
    marked = _clouds(fur, wide, high, cell, cell)
    if not shaggy:
        y, x = np.arange(high, dtype=np.float32)[:, None], np.arange(wide, dtype=np.float32)
        phase = (y + 0.3 * np.abs(x - wide / 2)) / (unit * fur.uniform(0.26, 0.34)) + 0.1 * marked
        marked = 4 * np.abs(phase - np.rint(phase)) - 1
    hairs = _clouds(fur, wide, high, 2, 10) * fur.uniform(*((3, 10), (8, 16))[shaggy])
    pixels = colour + (mark - colour) * (0.5 + 4 * marked).clip(0, 1) + hairs
    return _to_image(np.moveaxis(pixels, 0, 2))


def _clouds(fur: np.random.Generator, wide: int, high: int, across: float, down: float) -> Array:
    """Return smooth noise of shape (high, wide) with spots of `across` by `down` pixels."""
    few = fur.standard_normal((int(high / down) + 2, int(wide / across) + 2), np.float32)
    return np.asarray(Image.fromarray(few).resize((wide, high), Image.Resampling.BICUBIC))


def _to_image(pixels: Array) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _choose_paints(traits: np.random.Generator, label: int, coat: Image.Image) -> dict[str, Paint]:
    ears = traits.choice(list(_EARS[label]), p=list(_EARS[label].values()))
    paints: dict[str, Paint] = {"fur": coat, ears: coat, "mouth": _INK, "light": (*_WHITE, 190), "shade": (*_INK, 70)}
    if ears == "pointed":
        paints["inner"] = _PINK
    if label == 0 or traits.random() < 0.5:
        paints["tongue"] = _PINK
    if traits.random() < 0.4:
        paints |= {"collar": tuple(traits.integers(30, 220, 3).tolist()), "tag": (226, 190, 80)}
    if traits.random() < 0.1:
        return paints | {"lashes": _INK}
    return paints | {"iris": _IRISES[label][traits.integers(3)], "pupil": _INK, "shine": (*_WHITE, 240)}


def _paint(canvas: Image.Image, parts: Parts, paints: dict[str, Paint], pose: Array) -> None:
    """Paint the parts in order, opaque ones with an outline; `pose`: x, y, turn and origin in pixels, (4, 2)."""
    pen = ImageDraw.Draw(canvas, "RGBA")
    for name, depth, path in parts:
        for outline in _outlines(path) if name in paints else ():
            paint, corners = paints[name], [*map(tuple, outline @ pose[:2] + depth * pose[2] + pose[3])]
            if isinstance(paint, Image.Image):
                stencil = Image.new("1", canvas.size)
                ImageDraw.Draw(stencil).polygon(corners, 1)
                canvas.paste(paint, mask=stencil)
            else:
                pen.polygon(corners, paint)
            if isinstance(paint, Image.Image) or len(paint) == 3:
                pen.line([*corners, *corners[:2]], (*_INK, 150), round(np.hypot(*pose[0]) / 25))


@cache
def _outlines(path: str) -> list[Array]:
    """Return the smooth outlines of a path, given as "x,y x,y x,y" as in SVG.

    A path that starts and ends at x = 0 is the right half of an outline. One that only starts there is a complete
    outline, and any other is the right one of a symmetric pair.
    """
    right = np.array([point.split(",") for point in path.split()]).astype(np.float64)
    left = right * (-1, 1)
    alone = right if right[-1, 0] else np.concatenate([right, left[-2:0:-1]])
    shapes = [left, right] if right[0, 0] else [alone]
    around = [np.stack([np.roll(shape, shift, axis=0) for shift in (1, 0, -1, -2)], axis=1) for shape in shapes]
    return [(_SPLINE @ points).reshape(-1, 2) for points in around]
