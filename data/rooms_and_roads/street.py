"""What stands and drives along a road, of plausible sizes, each about the origin of the ground and facing y."""

import math

from . import materials
from .furniture import box
from .materials import color, plain
from .shapes import Shape
from .world import Draws, Material, Solid

RUBBER = Material("plain", (0.012, 0.012, 0.012), (0.03, 0.03, 0.03))


def _wheels(width: float, length: float, axles: tuple[float, ...], radius: float) -> list[Solid]:
    """One cylinder for both wheels of an axle."""
    half_size = (width / 2 + 0.01, radius, radius)
    return [
        Solid(Shape.LYING_CYLINDER, (0, length * axle, radius), half_size, RUBBER, 0.0, casts_shadow=False)
        for axle in axles
    ]


def _lights(width: float, length: float, z: float, paint: Material) -> list[Solid]:
    """White in front, red behind; the paint of the car between left and right."""
    return [
        box(0, end * length / 2, z, (width - 0.1, 0.03, 0.15), lamps, shadow=False)
        for end, lamp in ((1, (0.9, 0.9, 0.85)), (-1, (0.7, 0.03, 0.02)))
        for lamps in (Material("ends", paint.light, lamp, (0.0, 0.0), glow=0.3),)
    ]


def car(draws: Draws) -> list[Solid]:
    """From a small hatchback to an off-road car."""
    size = draws.unit()
    length, width = 3.6 + 1.2 * size + draws.around(0, 0.15), 1.65 + 0.2 * size
    height = draws.between(1.4, 1.75)
    paint, window = materials.car_paint(draws), materials.glass(draws)
    floor_z, belt = draws.between(0.18, 0.28), height * draws.between(0.55, 0.62)
    cabin, shift = length * draws.between(0.52, 0.66), draws.between(-0.1, -0.02) * length
    solids = [
        box(0, 0, floor_z, (width, length, belt - floor_z), paint),
        box(0, shift, belt, (width * 0.94, cabin, height - belt), window, Shape.CABIN),
        box(0, shift, height - 0.05, (width * 0.8, cabin * 0.62, 0.06), paint, shadow=False),
        box(0, -length / 2, 0.55, (0.5, 0.03, 0.11), plain(draws, (0.8, 0.8, 0.75)), shadow=False),
    ]
    solids += _wheels(width, length, (-0.31, 0.31), draws.between(0.29, 0.36))
    return solids + _lights(width, length, belt - 0.3, paint)


def van(draws: Draws) -> list[Solid]:
    """A delivery van."""
    length, width, height = draws.between(4.8, 6.2), draws.between(1.9, 2.1), draws.between(2.0, 2.7)
    paint, window = materials.car_paint(draws), materials.glass(draws)
    nose = 1.1
    solids = [
        box(0, -nose / 2, 0.3, (width, length - nose, height - 0.3), paint),
        box(0, length / 2 - nose / 2, 0.3, (width, nose, 0.9), paint),
        box(0, length / 2 - nose, 1.2, (width * 0.95, nose * 1.2, height - 1.35), window, Shape.CABIN),
        box(0, -length / 2, height * 0.55, (width * 0.8, 0.03, 0.5), window, shadow=False),
    ]
    return solids + _wheels(width, length, (-0.3, 0.33), 0.34) + _lights(width, length, 0.75, paint)


def truck(draws: Draws) -> list[Solid]:
    """A cab before a tall load, or a bus."""
    length, width, height = draws.between(7, 12), draws.between(2.35, 2.55), draws.between(2.9, 3.9)
    paint, load = materials.car_paint(draws), materials.car_paint(draws)
    if draws.chance(0.4):
        side = load._replace(texture="bus", tile_m=(0.0, 0.0), offset=(0.0, 0.0), dark=(0.03, 0.04, 0.05))
        body = [box(0, 0, 0.35, (width, length, min(height, 3.2) - 0.35), side)]
    else:
        cab = 2.0
        body = [
            box(0, -cab / 2 - 0.1, 0.9, (width, length - cab - 0.2, height - 0.9), load),
            box(0, 0, 0.5, (width * 0.5, length, 0.4), RUBBER),
            box(0, (length - cab) / 2, 0.5, (width * 0.97, cab, 2.2), paint),
            box(0, length / 2, 1.6, (width * 0.88, 0.04, 0.8), materials.glass(draws)),
        ]
    return body + _wheels(width, length, (-0.35, -0.22, 0.38), 0.48) + _lights(width, length, 0.7, paint)


def vehicle(draws: Draws) -> tuple[list[Solid], float]:
    """Any of them, cars mostly, and a length that has room for it."""
    kind = draws.unit()
    if kind < 0.78:
        return car(draws), 5.0
    if kind < 0.92:
        return van(draws), 6.4
    return truck(draws), 12.2


def person(draws: Draws) -> list[Solid]:
    """Legs, coat and head."""
    height, width = draws.around(1.7, 0.15), draws.between(0.4, 0.52)
    coat, trousers = materials.plain(draws, color(draws, 0.03, 0.7, 0.9)), plain(draws, color(draws, 0.02, 0.3, 0.6))
    skin = plain(draws, color(draws, 0.2, 0.7, 0.5, hue=0.06))
    stride = draws.between(0.05, 0.2)
    legs = [box(s * 0.1, s * stride, 0, (0.16, 0.18, height * 0.48), trousers) for s in (-1, 1)]
    return [
        *legs,
        box(0, 0, height * 0.42, (width, 0.28, height * 0.46), coat, Shape.UPRIGHT_CYLINDER),
        box(0, 0, height - 0.25, (0.17, 0.2, 0.25), skin, Shape.BALL),
    ]


