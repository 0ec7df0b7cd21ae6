"""Folders as their owners have them: images and depth of any kind, small and of known content."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from zoe_jax.input.prepare import silent
from zoe_jax.input.summary import DataSetSummary
from zoe_jax_data.folder import PREPARATION
from zoe_jax_data.folder.options import FolderOptions

HEIGHT, WIDTH = 6, 8


def image_of(index: int) -> np.ndarray:
    """Noise, uint8 [6, 8, 3]."""
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def depth_of(index: int) -> np.ndarray:
    """1 to 2.5 m and the index in decimetres, in whole millimetres; float32 [6, 8]."""
    millimetres = np.random.default_rng(index).integers(1000, 2500, (HEIGHT, WIDTH)) + 100 * index
    return (millimetres.astype(np.float32) / np.float32(1000)).astype(np.float32)


def write_image(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def write_depth(path: Path, depth_m: np.ndarray, units_per_m: float = 1.0) -> Path:
    """Of any kind that is read; PNG in whole units."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        assert cv2.imwrite(str(path), np.round(depth_m * units_per_m).astype(np.uint16))
    elif path.suffix == ".npy":
        np.save(path, depth_m * np.float32(units_per_m))
    elif path.suffix == ".exr":
        write_exr(path, {"Z": depth_m * np.float32(units_per_m)})
    else:
        write_h5(path, {"depth": depth_m * np.float32(units_per_m)})
    return path


def write_exr(path: Path, channels: dict[str, np.ndarray]) -> None:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))


def write_h5(path: Path, data_sets: dict[str, np.ndarray]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in data_sets.items():
            file[name] = array


def write_pairs(root: Path, n: int, image_suffix: str = ".png", depth_suffix: str = ".png") -> dict[str, Any]:
    """`root/rgb` and `root/depth`; gives the options that describe them."""
    in_png = depth_suffix == ".png"
    for index in range(n):
        write_image(root / f"rgb/{index:02}{image_suffix}", image_of(index))
        write_depth(root / f"depth/{index:02}{depth_suffix}", depth_of(index), 1000 if in_png else 1)
    options: dict[str, Any] = {"images": str(root / "rgb"), "depth": str(root / "depth")}
    return options | ({"depth_units_per_m": 1000.0} if in_png else {})


def prepare(data_dir: Path, jobs: int = 2, **options: Any) -> DataSetSummary:
    """`zoe-jax prepare folder mine`."""
    summary = PREPARATION.prepare(FolderOptions("mine", **options), data_dir, jobs, silent)
    (data_set,) = summary.data_sets
    return data_set
