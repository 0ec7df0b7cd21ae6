"""Prepared data sets of a few small images, some of which cannot be evaluated."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from zoe_jax.input.building import build
from zoe_jax.input.records import DepthMetadata, record_features

MAX_DEPTH_M = 5000.0
"""So that a record may be in millimetres by mistake."""


class Little(NamedTuple):
    """One record."""

    image: np.ndarray
    """uint8 [h, w, 3]."""
    depth_m: np.ndarray
    """float32 [h, w]."""
    valid_mask: np.ndarray | None = None
    """bool [h, w]; all records of a data set have one, or none."""


class ZoeLittle(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent

    def __init__(self, records: Mapping[str, Little], domain: str, **options: Any) -> None:
        self.records = records
        self.metadata = DepthMetadata(1e-3, MAX_DEPTH_M, None, domain)
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        masked = any(record.valid_mask is not None for record in self.records.values())
        features = record_features(self.metadata, valid_mask=masked)
        return tfds.core.DatasetInfo(builder=self, features=features, metadata=self.metadata.to_tfds())

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"test": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, record in self.records.items():
            example = {"id": name, "image": Image.fromarray(record.image), "depth": record.depth_m}
            if record.valid_mask is not None:
                example["valid_mask"] = Image.fromarray(record.valid_mask.astype(np.uint8) * 255)
            yield name, example


def write(data_dir: Path, name: str, records: Mapping[str, Little], domain: str = "nyu") -> str:
    """Prepares the records as split `test`; returns the data set's name."""
    config = tfds.core.BuilderConfig(name=name)
    build(lambda folder: ZoeLittle(records, domain, data_dir=folder, config=config), data_dir, {"name": name})
    return f"zoe_little/{name}"


def scene(seed: int, height: int = 48, width: int = 64) -> Little:
    """Coloured rectangles; a tilted plane between 1 and 9 m, a tenth of whose pixels have no truth."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (6, 8, 3), np.uint8)
    image = blocks[np.arange(height) * 6 // height][:, np.arange(width) * 8 // width]
    slope_y, slope_x = random.uniform(0.5, 4, 2)
    plane = 1 + slope_y * np.linspace(0, 1, height)[:, None] + slope_x * np.linspace(0, 1, width)
    return Little(image, np.where(random.random((height, width)) < 0.1, 0, plane).astype(np.float32))


def scenes(count: int, sizes: tuple[tuple[int, int], ...] = ((48, 64), (40, 72))) -> dict[str, Little]:
    """Of several sizes in turn."""
    return {f"scene_{index:02d}": scene(index, *sizes[index % len(sizes)]) for index in range(count)}


def odd_scenes() -> dict[str, Little]:
    """A good one and one of every kind that is refused for what is in it; all have masks."""
    good = scene(0)
    whole = np.ones_like(good.depth_m, bool)
    records = {
        "a_good_one": good,
        "all_masked_out": good._replace(valid_mask=~whole),
        "in_millimetres": good._replace(depth_m=good.depth_m * 1000 + 1001),
        "out_of_range": good._replace(depth_m=good.depth_m + 100),
        "without_truth": good._replace(depth_m=good.depth_m * 0),
    }
    return {
        name: record if record.valid_mask is not None else record._replace(valid_mask=whole)
        for name, record in records.items()
    }


def damage(data_dir: Path, name: str, share: float = 0.5) -> None:
    """Flips the bits of a few bytes in the middle of the records."""
    (file,) = (data_dir / name).rglob("*.array_record*")
    content = bytearray(file.read_bytes())
    middle = int(len(content) * share)
    content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
    file.write_bytes(content)
