"""Draw a small data set of cats and dogs, zipped the way Kaggle ships its own.

Traits are drawn first and painted after. The scene (size, backdrop, pose, light) is drawn before anything
asks whether a cat or a dog sits in it, so it says nothing about the label. Coats and patterns are shared;
cats and dogs differ where cats and dogs do: head, ears, eyes, muzzle, whiskers, with exceptions.
"""

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ..sources.classes import CLASSES
from ..storage import to_csv, write_atomic
from .brush import INK, WHITE, Brush, along, contour, mirrored, mix, smooth
from .traits import Animal, Scene, draw_animal, draw_scene

OUTER = "dogs-vs-cats-redux-kernels-edition.zip"
"""What Kaggle calls the zip that holds the others."""

QUALITY = 88
"""JPEG quality of the pictures."""

_FINE = 2
"""Pictures are painted this many times larger and averaged down, which smooths their edges."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every zip member, the earliest a zip can say: the same seed gives the same bytes on any day."""

_PINK, _TONGUE = (232, 150, 150), (226, 104, 118)

# A cat's come first and a dog's second, as in CLASSES; of what has two sides it is the right one.
_HEADS = (
    "0,-.84 .48,-.8 .86,-.42 1,.12 .9,.5 .5,.82 0,.9",
    "0,-.9 .5,-.82 .8,-.4 .82,.1 .74,.6 .46,1 0,1.1",
)
_TRUNKS = (
    "0,.4 .62,.75 .8,1.6 1.05,2.7 .8,3.3 0,3.35",
    "0,.4 .66,.75 .9,1.6 1.16,2.7 .9,3.3 0,3.35",
)
_TAILS = ("0.7,3.1 2.1,3.3 1.9,1.5", ".7,3.1 2.1,3.3 1.75,2.1")
_EAR_OUTLINES: tuple[Mapping[str, str], ...] = (
    {
        "upright": ".18,-.7 .3,-.98 .46,-1.22 .72,-1.5 .86,-1.1 .95,-.65 .97,-.15",
        "folded": ".3,-.86 .66,-.98 .92,-.62 .8,-.42 .56,-.5",
    },
    {
        "upright": ".22,-.72 .28,-1.05 .44,-1.4 .6,-1.54 .74,-1.3 .82,-.9 .82,-.3",
        "folded": ".24,-.84 .5,-1.2 .9,-1.12 1.12,-.5 1.02,-.16 .84,-.4",
        "hanging": ".5,-.8 .9,-.72 1.1,-.1 1.16,.6 .98,.85 .8,.65 .74,0",
    },
)


def draw(label: int, generator: np.random.Generator) -> Image.Image:
    """Draw one picture of a cat or a dog.

    Parameters
    ----------
    label : int
        0 for a cat, 1 for a dog.
    generator : numpy.random.Generator
        Where every trait comes from. A cat and a dog drawn from the same state sit in the same scene.

    Returns
    -------
    picture : PIL.Image.Image
        RGB, 250 to 500 pixels a side.
    """
    scene, animal = draw_scene(generator), draw_animal(label, generator)
    canvas = _backdrop(scene, np.random.default_rng([scene.seed, 0]))
    centre = (scene.centre[0] * canvas.width, scene.centre[1] * canvas.height)
    rough = np.random.default_rng([scene.seed, 1])
    brush = Brush(canvas, centre, scene.unit * min(canvas.size), scene.tilt, scene.turn, rough)
    _body(replace(brush, tilt=0.2 * scene.tilt), animal)
    _head(brush, animal)
    return _photograph(canvas.reduce(_FINE), scene)


