"""Which solid each pixel sees and how far away: exact intersections, no sampling.

A solid meets only the pixels of the rectangle of the image that can show it, a few percent of all pairs. Large
rectangles are taken one solid at a time, since their rays are an outer sum of rows and columns; the pairs of all small
ones are taken together, one shape at a time.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from .shapes import Shape, enter_and_leave
from .world import Solid, World

NEAR_M = 0.05
"""No surface is seen that is nearer to the camera's plane."""

NOTHING = -1
"""In place of a solid's index: the sky."""

LARGE = 500
"""Pixels of a rectangle from which on a solid is taken by itself: a call of NumPy costs as much as so many of them."""

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
_EDGES = np.array([(i, j) for i in range(8) for j in range(i + 1, 8) if (_CORNERS[i] != _CORNERS[j]).sum() == 1])


class View(NamedTuple):
    """A camera with its pixels."""

    position_m: Float[np.ndarray, "3"]
    axes: Float[np.ndarray, "3 3"]
    """Unit vectors to the right, down and forwards, as rows."""
    intrinsics: Float[np.ndarray, "4"]
    """[fx, fy, cx, cy] in pixels; the centre of the first pixel is at 0."""
    size: tuple[int, int]
    """Height and width."""
    columns: Float[np.ndarray, "width"]
    """(u - cx) / fx: how far right a ray goes for each metre forwards."""
    rows: Float[np.ndarray, "height"]
    """(v - cy) / fy: how far down."""


class Placement(NamedTuple):
    """The solids of a world as arrays."""

    shape: Int[np.ndarray, "n"]
    to_unit: Float[np.ndarray, "n 3 3"]
    """From metres about the centre to unit coordinates; its rows are the axes, each over its half size."""
    center_m: Float[np.ndarray, "n 3"]
    half_size_m: Float[np.ndarray, "n 3"]
    corners_m: Float[np.ndarray, "n 8 3"]


class Visible(NamedTuple):
    """What each pixel sees."""

    depth_m: Float[np.ndarray, "height width"]
    """Along the camera's axis; infinite where there is nothing."""
    solid: Int[np.ndarray, "height width"]
    """Its index, or NOTHING."""


def view(world: World, size: tuple[int, int]) -> View:
    """The camera of a world over an image of this height and width, its principal point in the middle."""
    height, width = size
    focal_px = world.camera.focal_per_width * width
    cx, cy = (width - 1) / 2, (height - 1) / 2
    columns = ((np.arange(width) - cx) / focal_px).astype(np.float32)
    rows = ((np.arange(height) - cy) / focal_px).astype(np.float32)
    intrinsics = np.array([focal_px, focal_px, cx, cy], np.float32)
    return View(np.array(world.camera.position_m), world.camera.axes(), intrinsics, size, columns, rows)


def place(solids: Sequence[Solid]) -> Placement:
    """The affine map of every solid."""
    shape, center, half, _, yaw, _ = zip(*solids, strict=True)
    center, half = np.array(center), np.array(half)
    axes = np.zeros((len(solids), 3, 3))
    axes[:, 0, 0] = axes[:, 1, 1] = np.cos(yaw)
    axes[:, 0, 1] = np.sin(yaw)
    axes[:, 1, 0] = -axes[:, 0, 1]
    axes[:, 2, 2] = 1
    corners = center[:, None] + (_CORNERS * half[:, None]) @ axes
    return Placement(np.array(shape), axes / half[:, :, None], center, half, corners)


