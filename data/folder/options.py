"""What the user says about a folder of images and depth: the options of `zoe-jax prepare folder`."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from zoe_jax.input.prepare import PreparationError

DATA_SET_NAME = re.compile(r"\w[\w-]*")


@dataclass(frozen=True)
class FolderOptions:
    """Your own images and depth become the data set zoe_folder/NAME.

    Pairs are found in one of three ways. Parallel folders: --images rgb --depth depth, where files of one relative
    path, but for the suffix, belong together. Patterns: --images '{split}/{id}_rgb.png' --depth
    '{split}/{id}_depth.npy'; what stands for {id} is the same in both, {split} names the split. A table: --pairs
    pairs.csv with the columns image and depth, if you like also mask, split, id, fx, fy, cx, cy.

    Depth is 16-bit PNG (with --depth-units-per-m), .npy, .exr or .h5; 0, NaN and negative values are invalid. JPEG and
    PNG images and PNG depth are copied byte by byte. A pair that cannot be used is left out and named: an unreadable
    file, depth or mask of another size than the image, no valid depth, a scale that cannot be, a missing partner.
    """

    # The docstrings are the words of `zoe-jax prepare folder --help`, one line each: tyro would keep the line breaks.

    name: Annotated[Positional[str], tyro.conf.arg(metavar="NAME")]
    """Name of the data set; training refers to zoe_folder/NAME."""
    images: str | None = None
    """Folder of images, searched with its sub-folders, or a pattern with {id}, such as 'scans/{id}_rgb.png'."""
    depth: str | None = None
    """Folder of depth files, or a pattern with {id}, such as 'scans/{id}_depth.npy'."""
    masks: str | None = None
    """Folder or pattern of masks: images of one channel or .npy, 0 is invalid. An image without one has all valid."""
    pairs: Path | None = None
    """CSV table with a line for each pair, instead of --images and --depth; its paths are relative to its folder."""
    depth_units_per_m: float | None = None
    """The value that stands for a metre: 1000 for millimetres, 256 as KITTI. PNG needs it; else depth is in metres."""
    depth_key: str | None = None
    """Data set within .h5, or channel of .exr; by default the only one (of .exr: Z, depth, Y or R)."""
    min_depth_m: float = 0.001
    """Depth at or below is invalid."""
    max_depth_m: float = 1000.0
    """Depth at or above is invalid; name it where your sensor marks missing depth by a large value."""
    intrinsics: tuple[float, float, float, float] | None = None
    """fx fy cx cy of the camera, in pixels, the same for all images."""
    domain: str = ""
    """The metric head to train, for models with several: nyu or kitti, say."""
    split_by: Literal["share", "folder"] = "share"
    """share: by --validation-share; folder: by the first sub-folder. A {split} or a column split goes before."""
    validation_share: float = 0.1
    """Share of images kept for validation, drawn by their names; neighbours in a video are better split by folder."""
    seed: int = 0
    """Draws another validation share."""
    strict: bool = False
    """Refuse the whole where a pair would be left out."""
    dry_run: bool = False
    """Only look at all files and report; write nothing."""
    overwrite: bool = False
    """Replace the data set of this name; the old one stays until the new one is complete."""

    def __post_init__(self) -> None:
        """Raises PreparationError where options cannot be, or contradict each other."""
        if not DATA_SET_NAME.fullmatch(self.name):
            raise PreparationError(f"NAME is {self.name!r}; it should be of letters, digits, _ and -")
        if (self.pairs is None) == (self.images is None) or (self.images is None) != (self.depth is None):
            raise PreparationError("give either --images and --depth, or --pairs")
        if self.pairs is not None and self.masks is not None:
            raise PreparationError("--masks goes with --images; with --pairs, masks are a column of the table")
        if self.depth_units_per_m is not None and not (0 < self.depth_units_per_m < math.inf):
            raise PreparationError(f"--depth-units-per-m is {self.depth_units_per_m}; it must be positive")
        if not 0 <= self.min_depth_m < self.max_depth_m:
            raise PreparationError(
                f"--min-depth-m is {self.min_depth_m:g} and --max-depth-m {self.max_depth_m:g}; it should be "
                "0 <= min < max"
            )
        if not 0 <= self.validation_share < 1:
            raise PreparationError(f"--validation-share is {self.validation_share}; it must be at least 0 and below 1")
        if self.intrinsics is not None:
            check_intrinsics(self.intrinsics, "--intrinsics")


def check_intrinsics(intrinsics: tuple[float, ...], where: str) -> None:
    """Raises PreparationError where these are no focal lengths and principal point."""
    if not all(map(math.isfinite, intrinsics)) or min(intrinsics[:2]) <= 0:
        values = " ".join(f"{value:g}" for value in intrinsics)
        raise PreparationError(f"{where}: fx fy cx cy are {values}; they must be finite, and fx and fy positive")
