"""From what each pixel sees to a photograph: texture, light, shadow, haze, and the faults of a lens."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8

from . import textures
from .casting import NOTHING, Placement, View, Visible, points_of
from .shadows import lit
from .shapes import Shape, outward
from .world import Air, Lens, Material, World

_ALONG = np.array([[1, 0, 0], [2, 2, 1]])
"""The axes of a solid along which u and v of a texture run, on faces whose normal is mostly along x, y, z."""

CORNER_REACH_M, CORNER_LOSS = 0.35, 0.3
"""How far from walls, floor and ceiling light from everywhere is less, and by which share in the corner itself."""


def photograph(
    world: World, placement: Placement, view: View, visible: Visible, generator: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture of a world.

    Args:
        world: decides colours, light, air and lens.
        placement: of its solids.
        view: of its camera.
        visible: what each pixel sees.
        generator: draws the sensor's noise.
    """
    points = points_of(visible, view).reshape(3, -1)
    solid = visible.solid.reshape(-1)
    surface = solid != NOTHING
    if surface.all():
        color = _surfaces(world, placement, view, solid, points)
    else:
        color = np.empty_like(points)
        color[:, surface] = _surfaces(world, placement, view, solid[surface], points[:, surface])
        color[:, ~surface] = _sky(world.air, points[:, ~surface])
    return _expose(color.reshape(3, *view.size), world.lens, generator)


def _surfaces(
    world: World, placement: Placement, view: View, solid: Int[np.ndarray, "n"], near: Float[np.ndarray, "3 n"]
) -> Float[np.ndarray, "3 n"]:
    """Linear light from surfaces, which are `near` from the camera."""
    position = near + view.position_m.astype(np.float32)[:, None]
    unit, normal, face = _local(placement, solid, position)
    facing = np.abs(_dot(normal, near)) + np.float32(1e-6)
    depth = _dot(view.axes[2].astype(np.float32), near)
    # A pixel spans depth / focal length either way; of a surface that leans back it sees more.
    area = depth * depth * depth / (facing * view.intrinsics[0] ** 2)
    # Of hundreds of solids a few dozen are seen.
    seen = np.flatnonzero(np.bincount(solid))
    rank = np.zeros(placement.shape.size, np.int32)
    rank[seen] = np.arange(seen.size)
    materials = [world.solids[i].material for i in seen.tolist()]
    color = _texture(materials, placement.half_size_m[seen], rank[solid], unit, face, area)

    to_lamp = np.array(world.light.position_m, np.float32)[:, None] - position
    squared_distance = _dot(to_lamp, to_lamp)
    lambert = _dot(normal, to_lamp) / np.sqrt(squared_distance)
    turned_to = np.flatnonzero(lambert > 0)
    casters = np.flatnonzero([s.casts_shadow for s in world.solids])
    bright = lit(placement, casters, position[:, turned_to], solid[turned_to], world.light.position_m)
    # By the inverse square, but no brighter than twice: a lamp has a size.
    reach = np.float32(world.light.reach_m**2)
    shine = np.zeros_like(lambert)
    shine[turned_to] = bright * lambert[turned_to] * (2 * reach / (reach + squared_distance[turned_to]))
    ambient = (np.float32(0.87) + np.float32(0.13) * normal[2]) * _openness(world, position)
    glow = np.array([material.glow for material in materials], np.float32)[rank[solid]]
    clear = np.exp(np.sqrt(_dot(near, near)) * np.float32(-1 / world.air.visibility_m))
    channels = zip(color, world.light.color, world.light.ambient, world.air.haze, strict=True)
    for channel, from_lamp, from_everywhere, haze in channels:
        channel *= np.float32(from_lamp) * shine + np.float32(from_everywhere) * ambient + glow
        channel += (np.float32(haze) - channel) * (1 - clear)
    return color


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of vectors along the first axis; NumPy's sum over so short an axis takes twice as long."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _local(
    placement: Placement, solid: Int[np.ndarray, "n"], position: Float[np.ndarray, "3 n"]
) -> tuple[Float[np.ndarray, "3 n"], Float[np.ndarray, "3 n"], Int[np.ndarray, "n"]]:
    """Unit coordinates, the unit normal in the world, and along which axis of the solid it mostly points."""
    to_unit = placement.to_unit.astype(np.float32).reshape(-1, 9).T.take(solid, 1).reshape(3, 3, -1)
    offset = position - placement.center_m.astype(np.float32).T.take(solid, 1)
    unit = to_unit[:, 0] * offset[0] + to_unit[:, 1] * offset[1] + to_unit[:, 2] * offset[2]
    normal = outward(Shape.BOX, unit)
    shape = placement.shape.astype(np.int8)[solid]
    for kind in set(placement.shape.tolist()) - {int(Shape.BOX)}:
        some = np.flatnonzero(shape == kind)
        normal[:, some] = outward(Shape(kind), unit[:, some])
    x, y, z = np.abs(normal) * (1 / placement.half_size_m.astype(np.float32)).T.take(solid, 1)
    face = np.where(z >= np.maximum(x, y), 2, y > x)
    turned = to_unit[0] * normal[0] + to_unit[1] * normal[1] + to_unit[2] * normal[2]
    return unit, turned / np.sqrt(_dot(turned, turned)), face


