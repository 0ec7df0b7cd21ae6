"""Pieces of furniture of plausible sizes, each standing on the floor with its back at y = 0, its front towards -y."""

import math
from typing import NamedTuple

from . import materials
from .shapes import Shape
from .world import Draws, Material, Solid, Triple, moved


class Piece(NamedTuple):
    """Some solids, and the floor they need."""

    solids: list[Solid]
    width_m: float
    depth_m: float


def box(
    x: float, y: float, z: float, size: Triple, material: Material, shape: Shape = Shape.BOX, shadow: bool = True
) -> Solid:
    """A solid whose bottom is centred on (x, y, z)."""
    width, depth, height = size
    return Solid(shape, (x, y, z + height / 2), (width / 2, depth / 2, height / 2), material, 0.0, shadow)


def _legs(draws: Draws, width: float, depth: float, height: float, y: float, material: Material) -> list[Solid]:
    """Four, thin and round or square; too thin for a shadow worth its time."""
    thickness = draws.between(0.03, 0.08)
    shape = draws.choice([Shape.BOX, Shape.UPRIGHT_CYLINDER])
    reach_x, reach_y = (width - thickness) / 2 - 0.03, (depth - thickness) / 2 - 0.03
    size = (thickness, thickness, height)
    return [
        box(sx * reach_x, y + sy * reach_y, 0, size, material, shape, shadow=False) for sx in (-1, 1) for sy in (-1, 1)
    ]


def cupboard(draws: Draws) -> Piece:
    """Wardrobe, sideboard, chest or refrigerator."""
    width, depth, height = draws.choice(
        [
            (draws.between(0.8, 2.2), draws.between(0.5, 0.65), draws.between(1.8, 2.25)),
            (draws.between(0.8, 1.8), draws.between(0.35, 0.5), draws.between(0.6, 1.0)),
            (draws.between(0.55, 0.7), draws.between(0.6, 0.7), draws.between(0.85, 1.9)),
        ]
    )
    material = materials.wood(draws)
    if draws.chance(0.7):
        material = material._replace(texture="fronts", tile_m=(0.0, 0.0))
    solids = [box(0, -depth / 2, 0, (width, depth, height), material)]
    if height < 1.1 and draws.chance(0.7):
        solids += moved(draws.choice([television, vase, table_lamp])(draws), 0, -depth / 2, z=height)
    return Piece(solids, width, depth)


def bookshelf(draws: Draws) -> Piece:
    """Full of books."""
    width, depth, height = draws.between(0.6, 1.8), draws.between(0.25, 0.4), draws.between(1.0, 2.2)
    front = materials.wood(draws)
    spines = materials.color(draws, 0.03, 0.12, 0.8), materials.color(draws, 0.5, 0.8, 0.5)
    books = Material("books", *spines, (1.0, 1.05))
    return Piece(
        [
            box(0, -depth / 2, 0, (width, depth, height), front),
            box(0, -depth, 0.05, (width - 0.06, 0.02, height - 0.1), books, shadow=False),
        ],
        width,
        depth,
    )


def bed(draws: Draws) -> Piece:
    """Frame, mattress, headboard, pillows and a blanket."""
    width, length, height = draws.between(0.9, 1.9), draws.between(1.9, 2.1), draws.between(0.2, 0.35)
    frame, sheet = materials.wood(draws), materials.plain(draws, materials.color(draws, 0.6, 0.9, 0.15))
    blanket = materials.fabric(draws)
    thick = draws.between(0.15, 0.25)
    top = height + thick
    solids = [
        box(0, -length / 2, 0, (width, length, height), frame),
        box(0, -length / 2, height, (width - 0.04, length - 0.04, thick), sheet),
        box(0, -length * 0.63, height, (width, length * 0.72, thick + 0.04), blanket),
        box(0, -0.03, 0, (width, 0.06, draws.between(0.7, 1.2)), frame),
    ]
    sides = (-width / 4, width / 4) if width > 1.3 else (0.0,)
    for x in sides:
        solids.append(box(x, -0.3, top - 0.04, (0.6, 0.4, 0.2), sheet, Shape.BALL))
    return Piece(solids, width, length)


