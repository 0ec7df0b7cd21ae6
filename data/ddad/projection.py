"""A point cloud as a camera sees it: the sparse depth map of a LiDAR's returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32

Overlap = Literal["nearest", "last"]
"""Of several points in one pixel, which counts: the nearest, or the one that comes last in the point cloud."""


@dataclass(frozen=True)
class Pose:
    """A sensor in the world: x_world = R x_sensor + t."""

    rotation: tuple[float, float, float, float]
    """Quaternion w, x, y, z; its length does not matter."""
    translation_m: tuple[float, float, float]

    def rotation_matrix(self) -> Float[np.ndarray, "3 3"]:
        """R."""
        w, x, y, z = np.asarray(self.rotation) / np.linalg.norm(self.rotation)
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )


@dataclass(frozen=True)
class Intrinsics:
    """A camera without distortion, in pixels; pixel (0, 0) reaches from 0 to 1."""

    fx: float
    fy: float
    cx: float
    cy: float
    skew: float = 0.0


def depth_of_points(
    points_m: Float[np.ndarray, "n 3"],
    lidar: Pose,
    camera: Pose,
    intrinsics: Intrinsics,
    size: Sequence[int],
    overlap: Overlap = "nearest",
) -> Float32[np.ndarray, "h w"]:
    """Depth of the points along the camera's optical axis, in metres; 0 where there is none.

    A point belongs to the pixel of its truncated coordinates, as in dgp (utils/camera.py, generate_depth_map); where
    several do, `overlap` decides, which dgp leaves to the order of the file.

    Args:
        points_m: in the frame of the LiDAR; points that are not finite are left out.
        lidar: where the LiDAR was when it measured.
        camera: where the camera was when it took the image.
        intrinsics: of the camera.
        size: height and width of the image.
        overlap: see `Overlap`.
    """
    points_m = points_m[np.isfinite(points_m).all(axis=1)]
    # float64: the poses are hundreds of metres from the origin, and cancel
    world = points_m.astype(np.float64) @ lidar.rotation_matrix().T + lidar.translation_m
    x, y, z = ((world - camera.translation_m) @ camera.rotation_matrix()).T
    in_front = z > 0
    x, y, z = x[in_front], y[in_front], z[in_front]
    u = (intrinsics.fx * x + intrinsics.skew * y) / z + intrinsics.cx
    v = intrinsics.fy * y / z + intrinsics.cy
    height, width = size
    # truncated: what is less than a pixel beyond the left or upper side counts to the first pixel
    inside = (u > -1) & (v > -1) & (u < width) & (v < height)
    columns, rows, z = u[inside].astype(int), v[inside].astype(int), z[inside]
    if overlap == "nearest":
        far_to_near = np.argsort(-z, kind="stable")
        columns, rows, z = columns[far_to_near], rows[far_to_near], z[far_to_near]
    depth_m = np.zeros((height, width), np.float32)
    # of several values for one pixel, NumPy keeps the last
    depth_m[rows, columns] = z
    return depth_m
