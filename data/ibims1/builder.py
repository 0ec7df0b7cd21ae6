"""iBims-1: images of the owner's list, and the builder of `zoe_ibims1/core_raw`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.records import DepthMetadata

from ..depth_files import mask_image
from ..raw import RawBuilder, RawConfig, RawOptions, RawPreparation
from ..raw_files import depth_in_file, first_with, image_size, mask_in_file, numbers_in_file
from ..split_lists import inside, read_lines

MAX_DEPTH_M = 50.0
"""What 65535 stands for."""

METADATA = DepthMetadata(0, MAX_DEPTH_M, depth_units_per_m=65535 / MAX_DEPTH_M, domain="nyu")

FOLDER = "ibims1_core_raw"
LIST = "imagelist.txt"


class ZoeIbims1(RawBuilder, skip_registration=True):
    """iBims-1 (core, raw): indoor images with depth of a laser scanner."""


@dataclass(frozen=True)
class Ibims1Example:
    """One name of the list."""

    root: Path
    id: str
    calibrated: bool
    """Whether there are intrinsics."""

    def _png(self, kind: str) -> Path:
        return self.root / kind / f"{self.id}.png"

    @property
    def _calibration(self) -> Path:
        return self.root / "calib" / f"{self.id}.txt"

    @property
    def files(self) -> tuple[Path, ...]:
        """Image, depth, both masks, intrinsics."""
        pngs = tuple(self._png(kind) for kind in ("rgb", "depth", "mask_invalid", "mask_transp"))
        return (*pngs, self._calibration) if self.calibrated else pngs

    def features(self) -> dict[str, Any]:
        """Image and depth as they are, the masks as one; PreparationError where a file is not what it should be."""
        image, depth = self._png("rgb"), self._png("depth")
        size = image_size(image, "png")
        depth_in_file(depth, size)
        valid = mask_in_file(self._png("mask_invalid"), size) & mask_in_file(self._png("mask_transp"), size)
        features: dict[str, Any] = {"image": image, "depth": depth, "valid_mask": mask_image(valid)}
        if self.calibrated:
            intrinsics = numbers_in_file(self._calibration, 4, "fx, fy, cx, cy")
            features["intrinsics"] = np.array(intrinsics, np.float32)
        return features


def find(options: RawOptions) -> Sequence[RawConfig]:
    """The images of the owner's list.

    Raises:
        PreparationError: no image is there, or the list is not.
    """
    raw = options.raw
    root = first_with([raw, raw / FOLDER], "rgb/*.png", "depth/*.png")
    if root is None:
        raise PreparationError(
            f"--raw {raw} holds no image of iBims-1; expected are rgb/*.png and depth/*.png, in it or in {FOLDER}"
        )
    names = _names(options, root)
    calibrated = (root / "calib").is_dir()
    examples = [Ibims1Example(root, name, calibrated) for name in names]
    splits = {"test": examples}
    return [RawConfig("core_raw", metadata=METADATA, valid_mask=True, intrinsics=calibrated, splits=splits)]


def _names(options: RawOptions, root: Path) -> list[str]:
    places = [options.splits] if options.splits else [root, root.parent]
    candidates = [place / LIST if place.is_dir() else place for place in places]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise PreparationError(
            f"there is no {candidates[0]}; {LIST} is a file of its own in the download: put it there, or name it by "
            "--splits"
        )
    return [str(inside(name, place)) for place, line in read_lines(path) for name in line.split()]


PREPARATION = RawPreparation(
    "ibims1", "iBims-1: indoor images with depth of a laser scanner; 100 test images.", ZoeIbims1, RawOptions, find
)