def sofa(draws: Draws) -> Piece:
    """An armchair or a sofa for up to four."""
    seats = draws.integer(1, 4)
    width, depth = 0.3 + 0.62 * seats, draws.between(0.75, 0.95)
    seat, back, arm = draws.between(0.38, 0.46), draws.between(0.7, 0.95), draws.between(0.12, 0.2)
    cloth = materials.fabric(draws)
    solids = [
        box(0, -depth / 2, 0.05, (width, depth, seat - 0.05), cloth),
        box(0, -0.11, 0.05, (width, 0.22, back - 0.05), cloth),
    ]
    solids += [box(s * (width - arm) / 2, -depth / 2, 0.05, (arm, depth, seat + 0.12), cloth) for s in (-1, 1)]
    if draws.chance(0.6):
        pillow = materials.fabric(draws)
        x = draws.between(-0.5, 0.5) * (width - 0.8)
        solids.append(box(x, -0.32, seat - 0.02, (0.45, 0.22, 0.4), pillow, Shape.BALL))
    return Piece(solids, width, depth)


def table(draws: Draws) -> Piece:
    """For dining, for coffee, or a desk with a screen; square, long or round."""
    height = draws.between(0.7, 0.78) if draws.chance(0.7) else draws.between(0.38, 0.5)
    width, depth = draws.between(0.7, 2.0), draws.between(0.6, 1.0)
    material = materials.wood(draws)
    if draws.chance(0.25):
        top = box(0, -width / 2, height - 0.04, (width, width, 0.04), material, Shape.UPRIGHT_CYLINDER)
        foot = box(0, -width / 2, 0, (0.1, 0.1, height - 0.04), material, Shape.UPRIGHT_CYLINDER)
        base = box(0, -width / 2, 0, (width / 2, width / 2, 0.03), material, Shape.UPRIGHT_CYLINDER)
        solids, depth = [top, foot, base], width
    else:
        solids = [box(0, -depth / 2, height - 0.04, (width, depth, 0.04), material)]
        solids += _legs(draws, width, depth, height - 0.04, -depth / 2, material)
    for _ in range(draws.integer(0, 2)):
        thing = draws.choice([vase, television, table_lamp, parcel])(draws)
        solids += moved(thing, draws.between(-0.3, 0.3) * width, -depth / 2, draws.between(-0.4, 0.4), height)
    return Piece(solids, width, depth)


def chair(draws: Draws) -> Piece:
    """A seat on four legs with a back, or a stool."""
    width, seat = draws.between(0.38, 0.48), draws.between(0.42, 0.48)
    material = materials.wood(draws) if draws.chance(0.6) else materials.fabric(draws)
    if draws.chance(0.2):
        return Piece([box(0, -width / 2, 0, (width, width, seat), material, Shape.UPRIGHT_CYLINDER)], width, width)
    solids = [box(0, -width / 2, seat - 0.05, (width, width, 0.05), material)]
    solids += _legs(draws, width, width, seat - 0.05, -width / 2, materials.wood(draws))
    solids.append(box(0, -0.02, seat, (width, 0.04, draws.between(0.35, 0.55)), material))
    return Piece(solids, width, width)


def plant(draws: Draws) -> Piece:
    """A pot with leaves up to a man's height."""
    pot, height = draws.between(0.25, 0.45), draws.between(0.5, 1.4)
    leaves = materials.leaves(draws)._replace(tile_m=(0.8, 0.8))
    clay = materials.plain(draws, materials.color(draws, 0.2, 0.7, 0.7))
    bark = materials.plain(draws, materials.color(draws, 0.1, 0.3, 0.6, hue=0.07))
    solids = [
        box(0, -pot / 2, 0, (pot, pot, pot), clay, Shape.UPRIGHT_CYLINDER),
        box(0, -pot / 2, pot, (0.04, 0.04, height / 2), bark, Shape.UPRIGHT_CYLINDER, shadow=False),
    ]
    for _ in range(draws.integer(1, 3)):
        wide, tall = draws.between(0.3, 0.7), draws.between(0.5, 0.8) * height
        x, y = draws.around(0, 0.1), -pot / 2 + draws.around(0, 0.1)
        solids.append(box(x, y, pot + height - tall, (wide, wide, tall), leaves, Shape.BALL))
    return Piece(solids, pot, pot)


