"""The owner's labelled images: `nyu_depth_v2_labeled.mat`, an HDF5 file, with its official split in `splits.mat`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from zoe_jax.input.prepare import PreparationError

from ..depth_files import optional_library, zero_where_invalid
from ..raw_files import Intrinsics

LABELLED = "nyu_depth_v2_labeled.mat"
SPLITS = "splits.mat"
INDICES = {"train": "trainNdxs", "test": "testNdxs"}
"""What `splits.mat` calls the splits; it counts images from 1."""


@dataclass(frozen=True)
class LabelledExample:
    """One image of the file."""

    id: str
    file: Path
    splits: Path
    index: int
    """From 0."""
    intrinsics: Intrinsics

    @property
    def files(self) -> tuple[Path, Path]:
        """The two that all examples share."""
        return self.file, self.splits

    def features(self) -> dict[str, Any]:
        """The image without loss, the raw depth in metres; MATLAB stores columns first, so both are transposed."""
        try:
            # a file for each example: h5py has one lock for all, so threads gain nothing by sharing one
            with _h5py().File(self.file, "r") as file:
                image, depth_m = np.asarray(file["images"][self.index]).T, np.asarray(file["rawDepths"][self.index]).T
        # h5py raises anything on what it cannot read
        except Exception as error:
            raise PreparationError(f"{self.file}, image {self.index + 1}: cannot be read: {error}") from error
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or depth_m.shape != image.shape[:2]:
            raise PreparationError(
                f"{self.file}, image {self.index + 1}: images have the shape {image.shape[::-1]} and type "
                f"{image.dtype}, rawDepths {depth_m.shape[::-1]}; they should be uint8 (3, 640, 480) and (640, 480)"
            )
        return {
            "image": Image.fromarray(np.ascontiguousarray(image)),
            "depth": zero_where_invalid(depth_m).astype(np.float32),
            "intrinsics": np.array(self.intrinsics, np.float32),
        }


def find_labelled(folder: Path, intrinsics: Intrinsics) -> Mapping[str, Sequence[LabelledExample]]:
    """The images of each split, called as `official_splits` calls them: by kind of scene and by index from 0.

    Raises:
        PreparationError: h5py is missing, or a file is not as the owner ships it.
    """
    file, splits = folder / LABELLED, folder / SPLITS
    kinds = _scene_kinds(file)
    try:
        stored = scipy.io.loadmat(splits)
        indices = {split: stored[name].ravel().astype(int) - 1 for split, name in INDICES.items()}
    # scipy raises anything on what it cannot read
    except Exception as error:
        raise PreparationError(
            f"{splits} cannot be read: {error}; it should hold {' and '.join(INDICES.values())}, and lies beside "
            f"{LABELLED} in the download"
        ) from error
    for split, chosen in indices.items():
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(kinds):
            raise PreparationError(
                f"{splits}, {INDICES[split]}: images {chosen.min() + 1} to {chosen.max() + 1} are named, {file} has "
                f"1 to {len(kinds)}"
            )
    return {
        split: [
            LabelledExample(f"{kinds[index]}/rgb_{index:05d}", file, splits, int(index), intrinsics) for index in chosen
        ]
        for split, chosen in indices.items()
    }


def what_is_missing(folder: Path) -> str | None:
    """Why the labelled file, which is there, cannot be made a data set; None where it can, unless it is damaged."""
    if not (folder / SPLITS).is_file():
        return f"{SPLITS} does not lie beside it"
    try:
        _h5py()
    except PreparationError as error:
        return str(error)
    return None


def _scene_kinds(file: Path) -> list[str]:
    """The kind of each image's scene, such as `bathroom`."""
    h5py = _h5py()
    try:
        with h5py.File(file, "r") as opened:
            kinds = ["".join(map(chr, np.ravel(opened[cell]))) for cell in np.ravel(opened["sceneTypes"])]
            counts = {name: len(opened[name]) for name in ("images", "rawDepths")}
    except Exception as error:
        raise PreparationError(
            f"{file} cannot be read: {error}; it should be an HDF5 file with images, rawDepths and sceneTypes"
        ) from error
    if set(counts.values()) != {len(kinds)}:
        raise PreparationError(
            f"{file} has {counts['images']} images, {counts['rawDepths']} rawDepths and {len(kinds)} sceneTypes; "
            "they should be as many"
        )
    return kinds


def _h5py() -> Any:
    return optional_library("h5py", "h5", f"{LABELLED} is")
