"""A straight road in a town or in the country, seen by a camera on the roof of a car."""

import math
from collections.abc import Callable, Iterator

from . import materials, street
from .furniture import box
from .shapes import Shape
from .world import Air, Camera, Draws, Lens, Light, Solid, World, moved

MAX_DEPTH_M = 80.0

FOCAL_PER_WIDTH = 721.5377 / 1242
"""Of KITTI's left colour camera, rectified (calibration of 2011-09-26)."""

BEHIND_M, AHEAD_M = -25.0, 140.0
"""Where the road begins and ends, as seen from the camera."""

GROUND_M = 600.0
"""Half the side of the ground: farther away it is hidden in haze and by what stands on it."""


def road(draws: Draws) -> World:
    """A world out of a stream of random numbers."""
    lane_width, lanes = draws.between(2.8, 3.75), draws.choice([1, 2, 2, 2, 3, 4])
    # The camera drives in the middle of its lane, at x = 0; the lanes before it are to its left.
    own_lane = draws.integer(max(0, lanes // 2), lanes - 1)
    left = -(own_lane + 0.5) * lane_width + draws.around(0, 0.4)
    right = left + lanes * lane_width
    solids = _carriageway(draws, left, lanes, lane_width)
    solids += _traffic(draws, left, lanes, lane_width, own_lane)
    town = draws.unit()
    for side, edge in ((-1, left), (1, right)):
        solids += _roadside(draws, side, edge, town)
    if draws.chance(0.3):
        solids += _end_of_the_road(draws)
    return World(
        solids,
        _camera(draws),
        *_weather(draws),
        _lens(draws),
        ((-math.inf, -math.inf, 0.0), (math.inf, math.inf, math.inf)),
        MAX_DEPTH_M,
    )


def _camera(draws: Draws) -> Camera:
    yaw = draws.around(0, 6) if draws.chance(0.75) else draws.around(0, 15)
    return Camera(
        (0.0, 0.0, draws.around(1.65, 0.25)),
        yaw=math.radians(yaw),
        pitch=math.radians(draws.around(-2.5, 11)),
        roll=math.radians(draws.around(0, 4)),
        focal_per_width=FOCAL_PER_WIDTH * draws.log_between(0.92, 1.09),
    )


def _weather(draws: Draws) -> tuple[Light, Air]:
    """Sun and sky: from a clear noon to an overcast day, in clear air or in mist."""
    overcast = draws.unit() ** 1.5
    elevation, azimuth = math.radians(draws.between(18, 70)), draws.between(-math.pi, math.pi)
    far = 5000.0
    sun = (
        far * math.cos(elevation) * math.sin(azimuth),
        far * math.cos(elevation) * math.cos(azimuth),
        far * math.sin(elevation),
    )
    strength = 1.6 * (1 - 0.9 * overcast)
    warmth = math.cos(elevation)
    blue = 0.08 * (1 - overcast)
    light = Light(
        sun,
        (strength, strength * (1 - 0.12 * warmth), strength * (1 - 0.3 * warmth)),
        (0.5 - blue, 0.5, 0.5 + 1.5 * blue),
        reach_m=far,
    )
    grey = draws.between(0.55, 0.95)
    haze = (grey * (0.97 - blue), grey, grey * (1.02 + blue))
    clear = draws.between(0.3, 0.6)
    share = 1 - overcast
    zenith = (
        grey * (1 - share * (1 - 0.45 * clear)),
        grey * (1 - share * (1 - 0.95 * clear)),
        grey * (1 - share * (1 - 1.9 * clear)),
    )
    cloud_cover = draws.between(0.1, 0.7)
    return light, Air(haze, draws.log_between(90, 1500), zenith, cloud_cover)


def _lens(draws: Draws) -> Lens:
    return Lens(
        exposure=draws.log_between(0.19, 0.42),
        gains=(draws.around(1, 0.1), 1.0, draws.around(1, 0.1)),
        blur=draws.between(0.04, 0.16),
        vignette=draws.between(0, 0.3),
        noise=draws.log_between(0.003, 0.012),
    )


def _strip(x: float, width: float, height: float, material: materials.Material) -> Solid:
    """Along the whole road; its top is at a height above the ground."""
    length = AHEAD_M - BEHIND_M
    strip = box(x, BEHIND_M + length / 2, height - 0.3, (width, length, 0.3), material)
    return strip._replace(casts_shadow=False)


def _carriageway(draws: Draws, left: float, lanes: int, lane_width: float) -> list[Solid]:
    """The ground, and on it a strip for each lane; a lane carries the paint of its left edge."""
    ground = Solid(Shape.BOX, (0, 0, -0.51), (GROUND_M, GROUND_M, 0.5), materials.grass(draws), 0.0, False)
    brightness = draws.between(0.6, 1.7)
    asphalt = materials.asphalt(draws)
    edge_painted, middle_painted = draws.chance(0.6), draws.chance(0.85)
    phase, period = draws.unit(), draws.choice([6.0, 9.0, 12.0])
    solids = [ground]
    dark, light = materials.ASPHALT_DARK, materials.ASPHALT_PAINTED
    for lane in range(lanes):
        material = asphalt
        if edge_painted if lane == 0 else middle_painted:
            texture = "solid_lane" if lane == 0 or (lanes == 4 and lane == 2) else "dashed_lane"
            shade = (dark[0] * brightness, dark[1] * brightness, dark[2] * brightness)
            material = materials.Material(texture, shade, light, (lane_width, period), (0.5, phase))
        solids.append(_strip(left + (lane + 0.5) * lane_width, lane_width, 0.0, material))
    right = left + lanes * lane_width
    if edge_painted:
        line = materials.plain(draws, light)
        solids.append(_strip(right - 0.2, 0.12, 0.003, line))
    if draws.chance(0.25):
        stripes = materials.Material("bars", asphalt.dark, light, (2.0, 2.0), (draws.unit(), 0.0))
        size = (right - left, draws.between(3, 4), 0.01)
        crossing = box((left + right) / 2, draws.log_between(6, 40), -0.004, size, stripes)
        solids.append(crossing._replace(casts_shadow=False))
    return solids


def _along(draws: Draws, start: float, gap: tuple[float, float], end: float) -> Iterator[float]:
    """Places along the road, a random gap after each other."""
    y = start + draws.between(0, gap[1] - gap[0])
    while y < end:
        yield y
        y += draws.between(*gap)


def _traffic(draws: Draws, left: float, lanes: int, lane_width: float, own_lane: int) -> list[Solid]:
    """Cars on the lanes; those left of the road's middle come towards the camera."""
    solids: list[Solid] = []
    density = draws.between(0, 1)
    for lane in range(lanes):
        x = left + (lane + 0.5) * lane_width
        oncoming = lanes > 1 and lane < lanes // 2
        gap = 45 - 35 * density * draws.unit()
        nearest = draws.log_between(7, 45) if lane == own_lane else draws.between(2, 45)
        y = nearest + 2.5
        while y < MAX_DEPTH_M + 8 and density > 0.1:
            vehicle, length = street.vehicle(draws)
            turn = draws.around(math.pi if oncoming else 0, 0.04)
            solids += moved(vehicle, x + draws.around(0, 0.3), y + length / 2 - 2.5, turn)
            y += length + draws.between(3, gap)
    return solids


def _roadside(draws: Draws, side: int, edge: float, town: float) -> list[Solid]:
    """Everything beyond an edge of the road, from the kerb outwards."""
    solids: list[Solid] = []
    paved = draws.chance(town + 0.1)
    if paved and draws.chance(0.55):
        bay = draws.between(2.0, 2.5)
        solids.append(_strip(edge + side * bay / 2, bay, 0.0, materials.asphalt(draws)))
        solids += _parked(draws, edge + side * bay / 2)
        edge += side * bay
    verge = draws.between(1.5, 4.5)
    if paved:
        kerb = draws.between(0.1, 0.18)
        stone = materials.plain(draws, materials.color(draws, 0.35, 0.6, 0.1))
        solids.append(_strip(edge + side * 0.075, 0.15, kerb, stone))
        solids.append(_strip(edge + side * (0.15 + verge / 2), verge, kerb - 0.005, materials.paving(draws)))
        if draws.chance(0.4):
            for y in _along(draws, 4, (4, 50), 60):
                walker = moved(street.person(draws), 0, 0, draws.choice([0.0, math.pi]), kerb)
                solids += moved(walker, edge + side * draws.between(0.5, verge), y)
    else:
        verge = draws.between(0.8, 2.5)
    posts = edge + side * 0.5
    if draws.chance(0.4):
        arm = 0.0 if side > 0 else math.pi
        for y in _along(draws, 3, (20, 45), MAX_DEPTH_M):
            solids += moved(street.street_lamp(draws), posts, y, arm)
    for y in _along(draws, 6, (15, 70), MAX_DEPTH_M):
        solids += moved(street.sign(draws), posts, y)
    solids += _row(draws, side, edge + side * (verge + 0.4), town)
    return solids


def _parked(draws: Draws, x: float) -> list[Solid]:
    solids: list[Solid] = []
    turn = draws.choice([0.0, math.pi])
    for y in _along(draws, 1, (5.6, draws.between(7, 30)), MAX_DEPTH_M):
        vehicle = street.car(draws) if draws.chance(0.85) else street.van(draws)
        solids += moved(vehicle, x + draws.around(0, 0.1), y + 2.6, turn + draws.around(0, 0.03))
    return solids


def _row(draws: Draws, side: int, edge: float, town: float) -> list[Solid]:
    """The row of buildings, trees or hedges behind the verge."""
    solids: list[Solid] = []
    if draws.chance(0.55 - 0.3 * town):
        for y in _along(draws, -2, (8, draws.between(12, 40)), 110):
            plant = street.tree if draws.chance(0.75) else street.bush
            solids += moved(plant(draws), edge + side * draws.between(0.5, 6), y)
    setback = draws.between(0, 10) if town < 0.6 else draws.between(0, 2.5)
    if draws.chance(0.45) and setback > 1:
        solids += moved(street.hedge_or_fence(draws, AHEAD_M - BEHIND_M), edge, (AHEAD_M + BEHIND_M) / 2)
    if draws.chance(0.25 + town):
        build: Callable[[Draws, float, float], list[Solid]] = street.block if town > 0.6 else street.house
        y = -18.0 + draws.between(0, 8)
        gaps = draws.between(0, 0.6) if town > 0.6 else draws.between(2, 20)
        while y < AHEAD_M:
            width, depth = draws.between(8, 18), draws.between(8, 12)
            x = edge + side * (setback + depth / 2 + draws.between(0, 0.5))
            solids += moved(build(draws, width, depth), x, y + width / 2)
            y += width + gaps * draws.between(0.5, 1.5)
    return solids


def _end_of_the_road(draws: Draws) -> list[Solid]:
    """A building or a wood across the road, far away."""
    y = draws.between(60, AHEAD_M)
    if draws.chance(0.5):
        return moved(street.block(draws, draws.between(20, 60), 12), draws.around(0, 10), y + 6, math.pi / 2)
    wood = materials.leaves(draws)._replace(tile_m=(6.0, 6.0))
    return [box(draws.around(0, 20), y + 5, 0, (draws.between(60, 200), 8, draws.between(6, 14)), wood)]