def write_sample(path: Path, *, seed: int = 0, train: int = 200, test: int = 40) -> NDArray[np.int8]:
    """Write a data set of drawn pictures as one zip that holds ``train.zip`` and ``test.zip``.

    A picture depends on the seed and on its own name alone: it is the same whatever the others are. The
    bytes of the zip depend on the arguments and on the versions of Pillow and NumPy.

    Parameters
    ----------
    path : Path
        Where the zip goes, replaced atomically. Kaggle's own name for it is `OUTER`.
    seed : int
        Of all pictures.
    train : int
        Pictures to train on, half of them cats; of an odd number, the odd one is a cat.
    test : int
        Pictures to predict, each a cat or a dog by the toss of a coin.

    Returns
    -------
    labels : ndarray of shape (test,), int8
        The truth about the test pictures 1, 2, ..., in this order: 1 dog, 0 cat.
    """
    cats = (train + 1) // 2
    trained = [(int(n >= cats), n if n < cats else n - cats) for n in range(train)]
    labels = [int(np.random.default_rng([seed, 2, n]).integers(2)) for n in range(1, test + 1)]
    members = {
        "sample_submission.csv": to_csv(["id", "label"], [(n, 0.5) for n in range(1, test + 1)]),
        "test.zip": _zip((f"test/{n}.jpg", _jpeg(label, [seed, 3, n])) for n, label in enumerate(labels, start=1)),
        "train.zip": _zip((f"train/{CLASSES[label]}.{n}.jpg", _jpeg(label, [seed, label, n])) for label, n in trained),
    }
    write_atomic(path, _zip(members.items()))
    return np.array(labels, dtype=np.int8)


