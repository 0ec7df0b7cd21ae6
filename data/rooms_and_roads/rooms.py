"""A furnished room of up to ten metres across, seen by somebody who stands or sits in it."""

import math

from . import furniture, materials
from .furniture import box, footprint
from .shapes import Shape
from .world import Air, Camera, Draws, Lens, Light, Solid, World, moved

MAX_DEPTH_M = 10.0
LONGEST_DIAGONAL_M = 9.95
"""From corner to corner, so that every surface is in range."""

FOCAL_PER_WIDTH = 518.8579 / 640
"""Of the camera of NYU Depth v2, from its toolbox."""

WALL_THICKNESS_M = 0.2
ELBOW_ROOM_M = 0.45
"""Nothing that stands on the floor is nearer to the camera."""


def room(draws: Draws) -> World:
    """A world out of a stream of random numbers."""
    width, length, height = draws.log_between(2.2, 7.0), draws.log_between(2.6, 9.0), draws.around(2.6, 0.35)
    shrink = min(1.0, math.sqrt(LONGEST_DIAGONAL_M**2 - height**2) / math.hypot(width, length))
    width, length = width * shrink, length * shrink
    camera = _camera(draws, width, length)
    solids = _shell(draws, width, length, height)
    solids += _furnishing(draws, width, length, camera)
    solids += _hangings(draws, width, length, height)
    lamp = (draws.around(0, width / 3), draws.around(0, length / 3), height - 0.15)
    warm = draws.unit()
    brightness = draws.between(0.3, 1.5)
    light = Light(
        lamp,
        (brightness, brightness * (0.98 - 0.1 * warm), brightness * (0.95 - 0.3 * warm)),
        (0.35, 0.35, 0.35 + draws.around(0, 0.05)),
        reach_m=3.0,
    )
    if draws.chance(0.6):
        shade = materials.shining((1.0, 0.95, 0.85), draws.between(1, 3))
        size = draws.between(0.2, 0.5)
        hanging = box(lamp[0], lamp[1], height - 0.1, (size, size, 0.1), shade, Shape.UPRIGHT_CYLINDER)
        solids.append(hanging._replace(casts_shadow=False))
    air = Air((0.5, 0.5, 0.5), draws.log_between(40, 400), (0.5, 0.5, 0.5), 0.0)
    lens = Lens(
        exposure=draws.log_between(0.17, 0.4),
        gains=(draws.around(1, 0.15), 1.0, draws.around(1, 0.15)),
        blur=draws.between(0.04, 0.16),
        vignette=draws.between(0, 0.35),
        noise=draws.log_between(0.003, 0.012),
    )
    corners = ((-width / 2, -length / 2, 0.0), (width / 2, length / 2, height))
    return World(solids, camera, light, air, lens, corners, MAX_DEPTH_M)


def _camera(draws: Draws, width: float, length: float) -> Camera:
    """Anywhere half a metre off the walls, turned to a place in the room that is not too near."""
    reach_x, reach_y = width / 2 - 0.5, length / 2 - 0.5
    while True:
        x, y = draws.between(-reach_x, reach_x), draws.between(-reach_y, reach_y)
        goal_x, goal_y = draws.between(-0.5, 0.5) * width, draws.between(-0.5, 0.5) * length
        if math.hypot(goal_x - x, goal_y - y) > 0.42 * math.hypot(width, length):
            break
    return Camera(
        (x, y, draws.around(1.5, 0.25)),
        yaw=math.atan2(x - goal_x, goal_y - y),
        pitch=math.radians(draws.around(-8, 12)),
        roll=math.radians(draws.around(0, 4)),
        focal_per_width=FOCAL_PER_WIDTH * draws.log_between(0.92, 1.09),
    )


def _shell(draws: Draws, width: float, length: float, height: float) -> list[Solid]:
    """Floor, ceiling and four walls, all outside of the room's air; sometimes skirting boards."""
    thick = WALL_THICKNESS_M
    paper = materials.wall(draws)
    walls = [paper if draws.chance(0.75) else materials.wall(draws) for _ in range(4)]
    ceiling = materials.plain(draws, materials.color(draws, 0.6, 0.9, 0.15))
    across, along = (width + thick, length + thick)
    solids = [
        box(0, 0, -thick, (across + thick, along + thick, thick), materials.floor(draws)),
        box(0, 0, height, (across + thick, along + thick, thick), ceiling),
        box(0, along / 2, 0, (width, thick, height), walls[0]),
        box(0, -along / 2, 0, (width, thick, height), walls[1]),
        box(across / 2, 0, 0, (thick, along + thick, height), walls[2]),
        box(-across / 2, 0, 0, (thick, along + thick, height), walls[3]),
    ]
    if draws.chance(0.6):
        board = materials.wood(draws)
        solids += [box(0, s * length / 2, 0, (width, 0.03, 0.09), board) for s in (-1, 1)]
        solids += [box(s * width / 2, 0, 0, (0.03, length, 0.09), board) for s in (-1, 1)]
    return [solid._replace(casts_shadow=False) for solid in solids]


def _walls(width: float, length: float) -> list[tuple[float, float, float, float]]:
    """Where each wall has its middle, the yaw that turns a back to it, and how long it is."""
    return [
        (0, length / 2, 0, width),
        (0, -length / 2, math.pi, width),
        (width / 2, 0, -math.pi / 2, length),
        (-width / 2, 0, math.pi / 2, length),
    ]


