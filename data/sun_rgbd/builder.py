"""SUN RGB-D: frames of the official test split, and the builder of `zoe_sun_rgbd/depth`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from jaxtyping import UInt16
from PIL import Image

from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.records import DepthMetadata

from ..raw import RawBuilder, RawConfig, RawOptions, RawPreparation
from ..raw_files import depth_in_file, image_size, numbers_in_file, visible

UNITS_PER_M = 1000.0
METADATA = DepthMetadata(0, 65535 / UNITS_PER_M, UNITS_PER_M, "nyu")

IMPLAUSIBLE_MEDIAN_M = 20.0
"""No camera of the set reaches half so far; half of an image beyond it means that the depth is not in millimetres."""

TOOLBOX_SPLIT = "traintestSUNRGBD/allsplit.mat"
TOOLBOX = "https://rgbd.cs.princeton.edu/data/SUNRGBDtoolbox.zip"
ROTATION = 3
"""Bits by which the owner rotates depth, so that viewers show something."""


def decoded(rotated: UInt16[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
    """Millimetres from the owner's files: `bitor(bitshift(d, -3), bitshift(d, 13))` of read3dPoints.m."""
    return (rotated >> np.uint16(ROTATION)) | (rotated << np.uint16(16 - ROTATION))


@dataclass(frozen=True)
class SunRgbdExample:
    """A frame: image, depth, and intrinsics where they are known."""

    id: str
    image: Path
    depth: Path
    rotated: bool
    """Whether the depth is the owner's."""
    intrinsics: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Image, depth, intrinsics."""
        return (self.image, self.depth, *([self.intrinsics] if self.intrinsics else []))

    def features(self) -> dict[str, Any]:
        """The image as it is, depth in millimetres; PreparationError where a file is not what it should be."""
        stored = depth_in_file(self.depth, image_size(self.image, "jpeg")).astype(np.uint16)
        features: dict[str, Any] = {"image": self.image, "depth": self.depth}
        if self.rotated:
            features["depth"] = Image.fromarray(decoded(stored))
        else:
            self._check_scale(stored)
        if self.intrinsics:
            fx, _, cx, _, fy, cy, *_ = numbers_in_file(self.intrinsics, 9, "the rows of a 3x3 matrix")
            features["intrinsics"] = np.array([fx, fy, cx, cy], np.float32)
        return features

    def _check_scale(self, millimetres: UInt16[np.ndarray, "h w"]) -> None:
        """There are copies in tenths of a millimetre, and such as nobody has decoded."""
        measured = millimetres[millimetres > 0]
        if measured.size and (median_m := float(np.median(measured)) / UNITS_PER_M) > IMPLAUSIBLE_MEDIAN_M:
            raise PreparationError(
                f"{self.depth}: its median depth would be {median_m:.3g} m; it should be in millimetres, decoded"
            )


class ZoeSunRgbd(RawBuilder, skip_registration=True):
    """SUN RGB-D, the official test split: indoor images with inpainted depth of four cameras."""


def find(options: RawOptions) -> Sequence[RawConfig]:
    """The test split, in the owner's layout or in that of the original's loader.

    Raises:
        PreparationError: neither layout is there, or the owner's without its split.
    """
    raw = options.raw
    for root in (raw / "SUNRGBD", raw):
        if any((root / sensor).is_dir() for sensor in ("kv1", "kv2", "realsense", "xtion")):
            examples = [_owners_example(root, frame) for frame in _test_frames(options, root)]
            return [
                RawConfig("depth", metadata=METADATA, image_format="jpeg", intrinsics=True, splits={"test": examples})
            ]
    for root in (raw, raw / "test"):
        if images := visible(root / "rgb/rgb", "*.jpg"):
            examples = [
                SunRgbdExample(image.stem, image, root / "gt/gt" / f"{image.stem}.png", rotated=False)
                for image in images
            ]
            return [RawConfig("depth", metadata=METADATA, image_format="jpeg", splits={"test": examples})]
    raise PreparationError(
        f"--raw {raw} holds no image of SUN RGB-D; expected are SUNRGBD/kv1, kv2, realsense and xtion, as the owner "
        "ships them, or rgb/rgb/*.jpg beside gt/gt/*.png"
    )


def _owners_example(root: Path, frame: str) -> SunRgbdExample:
    folder = root / frame
    image, depth = _only_file(folder / "image", "*.jpg"), _only_file(folder / "depth_bfx", "*.png")
    return SunRgbdExample(frame, image, depth, rotated=True, intrinsics=folder / "intrinsics.txt")


def _only_file(folder: Path, pattern: str) -> Path:
    """The file of a frame; where there is none, its pattern, to be listed as missing."""
    found = visible(folder, pattern)
    if len(found) > 1:
        raise PreparationError(f"{folder} holds {len(found)} files {pattern}; a frame has one")
    return found[0] if found else folder / pattern


def _test_frames(options: RawOptions, root: Path) -> list[str]:
    """The frames of `alltest`, relative to the folder `SUNRGBD`."""
    if options.splits is None:
        places = [place / "SUNRGBDtoolbox" / TOOLBOX_SPLIT for place in (root, root.parent)]
    elif options.splits.is_dir():
        places = [options.splits / name for name in ("allsplit.mat", TOOLBOX_SPLIT, f"SUNRGBDtoolbox/{TOOLBOX_SPLIT}")]
    else:
        places = [options.splits]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise PreparationError(
            f"there is no {places[-1]}, which names the test images: unpack {TOOLBOX} beside SUNRGBD, or name "
            "allsplit.mat by --splits"
        )
    try:
        # variables of plain types only: nothing in the file is run
        content: Any = scipy.io.loadmat(path, variable_names=["alltest"], chars_as_strings=True)
        names = [str(cell.item()) for cell in content["alltest"].ravel()]
    # a reader of a binary format raises anything on what it cannot read
    except Exception as error:
        raise PreparationError(
            f"{path} cannot be read: {error!r}; it should be the owner's allsplit.mat, with the cells `alltest`"
        ) from error
    foreign = [name for name in names if "SUNRGBD/" not in name]
    if foreign:
        raise PreparationError(f"{path}: {foreign[0]!r} names no folder of SUNRGBD")
    # the names are those of the owner's computer: /n/fs/sun3d/data/SUNRGBD/kv2/kinect2data/...
    return sorted(name.rpartition("SUNRGBD/")[2].strip("/") for name in names)


PREPARATION = RawPreparation(
    "sun_rgbd", "SUN RGB-D: indoor scenes of four depth cameras; 5050 test images.", ZoeSunRgbd, RawOptions, find
)