def floor_lamp(draws: Draws) -> Piece:
    """A foot, a pole and a shade."""
    height, metal = draws.between(1.4, 1.75), materials.plain(draws, materials.color(draws, 0.03, 0.6, 0.2))
    shade = materials.shining(materials.color(draws, 0.6, 0.9, 0.4, hue=0.1), draws.between(0.3, 1.5))
    solids = [
        box(0, -0.2, 0, (0.3, 0.3, 0.03), metal, Shape.UPRIGHT_CYLINDER),
        box(0, -0.2, 0, (0.03, 0.03, height), metal, Shape.UPRIGHT_CYLINDER, shadow=False),
        box(0, -0.2, height - 0.2, (0.4, 0.4, 0.3), shade, draws.choice([Shape.CABIN, Shape.UPRIGHT_CYLINDER])),
    ]
    return Piece(solids, 0.4, 0.4)


def loose_thing(draws: Draws) -> Piece:
    """A ball, a parcel, a bin."""
    kind = draws.integer(0, 2)
    if kind == 0:
        size = draws.between(0.2, 0.7)
        texture = draws.choice(["bars", "checker", "plain"])
        colors = materials.color(draws, 0.1, 0.7, 0.9), materials.color(draws, 0.4, 0.9, 0.9)
        ball = Material(texture, *colors, (size, size))
        return Piece([box(0, -size / 2, 0, (size, size, size), ball, Shape.BALL)], size, size)
    if kind == 1:
        size = draws.between(0.2, 0.35)
        bin_ = materials.plain(draws, materials.color(draws, 0.05, 0.8, 0.6))
        return Piece([box(0, -size / 2, 0, (size, size, size * 1.4), bin_, Shape.UPRIGHT_CYLINDER)], size, size)
    return Piece(moved(parcel(draws, 1.6), 0, -0.3), 0.6, 0.6)


def parcel(draws: Draws, scale: float = 1.0) -> list[Solid]:
    """A cardboard box about the origin."""
    size = (draws.between(0.15, 0.4) * scale, draws.between(0.15, 0.4) * scale, draws.between(0.08, 0.35) * scale)
    return [box(0, 0, 0, size, materials.plain(draws, materials.color(draws, 0.25, 0.6, 0.6, hue=0.09)))]


def vase(draws: Draws) -> list[Solid]:
    """About the origin."""
    width, height = draws.between(0.08, 0.2), draws.between(0.1, 0.35)
    shape = draws.choice([Shape.BALL, Shape.UPRIGHT_CYLINDER])
    return [box(0, 0, 0, (width, width, height), materials.plain(draws, materials.color(draws, 0.2, 0.9, 0.8)), shape)]


def table_lamp(draws: Draws) -> list[Solid]:
    """About the origin."""
    shade = materials.shining(materials.color(draws, 0.6, 0.9, 0.4, hue=0.1), draws.between(0.3, 1.5))
    return [
        box(0, 0, 0, (0.08, 0.08, 0.25), materials.wood(draws), Shape.UPRIGHT_CYLINDER),
        box(0, 0, 0.22, (0.26, 0.26, 0.18), shade, Shape.CABIN, shadow=False),
    ]


def television(draws: Draws) -> list[Solid]:
    """A screen about the origin, on or off."""
    width = draws.between(0.5, 1.3)
    black = materials.plain(draws, (0.02, 0.02, 0.022))
    screen = black
    if draws.chance(0.4):
        screen = materials.shining(materials.color(draws, 0.3, 0.8, 0.7), draws.between(0.5, 1.2), "painting")
    height = width * 9 / 16
    return [
        box(0, 0, 0.06, (width, 0.05, height), black),
        box(0, -0.028, 0.075, (width - 0.03, 0.01, height - 0.03), screen, shadow=False),
        box(0, 0, 0, (width / 3, 0.2, 0.06), black),
    ]


AGAINST_WALLS = (cupboard, cupboard, bookshelf, bed, bed, sofa, sofa, table, chair, plant, floor_lamp)
FREE = (table, table, chair, chair, chair, sofa, loose_thing, loose_thing, plant)


def footprint(piece: Piece, x: float, y: float, yaw: float) -> tuple[float, float, float, float]:
    """The rectangle along the axes that a piece covers once moved: lowest x and y, highest x and y."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    center_x, center_y = x + sin * piece.depth_m / 2, y - cos * piece.depth_m / 2
    half_x = (abs(cos) * piece.width_m + abs(sin) * piece.depth_m) / 2
    half_y = (abs(sin) * piece.width_m + abs(cos) * piece.depth_m) / 2
    return center_x - half_x, center_y - half_y, center_x + half_x, center_y + half_y