def see(placement: Placement, view: View) -> Visible:
    """The nearest surface at the centre of every pixel."""
    depth = np.full(view.size, np.inf, np.float32)
    seen = np.full(view.size, NOTHING, np.int32)
    # Rays are forward + column * right + row * down, and so they are in unit coordinates.
    rays = (placement.to_unit @ view.axes.T).astype(np.float32)
    origins = (placement.to_unit @ (view.position_m - placement.center_m)[:, :, None]).astype(np.float32)
    windows, nearest = _windows(placement.corners_m, view)
    pixels = (windows[:, 1] - windows[:, 0]) * (windows[:, 3] - windows[:, 2])
    # Near ones first: what they hide need not be looked at.
    order = np.argsort(nearest, kind="stable")
    for i in order[pixels[order] >= LARGE].tolist():
        top, bottom, left, right = windows[i].tolist()
        before = depth[top:bottom, left:right]
        if before.max() <= nearest[i]:
            continue
        right_step, down_step, forward = rays[i].T[:, :, None]
        direction = (forward + down_step * view.rows[top:bottom])[:, :, None]
        direction = direction + (right_step * view.columns[left:right])[:, None, :]
        enter, leave = enter_and_leave(Shape(placement.shape[i]), origins[i][:, :, None], direction)
        hit = (enter <= leave) & (enter < before) & (enter > NEAR_M)
        np.copyto(before, enter, where=hit)
        np.copyto(seen[top:bottom, left:right], i, where=hit)
    small = np.flatnonzero((pixels > 0) & (pixels < LARGE))
    flat_depth, flat_seen = depth.reshape(-1), seen.reshape(-1)
    for shape, chosen in by_shape(placement.shape, small):
        solid, row, column = _pairs(windows, chosen)
        pixel = row * view.size[1] + column
        open_ = flat_depth[pixel] > nearest[solid]
        solid, row, column, pixel = solid[open_], row[open_], column[open_], pixel[open_]
        ray = rays.reshape(-1, 9).T.take(solid, 1).reshape(3, 3, -1)
        direction = ray[:, 2] + ray[:, 1] * view.rows[row] + ray[:, 0] * view.columns[column]
        enter, leave = enter_and_leave(shape, origins[..., 0].T.take(solid, 1), direction)
        hit = np.flatnonzero((enter <= leave) & (enter < flat_depth[pixel]) & (enter > NEAR_M))
        enter, pixel, solid = enter[hit], pixel[hit], solid[hit]
        np.minimum.at(flat_depth, pixel, enter)
        first = enter == flat_depth[pixel]
        flat_seen[pixel[first]] = solid[first]
    return Visible(depth, seen)


def by_shape(shape: Int[np.ndarray, "n"], chosen: Int[np.ndarray, "m"]) -> Iterator[tuple[Shape, np.ndarray]]:
    """Those of the chosen solids that have each shape."""
    for kind in Shape:
        some = chosen[shape[chosen] == kind]
        if some.size:
            yield kind, some


def _pairs(windows: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solid, row and column of every pixel in the rectangle of every chosen solid."""
    top, bottom, left, right = windows[chosen].T
    width = right - left
    count = (bottom - top) * width
    which = np.repeat(np.arange(chosen.size), count)
    number = np.arange(which.size) - (np.cumsum(count) - count)[which]
    down = number // width[which]
    return chosen[which], top[which] + down, left[which] + number - down * width[which]


def points_of(visible: Visible, view: View) -> Float[np.ndarray, "3 height width"]:
    """Where each pixel's ray ends, or for the sky is after a metre: from the camera, along the axes of the world."""
    right, down, forward = view.axes.astype(np.float32)[:, :, None, None]
    depth = np.where(visible.solid == NOTHING, np.float32(1), visible.depth_m)
    return depth * ((forward + down * view.rows[:, None]) + right * view.columns)


def _windows(
    corners_m: Float[np.ndarray, "n 8 3"], view: View
) -> tuple[Int[np.ndarray, "n 4"], Float[np.ndarray, "n"]]:
    """Rows and columns [top, bottom, left, right) outside of which no pixel's centre can see a box; its least depth.

    What of the box lies behind the camera is cut off.
    """
    height, width = view.size
    corners = (corners_m - view.position_m) @ view.axes.T
    begin, end = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
    ahead = np.stack([begin[..., 2], end[..., 2]]) >= NEAR_M
    step = end - begin
    share = (NEAR_M - begin[..., 2]) / np.where(step[..., 2] == 0, 1, step[..., 2])
    crossing = begin + np.clip(share, 0, 1)[..., None] * step
    ends = np.where(ahead[..., None], np.stack([begin, end]), crossing)
    fx, fy, cx, cy = view.intrinsics.tolist()
    depth = np.maximum(ends[..., 2], NEAR_M)
    usable = ahead.any(0)
    bounds = []
    for coordinate, most in ((ends[..., 1] / depth * fy + cy, height), (ends[..., 0] / depth * fx + cx, width)):
        low = np.where(usable, coordinate, np.inf).min((0, 2))
        high = np.where(usable, coordinate, -np.inf).max((0, 2))
        # A hundredth of a pixel more on either side, for the rounding of rays to float32.
        first = np.clip(np.ceil(low - 0.01), 0, most)
        bounds += [first, np.maximum(np.clip(np.floor(high + 0.01) + 1, 0, most), first)]
    return np.stack(bounds, 1).astype(np.int32), corners[..., 2].min(1) * 0.9999
