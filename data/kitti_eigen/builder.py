"""The TFDS builder of `zoe_kitti_eigen/eigen`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.records import DepthMetadata

from ..raw import RawBuilder, RawConfig, RawOptions, RawPreparation
from ..raw_files import Intrinsics, depth_in_file, image_size
from ..split_lists import SplitList, read_lists

LISTS = {
    "train": SplitList("kitti_eigen_train_files_with_gt.txt", 23158),
    "test": SplitList("kitti_eigen_test_files_with_gt.txt", 697),
}

METADATA = DepthMetadata(0, 256, 256, "kitti")
"""The maximum is that of 16 bits."""

IMAGES = ("raw", ".")
"""Where the folders of days may lie."""

DEPTHS = ("gts", "data_depth_annotated/train", "data_depth_annotated/val", "train", "val", ".")
"""Where the folders of drives with annotated depth may lie; each drive is in one of them."""

CALIBRATION, PROJECTION = "calib_cam_to_cam.txt", "P_rect_02"


class ZoeKittiEigen(RawBuilder, skip_registration=True):
    """KITTI, Eigen split: road scenes with the accumulated depth of a LiDAR."""


@dataclass(frozen=True)
class EigenExample:
    """A line of a list."""

    id: str
    image: Path
    depth: Path | None
    """None: there is no truth."""
    calibration: Path | None
    """Where the intrinsics stand."""
    intrinsics: Intrinsics | None

    @property
    def files(self) -> tuple[Path, ...]:
        """Image, depth, calibration."""
        return tuple(filter(None, (self.image, self.depth, self.calibration)))

    def features(self) -> dict[str, Any]:
        """Both files as they are; depth of 0 where there is none."""
        size = image_size(self.image, "png")
        features: dict[str, Any] = {"image": str(self.image)}
        if self.depth is None:
            features["depth"] = Image.fromarray(np.zeros(size, np.uint16))
        else:
            depth_in_file(self.depth, size)
            features["depth"] = str(self.depth)
        if self.intrinsics is not None:
            features["intrinsics"] = np.array(self.intrinsics, np.float32)
        return features


def find(options: RawOptions) -> list[RawConfig]:
    """The one configuration.

    Raises:
        PreparationError: neither images nor depth are where they should be, or a list or a calibration is damaged.
    """
    lists = read_lists(LISTS, options.splits)
    days = sorted({pair.image.parts[0] for pairs in lists.values() for pair in pairs})
    images = next(
        (options.raw / place for place in IMAGES if any((options.raw / place / day).is_dir() for day in days)), None
    )
    if images is None:
        raise PreparationError(
            f"--raw {options.raw} has none of the days {', '.join(days)}, neither by itself nor in {IMAGES[0]}; it "
            "should be the folder of KITTI's raw data"
        )
    calibrations = {day: images / day / CALIBRATION for day in days}
    if uncalibrated := [day for day, calibration in calibrations.items() if not calibration.is_file()]:
        calibrations = {}
    cameras = {day: _intrinsics(calibration) for day, calibration in calibrations.items()}
    drives = {pair.depth.parts[0] for pairs in lists.values() for pair in pairs if pair.depth is not None}
    depths = {drive: _depth_folder(options.raw, drive) for drive in drives}
    splits: dict[str, Sequence[EigenExample]] = {
        split: [
            EigenExample(
                str(pair.image.with_suffix("")),
                images / pair.image,
                None if pair.depth is None else depths[pair.depth.parts[0]] / pair.depth,
                calibrations.get(pair.image.parts[0]),
                cameras.get(pair.image.parts[0]),
            )
            for pair in pairs
        ]
        for split, pairs in lists.items()
    }
    notes = [
        f"Images without truth in {split}, whose depth is 0: {count}."
        for split, pairs in lists.items()
        if (count := sum(pair.depth is None for pair in pairs))
    ]
    if uncalibrated:
        notes.append(f"No intrinsics: there is no {CALIBRATION} for {', '.join(uncalibrated)}.")
    return [RawConfig(name="eigen", metadata=METADATA, intrinsics=not uncalibrated, splits=splits, notes=notes)]


def _depth_folder(raw: Path, drive: str) -> Path:
    """Where the depth of a drive lies; where it should lie, if it is nowhere."""
    inside = PurePosixPath(drive, "proj_depth")
    return next((raw / place for place in DEPTHS if (raw / place / inside).is_dir()), raw / DEPTHS[1])


def _intrinsics(calibration: Path) -> Intrinsics:
    """fx, fy, cx, cy of the rectified left colour camera."""
    try:
        lines = dict(line.split(":", 1) for line in calibration.read_text(encoding="utf-8").splitlines() if ":" in line)
        fx, _, cx, _, _, fy, cy, *_ = map(float, lines[PROJECTION].split())
    except (OSError, KeyError, ValueError) as error:
        raise PreparationError(
            f"{calibration} cannot be read: {error}; it should have a line {PROJECTION} of 12 numbers"
        ) from error
    return fx, fy, cx, cy


PREPARATION = RawPreparation(
    "kitti_eigen",
    "KITTI, Eigen split: road scenes with LiDAR depth; 23158 training images, 697 test images.",
    ZoeKittiEigen,
    RawOptions,
    find,
)
