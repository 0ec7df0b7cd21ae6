"""Prepared data sets of a few small images, each of which tells by its grey level and its depth which one it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from zoe_jax.input.records import DepthMetadata, record_features

HEIGHT, WIDTH = 24, 32
N_TRAIN, N_VALIDATION = 13, 5


@dataclass
class TinyConfig(tfds.core.BuilderConfig):
    depth: str = "png"
    """Of 16 bits, in millimetres; or `float`, in metres."""
    domain: str = "nyu"
    image_format: str = "png"
    valid_mask: bool = False
    odd: bool = False
    """The first examples have depths that are not numbers, negative, or nowhere valid."""


class ZoeTiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        TinyConfig(name="png"),
        TinyConfig(name="roads", domain="kitti", image_format="jpeg"),
        TinyConfig(name="float", depth="float", valid_mask=True),
        TinyConfig(name="odd", depth="float", odd=True),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        config: Any = self.builder_config
        metadata = DepthMetadata(1e-3, 60.0, 1000.0 if config.depth == "png" else None, config.domain)
        features = record_features(metadata, config.image_format, valid_mask=config.valid_mask)
        return tfds.core.DatasetInfo(builder=self, features=features, metadata=metadata.to_tfds())

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        return {name: self._examples(name, n) for name, n in (("train", N_TRAIN), ("validation", N_VALIDATION))}

    def _generate_examples(self) -> Any:
        raise NotImplementedError

    def _examples(self, split: str, n: int) -> Iterator[tuple[str, dict[str, Any]]]:
        config: Any = self.builder_config
        for i in range(n):
            name = f"{config.name}-{split}-{i:03d}"
            image, depth_m = picture(i), depth(i)
            if config.odd:
                depth_m[:2] = [[np.nan] * WIDTH, [-1.0] * WIDTH]
                if i == 0:
                    depth_m[:] = 0
            record: dict[str, Any] = {"id": name, "image": Image.fromarray(image)}
            in_millimetres = Image.fromarray(np.round(depth_m * 1000).astype(np.uint16)) if not config.odd else None
            record["depth"] = in_millimetres if config.depth == "png" else depth_m
            if config.valid_mask:
                record["valid_mask"] = Image.fromarray((np.arange(WIDTH) >= 4)[None].repeat(HEIGHT, 0).view(np.uint8))
            yield name, record


def picture(i: int) -> np.ndarray:
    """Image of example i: a ramp, brighter from one to the next."""
    ramp = np.linspace(0, 60, WIDTH)[None, :, None] + np.linspace(0, 20, HEIGHT)[:, None, None]
    return (ramp + 10 * i + np.array([0, 5, 10])).astype(np.uint8)


def depth(i: int) -> np.ndarray:
    """Depth of example i in metres, in whole millimetres, up to 4 m."""
    ramp = 1 + np.linspace(0, 1, WIDTH)[None] + np.linspace(0, 0.5, HEIGHT)[:, None] + 0.1 * i
    return np.round(ramp, 3).astype(np.float32)


def prepare(data_dir: Path, *names: str) -> None:
    """Writes the data sets of these names, or all."""
    for name in names or ZoeTiny.builder_configs:
        ZoeTiny(data_dir=data_dir, config=name, file_format="array_record").download_and_prepare()


def ids(name: str, split: str = "train") -> list[str]:
    """Of all examples, in order."""
    return [f"{name}-{split}-{i:03d}" for i in range(N_TRAIN if split == "train" else N_VALIDATION)]
