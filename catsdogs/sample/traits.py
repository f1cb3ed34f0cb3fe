"""Draw at random the traits of a scene, and those of the cat or dog in it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .brush import INK, Colour, mix, to_colour

_PINK = (232, 150, 150)

_COATS: Mapping[str, tuple[Colour, Colour, Colour]] = {  # the fur, its markings, its light parts
    "ginger": ((224, 142, 68), (172, 90, 36), (252, 230, 198)),
    "grey": ((146, 148, 154), (82, 84, 94), (222, 222, 224)),
    "black": ((58, 55, 60), (30, 28, 32), (236, 232, 226)),
    "white": ((240, 236, 228), (98, 86, 80), (255, 252, 246)),
    "cream": ((234, 208, 164), (176, 132, 84), (252, 244, 226)),
    "brown": ((132, 88, 58), (76, 46, 30), (218, 184, 146)),
    "gold": ((214, 164, 90), (156, 104, 46), (246, 222, 178)),
}

# From here on a cat's comes first and a dog's second, as in CLASSES.
_PATTERNS = (
    {"tabby": 0.36, "plain": 0.2, "bib": 0.2, "patch": 0.14, "points": 0.1},
    {"plain": 0.3, "patch": 0.22, "bib": 0.2, "points": 0.12, "spots": 0.1, "tabby": 0.06},
)
_EARS = ({"upright": 0.9, "folded": 0.1}, {"hanging": 0.5, "folded": 0.25, "upright": 0.25})
_IRISES = (
    ((146, 178, 72), (214, 176, 60), (206, 126, 44), (110, 168, 206), (92, 156, 120)),
    ((92, 56, 30), (70, 42, 26), (122, 76, 36), (156, 104, 44), (142, 184, 214)),
)


@dataclass(frozen=True)
class Scene:
    """What a picture has whoever sits in it; lengths are in parts of the picture, the tilt is in radians."""

    size: tuple[int, int]
    backdrop: str
    colours: tuple[Colour, Colour]
    blur: float
    centre: tuple[float, float]
    unit: float
    tilt: float
    turn: float
    exposure: float
    noise: float
    seed: int


@dataclass(frozen=True)
class Animal:
    """What a cat or a dog looks like."""

    label: int
    coat: tuple[Colour, Colour, Colour]
    pattern: str
    ears: str
    ear: tuple[float, float]
    face: float
    muzzle: float
    nose: Colour
    iris: Colour
    eye: float
    gap: float
    pupil: float
    gaze: float
    asleep: bool
    tongue: bool
    whiskers: float
    fluff: float
    collar: Colour | None
    side: int


def draw_scene(generator: np.random.Generator) -> Scene:
    """Draw a scene, not knowing whether a cat or a dog will sit in it."""
    wide, high = (int(side) for side in generator.integers(250, 501, 2))
    is_cut, is_dark, is_left = generator.random(3) < (0.15, 0.2, 0.5)
    across = generator.uniform(0.04, 0.16) if is_cut else generator.uniform(0.36, 0.5)
    level = generator.uniform(15, 60) if is_dark else generator.uniform(90, 220)
    near = level * generator.normal(1, 0.16, 3)
    return Scene(
        size=(wide, high),
        backdrop=str(generator.choice(["wall", "room", "lawn", "lights", "curtain"])),
        colours=(to_colour(near), to_colour(near * generator.normal(0.7, 0.12, 3))),
        blur=generator.uniform(0.5, 4),
        centre=(across if is_left else 1 - across, generator.uniform(0.38, 0.52)),
        unit=generator.uniform(0.16, 0.33),
        tilt=generator.normal(0, 0.17),
        turn=generator.uniform(-0.3, 0.3),
        exposure=generator.uniform(0.72, 1.06),
        noise=generator.uniform(1, 7),
        seed=int(generator.integers(2**32)),
    )


def draw_animal(label: int, generator: np.random.Generator) -> Animal:
    """Draw what a cat (label 0) or a dog (1) looks like."""
    coats = list(_COATS.values())
    fur, mark, light = coats[generator.integers(len(coats))]
    shade = generator.normal(1, 0.07) * generator.normal(1, 0.02, 3)
    pink = mix(_PINK, (120, 60, 60), generator.uniform(0, 0.4))
    return Animal(
        label=label,
        coat=(to_colour(shade * fur), to_colour(shade * mark), light),
        pattern=_pick(generator, _PATTERNS[label]),
        ears=_pick(generator, _EARS[label]),
        ear=(generator.uniform(0.88, 1.15), generator.uniform(0.82, 1.18)),
        face=generator.uniform(0.93, 1.07),
        muzzle=generator.uniform(0.78, 1.2),
        nose=pink if generator.random() < (0.8, 0.07)[label] else INK,
        iris=_IRISES[label][generator.integers(len(_IRISES[label]))],
        eye=generator.uniform(0.85, 1.15) * (0.225, 0.17)[label],
        gap=generator.uniform(0.92, 1.1) * (0.44, 0.38)[label],
        pupil=generator.uniform(0.18, 0.6),
        gaze=generator.uniform(-0.2, 0.2),
        asleep=bool(generator.random() < 0.08),
        tongue=bool(generator.random() < (0.06, 0.45)[label]),
        whiskers=generator.uniform(0.8, 1.25),
        fluff=generator.uniform(0, 0.045),
        collar=to_colour(generator.uniform(30, 220, 3)) if generator.random() < 0.35 else None,
        side=int(generator.choice((-1, 1))),
    )


def _pick(generator: np.random.Generator, chances: Mapping[str, float]) -> str:
    return str(generator.choice(list(chances), p=list(chances.values())))
