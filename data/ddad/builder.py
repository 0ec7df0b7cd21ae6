"""DDAD: frames of the download in either layout, and the builder of `zoe_ddad/lidar`."""

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.records import DepthMetadata

from ..depth_files import zero_where_invalid
from ..raw import RawBuilder, RawConfig, RawExample, RawOptions, RawPreparation
from ..raw_files import depth_in_file, image_size, refuse_splits, visible
from .projection import Overlap, depth_of_points
from .scenes import Frame, validation_frames

METADATA = DepthMetadata(0, 250, None, "kitti")
"""The LiDARs see up to 250 m."""

SCENES = ("ddad.json", "ddad_train_val/ddad.json", "DDAD/ddad_train_val/ddad.json")
IMAGE, DEPTH = "_rgb.png", "_depth.npy"
FRONT_CAMERA = "CAMERA_01"


@dataclass(frozen=True)
class DdadOptions(RawOptions):
    """What every published data set asks, and what is taken of the sensors."""

    camera: str = FRONT_CAMERA
    """Camera whose images are taken: CAMERA_01, the one of the paper, looks ahead; 05 to 09 look around."""
    overlap: Overlap = "nearest"
    """Of several LiDAR returns in a pixel, take the nearest, or the last of the file, as the owner's library does."""


@dataclass(frozen=True)
class LidarFrame:
    """An image of the owner's layout; its truth is projected when it is asked for."""

    frame: Frame
    overlap: Overlap

    @property
    def id(self) -> str:
        """Scene and time."""
        return self.frame.id

    @property
    def files(self) -> Sequence[Path]:
        """Image, point cloud, scene and calibration."""
        return self.frame.image, self.frame.point_cloud, *self.frame.descriptions

    def features(self) -> dict[str, Any]:
        """The image as it is, the depth of the returns, the intrinsics."""
        frame = self.frame
        size, points_m = image_size(frame.image, "png"), read_points(frame.point_cloud)
        depth_m = depth_of_points(points_m, frame.lidar, frame.camera, frame.intrinsics, size, self.overlap)
        camera = frame.intrinsics
        intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32)
        return {"image": frame.image, "depth": depth_m, "intrinsics": intrinsics}


@dataclass(frozen=True)
class FlatFrame:
    """An image of the original's layout, with its truth beside it."""

    id: str
    image: Path
    depth: Path

    @property
    def files(self) -> Sequence[Path]:
        """Image and depth."""
        return self.image, self.depth

    def features(self) -> dict[str, Any]:
        """The image as it is, the depth as float32."""
        depth_m = depth_in_file(self.depth, image_size(self.image, "png"))
        return {"image": self.image, "depth": zero_where_invalid(depth_m)}


class ZoeDdad(RawBuilder, skip_registration=True):
    """DDAD: images of the front camera with the depth of LiDAR returns."""


def find(options: DdadOptions) -> list[RawConfig]:
    """The validation frames of the download.

    Raises:
        PreparationError: neither layout is there, or its JSON files are not as their owner ships them.
    """
    refuse_splits(options, "ddad", "ddad.json names the validation scenes")
    examples: list[RawExample]
    scenes = next((options.raw / name for name in SCENES if (options.raw / name).is_file()), None)
    if scenes is not None:
        examples = [LidarFrame(frame, options.overlap) for frame in validation_frames(scenes, options.camera)]
    else:
        images = visible(options.raw, f"*{IMAGE}")
        if not images:
            raise PreparationError(
                f"--raw {options.raw} holds no DDAD; expected is the owner's {' or '.join(SCENES[:2])}, or images "
                f"NAME{IMAGE} beside NAME{DEPTH}"
            )
        if (options.camera, options.overlap) != (FRONT_CAMERA, "nearest"):
            raise PreparationError(
                f"--raw {options.raw} holds images and truth as they are evaluated; --camera and --overlap need the "
                "owner's scenes, ddad.json"
            )
        examples = [_flat_frame(image) for image in images]
    return [
        RawConfig(
            name=_config_name(options),
            metadata=METADATA,
            intrinsics=scenes is not None,
            splits={"validation": examples},
        )
    ]


def _config_name(options: DdadOptions) -> str:
    camera = "" if options.camera.upper() == FRONT_CAMERA else f"_{options.camera.lower()}"
    return f"lidar{camera}{'_last' if options.overlap == 'last' else ''}"


def _flat_frame(image: Path) -> FlatFrame:
    id_ = image.name.removesuffix(IMAGE)
    return FlatFrame(id_, image, image.with_name(id_ + DEPTH))


def read_points(path: Path) -> Float[np.ndarray, "n 3"]:
    """The points of a cloud, in metres in the frame of the LiDAR.

    Raises:
        PreparationError: the file is damaged, or holds something else; pickled objects are never loaded.
    """
    try:
        # read beforehand: NumPy leaves a file open that is no archive
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            points = arrays["data"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise PreparationError(
            f"{path} is no point cloud: {error}; expected is an .npz file with one array of numbers, data"
        ) from error
    if points.dtype.names is not None and {"X", "Y", "Z"} <= set(points.dtype.names):
        points = np.stack([points[name].ravel() for name in "XYZ"], axis=1)
    if points.ndim != 2 or points.shape[1] < 3 or points.dtype.kind not in "fiu":
        raise PreparationError(
            f"{path}: data is an array {points.dtype} {list(points.shape)}; expected are numbers [n, 4], that is x, y, "
            "z, intensity"
        )
    return points[:, :3].astype(np.float64)


PREPARATION = RawPreparation(
    "ddad",
    "DDAD: urban driving with LiDAR depth up to 250 m; 3950 validation images of the front camera.",
    ZoeDdad,
    DdadOptions,
    find,
)
