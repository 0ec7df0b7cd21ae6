"""Which surfaces the lamp reaches: exact, one ray from each pixel that faces it."""

import numpy as np
from jaxtyping import Bool, Float, Int

from .casting import Placement, by_shape
from .shapes import enter_and_leave
from .world import Triple


def lit(
    placement: Placement,
    casters: Int[np.ndarray, "casters"],
    points_m: Float[np.ndarray, "3 n"],
    solid: Int[np.ndarray, "n"],
    lamp_m: Triple,
) -> Bool[np.ndarray, "n"]:
    """Whether a straight line leads from each point to the lamp.

    Seen from the lamp, a solid hides the points within its outline. Where lines from the lamp meet the floor is a map
    of all directions, on which a rectangle about each outline tells which few points to test.

    Args:
        placement: of all solids.
        casters: indices of those that cast a shadow, all below the lamp.
        points_m: on surfaces that face the lamp.
        solid: to which each point belongs. A convex solid does not shade itself.
        lamp_m: place of the lamp.
    """
    bright = np.ones(solid.size, np.bool_)
    lamp = np.array(lamp_m)
    # Towards and across the lamp's direction, so that the long shadows of a low sun have narrow rectangles.
    across = np.array([lamp[1], -lamp[0]]) / (np.hypot(lamp[0], lamp[1]) + 1e-9)
    turn = np.array([across, [-across[1], across[0]]])
    places = _on_floor(points_m, lamp, turn.astype(np.float32))
    corners = placement.corners_m[casters]
    outline = _on_floor(np.moveaxis(corners, 2, 0), lamp, turn).astype(np.float32)
    low, high, top = outline.min(2), outline.max(2), corners[..., 2].max(1).astype(np.float32)
    # A tenth of a per mille wider, for the rounding of a far sun's rays.
    slack = np.float32(1e-4) * np.abs(outline).max(2) + np.float32(1e-3)
    to_unit = placement.to_unit.astype(np.float32).reshape(-1, 9).T
    center = placement.center_m.astype(np.float32).T
    goal = (placement.to_unit @ (lamp - placement.center_m)[:, :, None]).astype(np.float32)[..., 0].T
    low, high = low - slack, high + slack
    # Sorted across, the points of a rectangle are within one short run.
    order = np.argsort(places[0])
    across_sorted = places[0][order]
    first, last = (np.searchsorted(across_sorted, bound[0]) for bound in (low, high))
    for shape, some in by_shape(placement.shape[casters], np.arange(casters.size)):
        count = last[some] - first[some]
        which = np.repeat(some, count)
        point = order[np.arange(which.size) + np.repeat(last[some] - np.cumsum(count), count)]
        along = places[1][point]
        near = np.flatnonzero((along > low[1][which]) & (along < high[1][which]) & (points_m[2][point] < top[which]))
        point, i = point[near], casters[which[near]]
        start = points_m.take(point, 1) - center.take(i, 1)
        map_ = to_unit.take(i, 1).reshape(3, 3, -1)
        start = map_[:, 0] * start[0] + map_[:, 1] * start[1] + map_[:, 2] * start[2]
        enter, leave = enter_and_leave(shape, start, goal.take(i, 1) - start)
        dark = (enter <= leave) & (leave > 0) & (solid[point] != i)
        bright[point[dark]] = False
    return bright


def _on_floor(
    points_m: Float[np.ndarray, "3 *n"], lamp: Float[np.ndarray, "3"], turn: Float[np.ndarray, "2 2"]
) -> Float[np.ndarray, "2 *n"]:
    """Where lines from the lamp through points meet z = 0; what is as high as the lamp is cast very far away."""
    dtype = points_m.dtype
    x, y, z = lamp.astype(dtype)
    descent = np.maximum(z - points_m[2], dtype.type(1e-3) * z)
    stretch = points_m[2] / descent
    flat = [points_m[0] + (points_m[0] - x) * stretch, points_m[1] + (points_m[1] - y) * stretch]
    return np.stack([turn[0, 0] * flat[0] + turn[0, 1] * flat[1], turn[1, 0] * flat[0] + turn[1, 1] * flat[1]])
