"""Convex solids of unit size: where a line enters and leaves them, and which way their surface faces.

Every solid of a scene is one of these under an affine map. A point of a ray is `origin + t * direction` before and
after such a map with the same t, so what is solved here in unit coordinates holds in the world: with directions of unit
length along the camera's axis, t is the planar depth in metres, exactly.
"""

import enum

import numpy as np
from jaxtyping import Float

TINY = np.float32(1e-30)
"""Added to what divides: large enough that its inverse times a kilometre is finite, too small to change a number."""


class Shape(enum.IntEnum):
    """The unit solids; all fit in the cube [-1, 1]^3 and touch its six faces."""

    BOX = 0
    BALL = 1
    UPRIGHT_CYLINDER = 2
    """Its axis is z."""
    LYING_CYLINDER = 3
    """Its axis is x: a wheel."""
    GABLE = 4
    """A roof whose ridge runs along y."""
    CABIN = 5
    """A box that narrows upwards, more along y than along x: the upper half of a car."""
    PYRAMID = 6
    """Six-sided; narrows to a tenth: a conifer, a lamp shade."""


def _prism(sides: int, top: float) -> list[list[float]]:
    """Sides of a prism that narrows from z = -1 to `top` of its width at z = 1."""
    angles = np.arange(sides) * 2 * np.pi / sides
    # Outer radius 1 at the bottom: cos(pi / sides) is how far out the middle of a side then is.
    reach, slope = np.cos(np.pi / sides) * (1 + top) / 2, np.cos(np.pi / sides) * (1 - top) / 2
    return [[np.cos(a) / reach, np.sin(a) / reach, slope / reach] for a in angles]


_LIDS = [[0, 0, 1], [0, 0, -1]]
_FACES = {
    Shape.GABLE: [[2, 0, 1], [-2, 0, 1], [0, 1, 0], [0, -1, 0], [0, 0, -1]],
    Shape.CABIN: [*_LIDS, *([0, s / 0.8, 0.2 / 0.8] for s in (-1, 1)), *([s / 0.92, 0, 0.08 / 0.92] for s in (-1, 1))],
    Shape.PYRAMID: [*_LIDS, *_prism(6, 0.1)],
}
POLYHEDRA: dict[Shape, Float[np.ndarray, "faces 3"]] = {
    shape: np.array(faces, np.float32) for shape, faces in _FACES.items()
}
"""Outward normals n of the faces, scaled so that the solid is where n . p <= 1 for all of them."""


def enter_and_leave(
    shape: Shape, origin: Float[np.ndarray, "3 *#pixels"], direction: Float[np.ndarray, "3 *pixels"]
) -> tuple[Float[np.ndarray, "*pixels"], Float[np.ndarray, "*pixels"]]:
    """The t at which lines `origin + t * direction` enter a unit solid and leave it.

    A line that misses has enter > leave (or NaN), so `enter <= leave` is the test.
    """
    if shape is Shape.BOX:
        return _slabs(origin, direction)
    if shape is Shape.BALL:
        return _round(origin, direction)
    if shape is Shape.UPRIGHT_CYLINDER or shape is Shape.LYING_CYLINDER:
        axis = 2 if shape is Shape.UPRIGHT_CYLINDER else 0
        enter, leave = _slabs(origin[axis : axis + 1], direction[axis : axis + 1])
        around = slice(0, 2) if axis == 2 else slice(1, 3)
        enter_round, leave_round = _round(origin[around], direction[around])
        return np.maximum(enter, enter_round), np.minimum(leave, leave_round)
    normals = POLYHEDRA[shape]
    towards = np.tensordot(normals, direction, 1) + TINY
    t = (1 - np.tensordot(normals, origin, 1)) / towards
    inwards = towards < 0
    return np.where(inwards, t, -np.inf).max(0), np.where(inwards, np.inf, t).min(0)


def _slabs(origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inverse = 1 / (direction + TINY)
    middle = -origin * inverse
    half = np.abs(inverse, out=inverse)
    enter, leave = middle - half, np.add(middle, half, out=middle)
    for axis in range(1, len(enter)):
        np.maximum(enter[0], enter[axis], out=enter[0])
        np.minimum(leave[0], leave[axis], out=leave[0])
    return enter[0], leave[0]


def _round(origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the unit ball, or of the unit circle when there are two coordinates."""
    squared_speed = (direction * direction).sum(0) + TINY
    nearest = -(origin * direction).sum(0) / squared_speed
    # The distance of the line is squared after the subtraction: b^2 - 4ac would cancel for a small, far ball.
    miss = origin + nearest * direction
    inside = 1 - (miss * miss).sum(0)
    half = np.sqrt(np.maximum(inside, 0) / squared_speed)
    half[inside < 0] = -np.inf
    return nearest - half, nearest + half


def gauge(shape: Shape, points: Float[np.ndarray, "3 *n"]) -> Float[np.ndarray, "*n"]:
    """How much the unit solid must be scaled for its surface to hold the points: 1 on it, less within."""
    if shape is Shape.BOX:
        return np.abs(points).max(0)
    if shape is Shape.BALL:
        return np.sqrt((points * points).sum(0))
    if shape is Shape.UPRIGHT_CYLINDER:
        return np.maximum(np.hypot(points[0], points[1]), np.abs(points[2]))
    if shape is Shape.LYING_CYLINDER:
        return np.maximum(np.hypot(points[1], points[2]), np.abs(points[0]))
    return np.tensordot(POLYHEDRA[shape], points, 1).max(0)


def outward(shape: Shape, points: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
    """Normals of the surface at points of it, not of unit length: the gradient of `gauge` up to a factor."""
    if shape is Shape.BALL:
        return points
    if shape in POLYHEDRA:
        normals = POLYHEDRA[shape]
        return normals[(normals @ points).argmax(0)].T
    distance = np.abs(points)
    if shape is Shape.BOX:
        largest = distance >= distance.max(0)
        return np.where(largest, points, 0)
    around, axis = ((0, 1), 2) if shape is Shape.UPRIGHT_CYLINDER else ((1, 2), 0)
    side = np.hypot(points[around[0]], points[around[1]]) > distance[axis]
    normals = np.where(side, points, 0)
    normals[axis] = np.where(side, 0, points[axis])
    return normals