def _furnishing(draws: Draws, width: float, length: float, camera: Camera) -> list[Solid]:
    """Pieces against the walls and in the middle that neither overlap nor stand where the camera is."""
    camera_x, camera_y, _ = camera.position_m
    taken = [(camera_x - ELBOW_ROOM_M, camera_y - ELBOW_ROOM_M, camera_x + ELBOW_ROOM_M, camera_y + ELBOW_ROOM_M)]
    solids = []
    density = draws.between(0.3, 0.9)
    walls = _walls(width, length)
    for n in range(round(density * (8 + width * length / 3))):
        if n % 3 < 2:
            piece = draws.choice(furniture.AGAINST_WALLS)(draws)
            x, y, yaw, extent = draws.choice(walls)
            slide = draws.between(-0.5, 0.5) * max(extent - piece.width_m - 0.1, 0)
            gap = draws.between(0.01, 0.08)
            x += slide * math.cos(yaw) + gap * math.sin(yaw)
            y += slide * math.sin(yaw) - gap * math.cos(yaw)
        else:
            piece = draws.choice(furniture.FREE)(draws)
            x, y = draws.between(-0.5, 0.5) * width, draws.between(-0.5, 0.5) * length
            yaw = draws.between(-math.pi, math.pi)
        low_x, low_y, high_x, high_y = footprint(piece, x, y, yaw)
        if low_x < -width / 2 or low_y < -length / 2 or high_x > width / 2 or high_y > length / 2:
            continue
        if any(low_x < b[2] and b[0] < high_x and low_y < b[3] and b[1] < high_y for b in taken):
            continue
        taken.append((low_x, low_y, high_x, high_y))
        solids += moved(piece.solids, x, y, yaw)
    return solids


def _hangings(draws: Draws, width: float, length: float, height: float) -> list[Solid]:
    """Doors, windows, pictures and curtains on the walls, a rug on the floor."""
    solids: list[Solid] = []
    for x, y, yaw, extent in _walls(width, length):
        things: list[Solid] = []
        left = -extent / 2 + draws.between(0.2, 0.8)
        while True:
            wide, thing = _hanging(draws, height)
            if left + wide > extent / 2 - 0.1:
                break
            things += moved(thing, left + wide / 2, 0)
            left += wide + draws.between(0.3, 2.5)
        solids += moved(things, x, y, yaw)
    if draws.chance(0.5):
        rug = materials.fabric(draws)
        size = (draws.between(0.3, 0.7) * width, draws.between(0.3, 0.7) * length, 0.012)
        shape = draws.choice([Shape.BOX, Shape.BOX, Shape.UPRIGHT_CYLINDER])
        solids.append(box(draws.around(0, width / 6), draws.around(0, length / 6), 0, size, rug, shape))
    return [solid._replace(casts_shadow=False) for solid in solids]


def _hanging(draws: Draws, height: float) -> tuple[float, list[Solid]]:
    """The width of something on a wall at y = 0, and its solids."""
    kind = draws.unit()
    if kind < 0.25:
        wide, high = draws.between(0.75, 0.95), draws.between(1.98, 2.1)
        leaf = materials.wood(draws)
        door = leaf._replace(texture="panels", tile_m=(0.0, 0.0), dark=materials.scaled(leaf.light, 0.15))
        frame = materials.wood(draws)
        return wide + 0.16, [
            box(0, -0.01, 0, (wide + 0.16, 0.02, high + 0.08), frame),
            box(0, -0.025, 0, (wide, 0.03, high), door),
        ]
    if kind < 0.5:
        wide, sill = draws.between(0.7, 2.2), draws.between(0.75, 1.0)
        high = min(draws.between(1.0, 1.5), height - 0.1 - sill)
        pane = materials.shining(materials.color(draws, 0.8, 1.0, 0.25, hue=0.58), draws.between(0.3, 1.3), "cross")
        solids = [
            box(0, -0.02, sill, (wide, 0.04, high), pane._replace(dark=(0.25, 0.25, 0.25))),
            box(0, -0.08, sill - 0.04, (wide + 0.2, 0.16, 0.04), materials.plain(draws, (0.75, 0.75, 0.73))),
        ]
        if draws.chance(0.5):
            curtain = materials.fabric(draws)._replace(texture="pinstripes", tile_m=(0.5, 0.5))
            bottom = draws.choice([0.03, sill - 0.1])
            size = (wide / 4, 0.08, height - 0.1 - bottom)
            solids += [box(s * (wide / 2 + 0.02), -0.14, bottom, size, curtain) for s in (-1, 1)]
        return wide + wide / 4, solids
    wide, high = draws.between(0.25, 1.2), draws.between(0.25, 0.9)
    picture = materials.plain(draws, (0, 0, 0))._replace(
        texture="painting",
        tile_m=(0.0, 0.0),
        dark=materials.color(draws, 0.02, 0.4, 0.6),
        light=materials.color(draws, 0.4, 0.9, 0.9),
    )
    return wide, [box(0, -0.015, draws.around(1.6, 0.15) - high / 2, (wide, 0.03, high), picture)]