def _texture(
    materials: Sequence[Material],
    half_size_m: Float[np.ndarray, "materials 3"],
    solid: Int[np.ndarray, "n"],
    unit: Float[np.ndarray, "3 n"],
    face: Int[np.ndarray, "n"],
    area: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "3 n"]:
    """Reflected shares of red, green and blue where a pixel covers so much area."""
    texture, dark, light, tile, offset, _ = zip(*materials, strict=True)
    tile, offset = np.array(tile).T[:, :, None], np.array(offset).T[:, :, None]
    # For each of u and v, each solid and each face: a texture position is scale * unit coordinate + shift.
    half = np.moveaxis(half_size_m[:, _ALONG], 1, 0)
    stretched = tile == 0
    scale = np.where(stretched, 0.5, half / np.where(stretched, 1, tile))
    shift = np.where(stretched, 0.5, offset).repeat(3, 2).astype(np.float32).reshape(2, -1)
    density = (scale / half).prod(0).astype(np.float32).reshape(-1)
    scale = scale.astype(np.float32).reshape(2, -1)

    entry = solid * 3 + face
    u = np.where(face == 0, unit[1], unit[0]) * scale[0].take(entry) + shift[0].take(entry)
    v = np.where(face == 2, unit[1], unit[2]) * scale[1].take(entry) + shift[1].take(entry)
    pattern = np.array([textures.INDEX[name] for name in texture], np.int32).take(solid)
    value = textures.sample(pattern, u, v, area * density.take(entry))
    dark, light = np.array(dark, np.float32), np.array(light, np.float32)
    return dark.T.take(solid, 1) + (light - dark).T.take(solid, 1) * value


def _openness(world: World, position: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "n"]:
    """Share of the light from everywhere that reaches a place between floor, walls and ceiling."""
    openness = np.ones(position.shape[1], np.float32)
    for corner, sign in zip(world.corners_m, (1, -1), strict=True):
        for axis in range(3):
            if np.isfinite(corner[axis]):
                distance = (position[axis] - np.float32(corner[axis])) * np.float32(sign / CORNER_REACH_M)
                openness *= 1 - np.float32(CORNER_LOSS) * np.exp(-np.abs(distance))
    return openness


def _sky(air: Air, direction: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
    """Haze at the horizon, the zenith's colour above, and clouds on a plane high up."""
    right, ahead, up = direction / np.sqrt((direction * direction).sum(0))
    up = np.maximum(up, np.float32(0.02))
    height = np.sqrt(up)
    color = np.array(air.haze, np.float32)[:, None] * (1 - height) + np.array(air.zenith, np.float32)[:, None] * height
    pattern = np.full(up.size, textures.INDEX["clouds"])
    cloud = textures.sample(pattern, 0.3 * right / up, 0.3 * ahead / up, np.float32(1e-5) / up**3)
    share = np.clip((cloud - 1 + np.float32(air.cloud_cover)) * 3, 0, 1) * np.minimum(up * 4, 1)
    return color + (1 - color) * np.float32(0.8) * share


def _expose(
    color: Float[np.ndarray, "3 height width"], lens: Lens, generator: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """Blur, exposure, vignette, gamma 2, noise and rounding."""
    height, width = color.shape[1:]
    blur = np.float32(lens.blur)
    for _ in range(2):
        # Rows first; the second time, on its side, columns.
        blurred = color * (1 - 2 * blur)
        blurred[:, 1:] += blur * color[:, :-1]
        blurred[:, :-1] += blur * color[:, 1:]
        blurred[:, [0, -1]] += blur * color[:, [0, -1]]
        color = blurred.transpose(0, 2, 1)
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    columns = np.linspace(-1, 1, width, dtype=np.float32) ** 2
    gain = np.array(lens.gains, np.float32)[:, None, None]
    gain *= np.float32(lens.exposure / (np.minimum(color, 1).mean() + 1e-6))
    color = color * (gain * (1 - np.float32(lens.vignette / 2) * (rows + columns)))
    noise = generator.standard_normal(color.shape, np.float32)
    noise *= np.float32(lens.noise)
    values = np.sqrt(np.maximum(color, 0)) + noise
    return (np.clip(values, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8).transpose(1, 2, 0).copy()
