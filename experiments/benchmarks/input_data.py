"""Images and depth of NYU's size and weight for `input.py`: as files, and as the data set prepared from them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from zoe_jax.input.records import DepthMetadata, record_features

SIZE = (480, 640)
UNITS_PER_M = 1000
DISPARITY_STEPS_M = 351
"""A Kinect resolves depth in steps of about z^2 / 351 m, which is why its depth maps compress well."""
MAX_DEPTH_M = 10.0


class ZoeNyuSize(tfds.core.GeneratorBasedBuilder):
    """The files of a folder as they are, byte by byte."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, files: Path, **arguments: Any):
        self.files = files
        super().__init__(file_format="array_record", **arguments)

    def _info(self) -> tfds.core.DatasetInfo:
        metadata = DepthMetadata(min_depth_m=1e-3, max_depth_m=MAX_DEPTH_M, depth_units_per_m=UNITS_PER_M)
        features = record_features(metadata, image_format="jpeg")
        return self.dataset_info_from_configs(features=features, metadata=metadata.to_tfds())

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for image in sorted(self.files.glob("*.jpg")):
            yield image.stem, {"id": image.stem, "image": image, "depth": image.with_suffix(".png")}


def write_files(folder: Path, count: int) -> dict[str, int]:
    """Writes `count` pairs of jpeg and 16-bit png.

    Surfaces with texture, in the depth steps of the sensor, so that decoders have about as much to do as with NYU.

    Returns:
        Bytes of an average jpeg and png.
    """
    height, width = SIZE
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for i in range(count):
        rng = np.random.default_rng(i)
        depth_m = 2 + 3 * _clouds(rng, octaves=4) + y / height + (x > rng.uniform(0, width)) * rng.uniform(0, 2)
        disparity = np.round(DISPARITY_STEPS_M / depth_m + rng.normal(0, 0.3, SIZE))
        units = UNITS_PER_M * DISPARITY_STEPS_M / disparity
        units[: rng.integers(0, 12)] = 0
        image = np.stack([_clouds(rng, octaves=7) for _ in range(3)], axis=-1) / depth_m[..., None] * 4
        stem = folder / f"{i:05d}"
        cv2.imwrite(f"{stem}.jpg", (255 * image).clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])
        cv2.imwrite(f"{stem}.png", units.clip(0, 65535).astype(np.uint16))
    return {kind: round(np.mean([path.stat().st_size for path in folder.glob(f"*.{kind}")])) for kind in ("jpg", "png")}


def _clouds(rng: np.random.Generator, octaves: int) -> np.ndarray:
    """Smooth noise in [0, 1]: octave by octave twice as fine and two thirds as strong."""
    height, width = SIZE
    total = np.zeros(SIZE, np.float32)
    for octave in range(octaves):
        coarse = rng.random((3 * 2**octave, 4 * 2**octave), np.float32)
        total += (2 / 3) ** octave * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (total - total.min()) / (total.max() - total.min())
