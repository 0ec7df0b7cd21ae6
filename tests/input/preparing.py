"""A data set of a few records whose generation can be made to fail, for the tests of `build`."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from zoe_jax.input.building import MakeBuilder
from zoe_jax.input.records import DepthMetadata, record_features

METADATA = DepthMetadata(0.5, 10.0, None, "nyu")
SOURCE = {"seed": 3}


class ZoeLittle(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Three training images and two for validation, whose depth is known."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent

    def __init__(
        self,
        before: Callable[[str, int], Any] = lambda split, index: None,
        counts: Mapping[str, int] = {"train": 3, "validation": 2},
        image_size: tuple[int, int] = (12, 10),
        **options: Any,
    ) -> None:
        """`before` is called before each example."""
        self.before, self.counts, self.image_size = before, counts, image_size
        super().__init__(**options)

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(builder=self, features=record_features(METADATA), metadata=METADATA.to_tfds())

    def _split_generators(self, dl_manager: Any) -> Any:
        return {split: self._generate_examples(split, count) for split, count in self.counts.items()}

    def _generate_examples(self, split: str, count: int) -> Iterator[Any]:
        for index in range(count):
            self.before(split, index)
            depth_m = np.full((10, 12), 1.0 + index, np.float32)
            depth_m[0], depth_m[1] = np.nan, 20
            image = Image.new("RGB", self.image_size, (index, 0, 0))
            yield f"{split}/{index}", {"id": f"{split}/{index}", "image": image, "depth": depth_m}


def little(**changes: Any) -> MakeBuilder:
    """What `build` asks for: the builder, with other arguments."""
    return lambda data_dir: ZoeLittle(**changes, data_dir=data_dir, config=tfds.core.BuilderConfig(name="mine"))


def die_at_the_second_validation_image(split: str, index: int) -> None:
    """As if the machine had lost its power."""
    if (split, index) == ("validation", 1):
        os._exit(9)
