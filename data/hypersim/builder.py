"""Hypersim: frames of the download, from distances to planar depth, and the builder of `zoe_hypersim/planar`."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.records import DepthMetadata

from ..depth_files import optional_library, zero_where_invalid
from ..raw import RawBuilder, RawConfig, RawOptions, RawPreparation
from ..raw_files import check_size, first_with, image_size, visible
from .official_split import read_test_frames

HEIGHT, WIDTH = 768, 1024
FOCAL_LENGTH_PX = 886.81
"""That of 60 degrees across the image; as the original, and issue 9 of apple/ml-hypersim, write it."""

METADATA = DepthMetadata(0, 65504, domain="nyu")
"""The largest number of 16-bit floats."""

IMAGES = "ai_*/images/scene_cam_*_final_preview/frame.*.tonemap.jpg"
KEY = "dataset"
"""Within the HDF5 files."""


@dataclass(frozen=True)
class HypersimOptions(RawOptions):
    """What every published data set asks, and which frames are taken."""

    official_split: bool = False
    """Only the frames that the owner's split v1 calls test; else every frame that is there."""


def planar_depth(distance_m: Float[np.ndarray, "768 1024"]) -> Float32[np.ndarray, "768 1024"]:
    """Depth along the axis of the camera, from the distance along the ray of each pixel.

    z = distance f / |(x, y, f)|, with (x, y) the centre of the pixel as seen from the centre of the image (original:
    `hypersim_distance_to_depth` in zoedepth/data/hypersim.py).
    """
    return distance_m / _ray_lengths_px() * np.float32(FOCAL_LENGTH_PX)


@functools.cache
def _ray_lengths_px() -> Float32[np.ndarray, "768 1024"]:
    """From the centre of the camera to each pixel's centre in the image plane."""
    x = np.linspace(0.5 - 0.5 * WIDTH, 0.5 * WIDTH - 0.5, WIDTH).astype(np.float32)
    y = np.linspace(0.5 - 0.5 * HEIGHT, 0.5 * HEIGHT - 0.5, HEIGHT).astype(np.float32)
    plane = np.stack(np.broadcast_arrays(x[None, :], y[:, None], np.float32(FOCAL_LENGTH_PX)), axis=2)
    return np.linalg.norm(plane, axis=2)


@dataclass(frozen=True)
class HypersimExample:
    """A frame of a camera in a scene."""

    root: Path
    scene: str
    camera: str
    """Such as `cam_00`."""
    frame: str
    """Four digits."""

    @property
    def id(self) -> str:
        """As in ai_001_010/cam_00/frame.0000."""
        return f"{self.scene}/{self.camera}/frame.{self.frame}"

    @property
    def files(self) -> tuple[Path, Path]:
        """Image and distances."""
        images = self.root / self.scene / "images"
        return (
            images / f"scene_{self.camera}_final_preview/frame.{self.frame}.tonemap.jpg",
            images / f"scene_{self.camera}_geometry_hdf5/frame.{self.frame}.depth_meters.hdf5",
        )

    def features(self) -> dict[str, Any]:
        """The image as it is, planar depth; PreparationError where a file is not what it should be."""
        image, distances = self.files
        size = image_size(image, "jpeg")
        if size != (HEIGHT, WIDTH):
            raise PreparationError(f"{image} is {size[1]}x{size[0]}; it should be {WIDTH}x{HEIGHT} (width x height)")
        distance_m = _distances_m(distances)
        check_size(distances, distance_m.shape, size)
        depth_m = planar_depth(distance_m)
        return {
            "image": image,
            "depth": zero_where_invalid(depth_m),
            "intrinsics": np.array([FOCAL_LENGTH_PX, FOCAL_LENGTH_PX, WIDTH / 2, HEIGHT / 2], np.float32),
        }


def _distances_m(path: Path) -> Float[np.ndarray, "h w"]:
    h5py = optional_library("h5py", "h5", "Hypersim's depth is")
    right = f"it should be an HDF5 file with distances of {WIDTH}x{HEIGHT} pixels in {KEY!r}"
    try:
        with h5py.File(path, "r") as file:
            distance_m = np.asarray(file[KEY])
    # h5py raises anything on what it cannot read
    except Exception as error:
        raise PreparationError(f"{path} cannot be read: {error}; {right}") from error
    if distance_m.ndim != 2 or distance_m.dtype.kind != "f":
        raise PreparationError(f"{path} holds {distance_m.dtype} of shape {distance_m.shape}; {right}")
    return distance_m


class ZoeHypersim(RawBuilder, skip_registration=True):
    """Hypersim: rendered indoor scenes, tone-mapped images with exact planar depth."""


def find(options: HypersimOptions) -> Sequence[RawConfig]:
    """Every frame that is there, or those of the owner's test split.

    Raises:
        PreparationError: no scene is there, or the split cannot be had.
    """
    raw = options.raw
    root = first_with([raw, raw / "scenes", raw / "evermotion_dataset/scenes"], "ai_*/images")
    if root is None:
        raise PreparationError(f"--raw {raw} holds no scene of Hypersim; expected is {IMAGES}")
    if options.official_split:
        examples = [HypersimExample(root, *names) for names in read_test_frames(options.splits)]
    elif options.splits:
        raise PreparationError(
            "--splits is read with --official-split only; without it every frame is of the split test"
        )
    else:
        examples = [_example(root, image) for image in visible(root, IMAGES)]
    examples = sorted(examples, key=lambda example: example.id)
    return [RawConfig("planar", metadata=METADATA, image_format="jpeg", intrinsics=True, splits={"test": examples})]


def _example(root: Path, image: Path) -> HypersimExample:
    camera = image.parent.name.removeprefix("scene_").removesuffix("_final_preview")
    return HypersimExample(root, image.parents[2].name, camera, image.name.split(".")[1])


PREPARATION = RawPreparation(
    "hypersim",
    "Hypersim: rendered indoor scenes with exact depth; every frame, or 7690 of the official test split.",
    ZoeHypersim,
    HypersimOptions,
    find,
)