def tree(draws: Draws) -> list[Solid]:
    """A broad-leaved tree or a conifer."""
    height, leaves = draws.between(4, 13), materials.leaves(draws)
    trunk, bark = height * draws.between(0.015, 0.03), plain(draws, color(draws, 0.05, 0.2, 0.6, hue=0.07))
    if draws.chance(0.25):
        wide, bare = height * draws.between(0.3, 0.5), draws.between(0.3, 1.5)
        return [
            box(0, 0, 0, (2 * trunk, 2 * trunk, bare + 0.5), bark, Shape.UPRIGHT_CYLINDER),
            box(0, 0, bare, (wide, wide, height - bare), leaves, Shape.PYRAMID),
        ]
    bare, wide = height * draws.between(0.25, 0.4), height * draws.between(0.4, 0.75)
    solids = [box(0, 0, 0, (2 * trunk, 2 * trunk, height * 0.6), bark, Shape.UPRIGHT_CYLINDER)]
    for _ in range(draws.integer(1, 3)):
        share = draws.between(0.55, 0.9)
        low = bare + (height - bare) * (1 - share) * draws.unit()
        side, turn = (1 - share) * wide * 0.7, draws.between(-math.pi, math.pi)
        size = (wide * share, wide * share, (height - bare) * share)
        solids.append(box(side * math.cos(turn), side * math.sin(turn), low, size, leaves, Shape.BALL))
    return solids


def bush(draws: Draws) -> list[Solid]:
    """About as high as a man at most."""
    wide, high = draws.between(0.8, 2.5), draws.between(0.6, 1.8)
    return [box(0, 0, -high * 0.2, (wide, wide, high), materials.leaves(draws), Shape.BALL)]


def street_lamp(draws: Draws) -> list[Solid]:
    """A pole with an arm towards -x."""
    height, arm = draws.between(5, 9), draws.between(0.8, 2)
    metal = plain(draws, color(draws, 0.08, 0.45, 0.1))
    return [
        box(0, 0, 0, (0.16, 0.16, height), metal, Shape.UPRIGHT_CYLINDER),
        box(-arm / 2, 0, height, (arm, 0.1, 0.08), metal, shadow=False),
        box(-arm, 0, height - 0.06, (0.6, 0.25, 0.12), plain(draws, (0.7, 0.7, 0.68)), shadow=False),
    ]


def sign(draws: Draws) -> list[Solid]:
    """Round or square, facing -y, between two and three metres up."""
    bottom, size = draws.between(1.9, 2.4), draws.between(0.55, 0.75)
    face = plain(draws, draws.choice([(0.7, 0.04, 0.03), (0.05, 0.15, 0.6), (0.85, 0.85, 0.85), (0.8, 0.6, 0.05)]))
    metal = plain(draws, (0.35, 0.35, 0.36))
    plate = Solid(Shape.BOX, (0, -0.05, bottom + size / 2), (size / 2, 0.02, size / 2), face, 0.0, False)
    if draws.chance(0.6):
        plate = plate._replace(shape=Shape.LYING_CYLINDER, half_size_m=(0.02, size / 2, size / 2), yaw=math.pi / 2)
    return [box(0, 0, 0, (0.07, 0.07, bottom + size), metal, Shape.UPRIGHT_CYLINDER), plate]


def house(draws: Draws, width: float, depth: float) -> list[Solid]:
    """Two or three storeys under a gable roof; its ridge runs along the road or across."""
    storey = draws.between(2.7, 3.1)
    height = storey * draws.integer(1, 3)
    roof_height = draws.between(1.5, 3.5)
    tiles = Material("bricks", color(draws, 0.12, 0.4, 0.7, hue=0.03), (0.1, 0.08, 0.08), (1.6, 1.6))
    solids = [box(0, 0, 0, (depth, width, height), materials.facade(draws, storey))]
    along = draws.chance(0.7)
    size = (depth + 0.6, width + 0.3, roof_height) if along else (width + 0.6, depth + 0.3, roof_height)
    roof = box(0, 0, height, size, tiles, Shape.GABLE)
    return [*solids, roof._replace(yaw=0.0 if along else math.pi / 2)]


def block(draws: Draws, width: float, depth: float) -> list[Solid]:
    """A town house with a flat roof and a ground floor of its own."""
    storey = draws.between(2.9, 3.6)
    upper, base = materials.facade(draws, storey), materials.facade(draws, storey)
    high = storey * draws.integer(2, 6)
    return [
        box(0, 0, storey, (depth, width, high), upper),
        box(0, 0, 0, (depth + 0.1, width - 0.05, storey), base),
        box(0, 0, storey + high, (depth + 0.5, width, 0.4), plain(draws, color(draws, 0.2, 0.6, 0.2))),
    ]


def hedge_or_fence(draws: Draws, length: float) -> list[Solid]:
    """Along y."""
    if draws.chance(0.5):
        return [box(0, 0, 0, (draws.between(0.5, 1.2), length, draws.between(0.8, 2.2)), materials.leaves(draws))]
    material = draws.choice([materials.wood, materials.bricks, materials.bricks])(draws)
    return [box(0, 0, 0, (0.2, length, draws.between(0.7, 2.0)), material)]
