"""What is rendered: solids of some material, one light, air, a camera and its lens. Metres, z up, linear colours."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from .shapes import Shape

Triple = tuple[float, float, float]
T = TypeVar("T")


class Material(NamedTuple):
    """A texture between two colours."""

    texture: str
    """A name in `textures.PATTERNS`."""
    dark: Triple
    """Reflected share of red, green and blue where the texture is 0."""
    light: Triple
    """The same where it is 1."""
    tile_m: tuple[float, float] = (1.0, 1.0)
    """Width and height of one repetition; 0 of either stretches it over the whole face."""
    offset: tuple[float, float] = (0.0, 0.0)
    """In repetitions."""
    glow: float = 0.0
    """Shines by itself, as brightly as if it were lit by so much light."""


class Solid(NamedTuple):
    """A convex body that stands upright."""

    shape: Shape
    center_m: Triple
    half_size_m: Triple
    material: Material
    yaw: float = 0.0
    """Radians, anticlockwise seen from above."""
    casts_shadow: bool = True


def moved(solids: Iterable[Solid], x: float, y: float, yaw: float = 0.0, z: float = 0.0) -> list[Solid]:
    """The solids turned about the z axis, then shifted."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return [
        Solid(shape, (x + cos * u - sin * v, y + sin * u + cos * v, z + w), half, material, own_yaw + yaw, shadow)
        for shape, (u, v, w), half, material, own_yaw, shadow in solids
    ]


class Camera(NamedTuple):
    """A pinhole camera; angles in radians."""

    position_m: Triple
    yaw: float
    """0 looks along y; positive to the left."""
    pitch: float
    """Positive looks up."""
    roll: float
    """Positive turns the camera clockwise as seen from behind it."""
    focal_per_width: float
    """Focal length divided by the width of the image, both in pixels."""

    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Unit vectors to the right, down and forwards, as rows."""
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        forward = np.array([-sin * math.cos(self.pitch), cos * math.cos(self.pitch), math.sin(self.pitch)])
        level_right = np.array([cos, sin, 0.0])
        level_down = np.cross(forward, level_right)
        right = math.cos(self.roll) * level_right + math.sin(self.roll) * level_down
        down = math.cos(self.roll) * level_down - math.sin(self.roll) * level_right
        return np.stack([right, down, forward])


class Light(NamedTuple):
    """One lamp, which may be as far as the sun, and light from everywhere."""

    position_m: Triple
    """Above every solid that casts a shadow."""
    color: Triple
    """Of the lamp, as bright as `reach_m` away from it."""
    ambient: Triple
    reach_m: float


class Air(NamedTuple):
    """What is between the surfaces and behind them."""

    haze: Triple
    """Its color, which the sky has at the horizon too."""
    visibility_m: float
    """Through so much of it, 1/e of the light arrives."""
    zenith: Triple
    cloud_cover: float


class Lens(NamedTuple):
    """How light becomes a picture."""

    exposure: float
    """Mean of the linear picture; what shines counts for no more than white paper."""
    gains: Triple
    """White balance."""
    blur: float
    """Share of its light that a pixel gives to each neighbour in its row, and to each in its column."""
    vignette: float
    """Share of light lost in the corners."""
    noise: float
    """Standard deviation, in values of 0 to 1."""


class World(NamedTuple):
    """A scene before it is rendered."""

    solids: Sequence[Solid]
    camera: Camera
    light: Light
    air: Air
    lens: Lens
    corners_m: tuple[Triple, Triple]
    """Lowest and highest corner of the inside of a room: it is darker close to them. Infinite where there is none."""
    max_depth_m: float
    """What is farther away has no depth."""


class Draws:
    """Random numbers one at a time, quickly; made of nothing but uniform ones in [0, 1)."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._numbers: list[float] = []

    def unit(self) -> float:
        """Uniform in [0, 1)."""
        if not self._numbers:
            self._numbers = self._generator.random(1024).tolist()
        return self._numbers.pop()

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.unit()

    def log_between(self, low: float, high: float) -> float:
        """Its logarithm is uniform."""
        return low * (high / low) ** self.unit()

    def around(self, middle: float, spread: float) -> float:
        """Triangular in (middle - spread, middle + spread)."""
        return middle + spread * (self.unit() - self.unit())

    def integer(self, low: int, high: int) -> int:
        """One of low, ..., high."""
        return low + int((high - low + 1) * self.unit())

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of them, all alike."""
        return options[int(len(options) * self.unit())]