def _jpeg(label: int, seed: list[int]) -> bytes:
    content = io.BytesIO()
    draw(label, np.random.default_rng(seed)).save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def _zip(members: Iterable[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    return content.getvalue()


def _backdrop(scene: Scene, rough: np.random.Generator) -> Image.Image:
    """Paint what is behind, small, blurred and enlarged: out of focus, as behind a portrait."""
    wide, high = scene.size[0] / 4, scene.size[1] / 4
    near, far = scene.colours
    small = Image.new("RGB", (int(wide), int(high)), near)
    pen = ImageDraw.Draw(small)
    if scene.backdrop == "room":
        left = wide * rough.uniform(-0.1, 0.8)
        pen.rectangle((0, high * rough.uniform(0.55, 0.8), wide, high), far)
        pen.rectangle((left, high * 0.1, left + wide * 0.3, high * 0.4), mix(near, (250, 244, 220), 0.5))
    elif scene.backdrop == "lawn":
        pen.rectangle((0, high * rough.uniform(0.35, 0.7), wide, high), mix(far, (84, 140, 60), 0.6))
    elif scene.backdrop == "lights":
        for x, y, r in rough.uniform((0, 0, 0.03), (1, 1, 0.12), (14, 3)):
            pen.circle((x * wide, y * high), r * wide, mix(far, (255, 220, 170), rough.uniform(0, 0.7)))
    elif scene.backdrop == "curtain":
        for x in np.arange(0, wide, wide / 8):
            pen.rectangle((x, 0, x + wide / 16, high), far)
    blurred = small.filter(ImageFilter.GaussianBlur(scene.blur)).resize(scene.size, Image.Resampling.BICUBIC)
    return blurred.resize((scene.size[0] * _FINE, scene.size[1] * _FINE), Image.Resampling.NEAREST)


def _photograph(picture: Image.Image, scene: Scene) -> Image.Image:
    """Add what a camera adds: exposure, light from above, grain."""
    rough = np.random.default_rng([scene.seed, 2])
    pixels = np.array(picture, dtype=np.float32)
    pixels *= scene.exposure * np.linspace(1.08, 0.88, len(pixels), dtype=np.float32)[:, None, None]
    pixels += scene.noise * rough.standard_normal((*pixels.shape[:2], 1), dtype=np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))


def _body(brush: Brush, animal: Animal) -> None:
    """Paint what is below the head: shadow, tail, trunk, legs, collar."""
    fur, mark, light = animal.coat
    lower = mix(fur, INK, 0.12)
    brush.oval((0, 3.35), (1.7, 0.22), (*INK, 90))
    tail, aside = along(_TAILS[animal.label]), replace(brush, flip=animal.side)
    aside.line(tail, contour(lower, 0.45), 0.34)
    aside.line(tail, lower if animal.pattern == "plain" else mark, 0.28)
    trunk = smooth(mirrored(_TRUNKS[animal.label]))
    brush.fill(trunk, lower, edge=0.035, fluff=animal.fluff / 2)
    with brush.within(trunk) as inside:
        if animal.pattern == "tabby":
            for half in inside.halves():
                for y in np.arange(1.3, 3.2, 0.38):
                    half.line(along("1.2,0 .9,.1 .62,.05", at=(0, y)), mark, 0.11)
        if animal.pattern == "spots":
            for x, y, r in inside.rough.uniform((-1, 1, 0.06), (1, 3.2, 0.16), (16, 3)):
                inside.oval((x, y), (r, r), mark)
        if animal.pattern not in ("plain", "spots"):
            inside.oval((0, 1.45), (0.48, 0.75), light)
    for half in brush.halves():
        leg, paw = along(".34,1.9 .36,3.2"), smooth(along(".06,3.3 .36,3.08 .66,3.3 .36,3.45"))
        half.line(leg, contour(lower, 0.45), 0.5)
        half.line(leg, lower, 0.44)
        half.fill(paw, light if animal.pattern in ("bib", "patch") else lower, edge=0.03)
    if animal.collar:
        brush.line(along("-.66,.85 0,1.45 .66,.85"), animal.collar, 0.17)
        brush.oval((0, 1.27), (0.12, 0.12), (226, 190, 80))


def _head(brush: Brush, animal: Animal) -> None:
    outline = smooth(mirrored(_HEADS[animal.label]) * (animal.face, 1))
    if animal.ears == "upright":
        _ears(brush.toward(-0.3), animal)
    brush.fill(outline, animal.coat[0], edge=0.04, fluff=animal.fluff)
    with brush.within(outline) as inside:
        _markings(inside.toward(0.6), animal)
    if animal.ears != "upright":
        _ears(brush.toward(-0.1), animal)
    _eyes(brush.toward(0.6), animal)
    if CLASSES[animal.label] == "cat":
        _cat_muzzle(brush.toward(0.9), animal)
    else:  # which stands out further, the more the longer it is
        _dog_muzzle(brush.toward(1.2 * animal.muzzle), animal)


def _markings(brush: Brush, animal: Animal) -> None:
    fur, mark, light = animal.coat
    if animal.pattern == "tabby":
        brush.oval((0, 0.75), (0.5, 0.4), light)
        brush.line(along("0,-1 0,-.42"), mark, 0.1)
        for half in brush.halves():
            half.line(along(".36,-1 .26,-.42"), mark, 0.1)
            for y in (-0.02, 0.24, 0.5):
                half.line(along("1.3,-.1 .9,0 .68,.04", at=(0, y)), mark, 0.09)
    elif animal.pattern == "bib":
        brush.fill(smooth(mirrored("0,-.8 .07,-.7 .16,0 .62,.5 .5,1.2 0,1.25")), light)
    elif animal.pattern == "patch":
        brush.oval((0, 0.8), (0.6, 0.5), light)
        brush.oval((animal.side * 0.5, -0.2), (0.46, 0.52), mark)
    elif animal.pattern == "points":
        for radius, share in ((0.78, 0.25), (0.68, 0.5), (0.58, 0.75)):
            brush.oval((0, 0.3), (radius, radius), mix(fur, mark, share))
    elif animal.pattern == "spots":
        for x, y, r in brush.rough.uniform((-0.95, -0.95, 0.04), (0.95, 1, 0.12), (18, 3)):
            brush.oval((x, y), (r, r), mark)


def _ears(brush: Brush, animal: Animal) -> None:
    fur, mark, _ = animal.coat
    colour = mix(fur, mark, {"plain": 0.35, "tabby": 0.2, "bib": 0.4}.get(animal.pattern, 1))
    root = np.array((0.6, -0.55))
    ear = root + (along(_EAR_OUTLINES[animal.label][animal.ears]) - root) * animal.ear
    if not (CLASSES[animal.label] == "cat" and animal.ears == "upright"):  # which alone have a sharp tip
        ear = smooth(ear)
    for half in brush.halves():
        half.fill(ear, colour, edge=0.04, fluff=animal.fluff / 2)
        if animal.ears == "upright":
            half.fill(root + (ear - root) * 0.6, mix(colour, _PINK, 0.7))


def _eyes(brush: Brush, animal: Animal) -> None:
    """Paint a cat's almonds with slit pupils, a dog's round eyes with brows, or sleep."""
    size = animal.eye
    for half in brush.halves():
        x, y = animal.gap, -0.12
        if animal.asleep:
            lid = np.array([(x - size, y), (x, y + size * 1.1), (x + size, y)])
            half.line(lid, contour(animal.coat[0], 0.9), 0.06)
            continue
        look = x + half.flip * animal.gaze * size
        if CLASSES[animal.label] == "cat":
            half.fill(smooth(along("-1.05,.4 0,-.85 1.1,-.4 0,.75") * size + (x, y)), animal.iris, edge=0.055)
            half.oval((look, y), (size * animal.pupil, size * 0.72), INK)
        else:
            half.line(along("-.12,-.46 0,-.54 .14,-.44", at=(x, 0)), mix(*animal.coat[:2], 0.8), 0.06)
            for radius, colour in ((1.15, INK), (0.92, animal.iris), (0.6, INK)):
                half.oval((look if radius < 1 else x, y), (size * radius, size * radius), colour)
        half.oval((look + half.flip * size * 0.3, y - size * 0.32), (size * 0.2, size * 0.2), WHITE)


def _cat_muzzle(brush: Brush, animal: Animal) -> None:
    fur, _, light = animal.coat
    puff = mix(fur, light, 0.3 if animal.pattern in ("plain", "points") else 0.95)
    line = contour(puff, 0.7)
    hair = (250, 250, 248, 225) if sum(fur) < 600 else (96, 90, 88, 225)
    if animal.tongue:
        brush.fill(smooth(mirrored("0,.48 .1,.5 .09,.68 0,.74")), _TONGUE)
    for half in brush.halves():
        half.oval((0.19 * animal.muzzle, 0.44), (0.24 * animal.muzzle, 0.18), puff)
    for half in brush.halves():
        half.line(along("0,.46 .12,.62 .28,.5"), line, 0.035)
        for y in (-0.2, 0, 0.2):
            reach = 0.4 + 0.85 * animal.whiskers
            half.line(np.array([(0.3, 0.45 + 0.3 * y), (0.8, 0.4 + 0.6 * y), (reach, 0.5 + y)]), hair, 0.02)
    brush.line(along("0,.35 0,.46"), line, 0.035)
    brush.fill(smooth(mirrored("0,.21 .13,.23 .05,.33 0,.36")), animal.nose, edge=0.02)


def _dog_muzzle(brush: Brush, animal: Animal) -> None:
    fur, mark, light = animal.coat
    colour = {"points": mark, "plain": mix(fur, light, 0.35), "spots": fur}.get(animal.pattern, light)
    line = contour(colour, 0.75)
    grown = np.array((animal.muzzle, 0.4 + 0.6 * animal.muzzle))
    if animal.tongue:
        brush.fill(smooth(mirrored("0,.8 .24,.85 .1,1.06 0,1.08") * grown), mix(_TONGUE, INK, 0.7))
        brush.fill(smooth(mirrored("0,.8 .15,.84 .17,1.15 0,1.36") * grown), _TONGUE, edge=0.025)
        brush.line(along("0,.9 0,1.18") * grown, mix(_TONGUE, INK, 0.3), 0.03)
    snout = smooth(mirrored("0,.14 .28,.2 .44,.55 .4,.92 .16,1 0,.9") * grown)
    brush.fill(snout, colour, edge=0.03, fluff=animal.fluff / 2)
    for half in brush.halves():
        half.line(along("0,.7 .18,.94 .4,.76") * grown, line, 0.045)
    brush.line(along("0,.48 0,.7") * grown, line, 0.04)
    brush.fill(smooth(mirrored("0,.2 .2,.2 .27,.32 .14,.46 0,.5") * grown), animal.nose, edge=0.02)
    brush.oval((-0.08, 0.27), (0.07, 0.035), (*WHITE, 150))
