"""Scene number so-and-so: a photograph, its depth in metres, and the camera that took it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from zoe_jax.errors import ZoeJaxError

from .casting import place, see, view
from .roads import road
from .rooms import room
from .shading import photograph
from .world import Draws, World

MAKERS: dict[str, Callable[[Draws], World]] = {"rooms": room, "roads": road}
"""The kinds of scenes; each has random numbers of its own."""

SMALLEST = 8
"""Pixels in a row or column, below which there is nothing to see."""


class Scene(NamedTuple):
    """One example."""

    image: UInt8[np.ndarray, "height width 3"]
    depth_m: Float[np.ndarray, "height width"]
    """Along the camera's axis, at the centre of each pixel; 0 in the sky and beyond the range of its kind."""
    intrinsics: Float[np.ndarray, "4"]
    """[fx, fy, cx, cy] in pixels; the centre of the first pixel is at (0, 0)."""


def render(kind: str, size: tuple[int, int], seed: int, index: int) -> Scene:
    """A scene, which depends on nothing but the arguments.

    At another size, the same world is seen by the same camera.

    Args:
        kind: `rooms` or `roads`.
        size: height and width in pixels.
        seed: of the whole data set.
        index: of the scene, from 0.

    Raises:
        ZoeJaxError: unknown kind, too small a size, or a negative seed or index.
    """
    if min(size) < SMALLEST:
        raise ZoeJaxError(f"size {size[0]}x{size[1]} is too small: a scene has at least {SMALLEST} rows and columns")
    generator = scene_generator(kind, seed, index)
    return render_world(MAKERS[kind](Draws(generator)), size, generator)


def world(kind: str, seed: int, index: int) -> World:
    """What `render` takes a picture of."""
    return MAKERS[kind](Draws(scene_generator(kind, seed, index)))


def scene_generator(kind: str, seed: int, index: int) -> np.random.Generator:
    """The random numbers of one scene: a counter-based stream that shares nothing with any other's."""
    if kind not in MAKERS:
        raise ZoeJaxError(f"there is no kind of scene {kind!r}; there are {', '.join(MAKERS)}")
    if not (0 <= seed < 2**64 and 0 <= index < 2**64):
        raise ZoeJaxError(f"seed {seed} and index {index} of a scene must both be in 0..2^64-1")
    key = np.array([seed, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, list(MAKERS).index(kind)]))


def render_world(world: World, size: tuple[int, int], generator: np.random.Generator) -> Scene:
    """A picture of a world, with its depth.

    Args:
        world: to be seen.
        size: height and width in pixels.
        generator: draws the sensor's noise.
    """
    camera = view(world, size)
    placement = place(world.solids)
    visible = see(placement, camera)
    image = photograph(world, placement, camera, visible, generator)
    depth = np.where(visible.depth_m < world.max_depth_m, visible.depth_m, np.float32(0))
    return Scene(image, depth, camera.intrinsics)
