"""The record of every prepared data set: its features, and what the data set says of itself."""

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float32

from zoe_jax.config import ConfigError

AnyArray = TypeVar("AnyArray", bound=Any)
"""Of NumPy or of JAX, which preparing data does without."""


@dataclass(frozen=True)
class DepthMetadata:
    """What holds for all records of a data set; kept as its TFDS metadata.

    Depth of 0, NaN, infinity, or outside the range is invalid.
    """

    min_depth_m: float
    """Depth at or below is invalid."""
    max_depth_m: float
    """Depth at or above is invalid."""
    depth_units_per_m: float | None = None
    """Of 16-bit PNGs: the value that stands for one metre. None: depth is float32, in metres."""
    domain: str = ""
    """Which kind of scene it is, for models with several heads."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        if not 0 <= self.min_depth_m < self.max_depth_m:
            raise ConfigError(f"depth range {self.min_depth_m}..{self.max_depth_m} m must satisfy 0 <= min < max")
        if self.depth_units_per_m is not None and not self.depth_units_per_m > 0:
            raise ConfigError(f"depth_units_per_m is {self.depth_units_per_m}; it must be positive")

    def to_tfds(self) -> tfds.core.MetadataDict:
        """For `tfds.core.DatasetInfo(metadata=...)`."""
        return tfds.core.MetadataDict(dataclasses.asdict(self))


def record_features(
    metadata: DepthMetadata, image_format: str = "png", valid_mask: bool = False, intrinsics: bool = False
) -> tfds.features.FeaturesDict:
    """The features of one example.

    Args:
        metadata: decides how depth is stored, losslessly either way.
        image_format: `png` or `jpeg`; an image that is yielded as a path is copied byte by byte.
        valid_mask: whether there is a mask beside the depth; 0 is invalid.
        intrinsics: whether there are focal lengths and principal point [fx, fy, cx, cy], in pixels.
    """
    if metadata.depth_units_per_m is None:
        depth = tfds.features.Tensor(shape=(None, None), dtype=np.float32, encoding="zlib")
    else:
        depth = tfds.features.Image(shape=(None, None, 1), dtype=np.uint16, encoding_format="png")
    features = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format=image_format),
        "depth": depth,
    }
    if valid_mask:
        features["valid_mask"] = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
    if intrinsics:
        features["intrinsics"] = tfds.features.Tensor(shape=(4,), dtype=np.float32)
    return tfds.features.FeaturesDict(features)


def depth_in_metres(depth: np.ndarray, metadata: DepthMetadata) -> Float32[np.ndarray, "h w"]:
    """Stored depth, [h, w] or [h, w, 1], in metres."""
    depth = depth.reshape(depth.shape[:2])
    if metadata.depth_units_per_m is None:
        return depth.astype(np.float32, copy=False)
    return np.divide(depth, np.float32(metadata.depth_units_per_m), dtype=np.float32)


def valid_depth(depth_m: AnyArray, min_depth_m: float, max_depth_m: float) -> AnyArray:
    """Where depth lies strictly between the two, as bool; nan does not.

    The limits are compared in the depth's own type: 0.001 as float32 is not above 0.001.
    """
    return (depth_m > min_depth_m) & (depth_m < max_depth_m)
