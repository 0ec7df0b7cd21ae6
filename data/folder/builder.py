"""The TFDS builder of `zoe_folder/NAME`: checked pairs to records, files copied byte by byte where they can be."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from zoe_jax.predict.images import eight_bits, read_image

from ..depth_files import mask_image, png_bits, read_depth, read_mask, zero_where_invalid
from ..record_builder import RecordBuilder, RecordConfig
from .check import CheckedPair

EXIF_ORIENTATION = 0x0112


@dataclass
class FolderConfig(RecordConfig):
    """What one data set is made of."""

    units_per_m: float = 1.0
    """Of the depth files."""
    depth_key: str | None = None
    splits: Mapping[str, Sequence[CheckedPair]] = dataclasses.field(default_factory=dict)


class ZoeFolder(RecordBuilder[FolderConfig], skip_registration=True):
    """Images and depth of a folder."""

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {split: _Examples(self._config, pairs) for split, pairs in self._config.splits.items()}


@dataclass(frozen=True)
class _Examples:
    """The examples of a split; they have a length, for the progress bar."""

    config: FolderConfig
    pairs: Sequence[CheckedPair]

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for checked in self.pairs:
            yield checked.pair.id, self._example(checked)

    def _example(self, checked: CheckedPair) -> dict[str, Any]:
        config, pair = self.config, checked.pair
        example: dict[str, Any] = {"id": pair.id}
        example["image"] = (
            str(pair.image) if is_plain_rgb(pair.image) else Image.fromarray(eight_bits(read_image(pair.image)))
        )
        if config.metadata.depth_units_per_m is not None:
            example["depth"] = str(pair.depth)
        else:
            depth_m = read_depth(pair.depth, config.units_per_m, config.depth_key)
            example["depth"] = zero_where_invalid(depth_m)
        if config.valid_mask:
            mask = np.ones(checked.size, bool) if pair.mask is None else read_mask(pair.mask)
            example["valid_mask"] = mask_image(mask)
        if config.intrinsics:
            example["intrinsics"] = np.asarray(pair.intrinsics, np.float32)
        return example


def is_plain_rgb(path: Path) -> bool:
    """Whether every decoder sees the same in this file: an upright JPEG or PNG of three channels with 8 bits.

    Others (grey, palette, transparent, 16 bits, CMYK, turned by EXIF, other formats) are decoded as `predict` does and
    stored as PNG.
    """
    with Image.open(path) as image:
        if image.mode != "RGB" or "transparency" in image.info or image.getexif().get(EXIF_ORIENTATION, 1) != 1:
            return False
        # MPO is a JPEG with a second picture behind it, as telephones write it
        if image.format in ("JPEG", "MPO"):
            return True
    return image.format == "PNG" and png_bits(path) == 8
