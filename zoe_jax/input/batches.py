"""From records to the rows of a batch: which depth is valid, augmentation, size; then rows side by side."""

import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.input.augment import Sample, augment
from zoe_jax.input.colour import to_float
from zoe_jax.input.config import AugmentConfig, DatasetConfig
from zoe_jax.input.reader import Reader, Record
from zoe_jax.input.records import valid_depth
from zoe_jax.input.source import Batch, DataError, HostBatch


class Row(NamedTuple):
    """One example, ready for the step."""

    id: str
    image: UInt8[np.ndarray, "h w 3"] | Float32[np.ndarray, "h w 3"]
    depth_m: Float32[np.ndarray, "H W"]
    """0 where it is invalid."""
    valid_mask: Bool[np.ndarray, "H W"]
    domain: int
    example_mask: bool


@dataclass(frozen=True)
class Part:
    """A data set as one model sees it."""

    name: str
    reader: Reader
    config: DatasetConfig
    domains: tuple[str, ...]
    """The model's heads; empty for a relative-depth model."""
    ranges_m: tuple[tuple[float, float], ...]
    """Of each head, what depth is valid: between these, exclusive."""
    float_images: bool = False
    """Whether bytes become float32 in [0, 1], because other images of the batch are no bytes."""

    @classmethod
    def of(cls, name: str, reader: Reader, config: DatasetConfig, model: ZoeDepthConfig) -> "Part":
        """A data set for a model, under the ranges of depth that hold for both.

        Raises:
            DataError: the configuration names a domain that the model does not have.
        """
        if config.domain is not None and config.domain not in model.domains:
            known = ", ".join(model.domains) or "none"
            raise DataError(f"{name}: the model has no domain {config.domain!r}; its domains are {known}")
        head = model.head
        ranges = list(zip(head.min_depth_m, head.max_depth_m, strict=True)) if head else [(0.0, float("inf"))]
        low, high = config.min_depth_m, config.max_depth_m
        chosen = [(a if low is None else low, b if high is None else high) for a, b in ranges]
        own_low, own_high = reader.range_m
        chosen = tuple((max(a, own_low), min(b, own_high)) for a, b in chosen)
        return cls(name, reader, config, model.domains, chosen)

    def row(self, index: int, rng: np.random.Generator | None, *, filler: bool = False) -> Row:
        """An example as the step sees it.

        A pixel is valid where its depth is a number strictly within the range, the data set's own mask permitting. An
        example without any valid pixel is a row like the others, from which nothing is learnt.

        Args:
            index: of the record.
            rng: for augmentation; None, as in validation, leaves out all of it that is random.
            filler: whether the row only fills up a batch.

        Raises:
            DataError: the record is damaged, or cannot be augmented so.
        """
        record = self.reader[index]
        domain = self._domain(record)
        valid = valid_depth(record.depth_m, *self.ranges_m[domain])
        if record.valid_mask is not None:
            valid &= record.valid_mask
        sample = Sample(record.image, np.where(valid, record.depth_m, np.float32(0)), valid)
        steps = self.config.augment if rng is not None else AugmentConfig(kb_crop=self.config.augment.kb_crop)
        if steps != AugmentConfig():
            try:
                sample = augment(sample, steps, rng or np.random.default_rng(0))
            except DataError as error:
                raise DataError(f"{self.name}, example {record.id}: {error}") from error
        if self.config.size is not None:
            sample = resized(sample, *self.config.size)
        image = to_float(sample.image) if self.float_images else sample.image
        return Row("" if filler else record.id, image, sample.depth_m, sample.valid_mask, domain, not filler)

    def _domain(self, record: Record) -> int:
        """Of one image: what is configured, else what the data set says, else the model's only one."""
        said = record.domain if self.config.domain is None else self.config.domain
        if isinstance(said, int):
            return said
        if said in self.domains:
            return self.domains.index(said)
        if len(self.domains) > 1:
            what = "does not say its domain" if said is None else f"says its domain is {said!r}"
            raise DataError(
                f"{self.name} {what}, and the model has several: {', '.join(self.domains)}; give the data set's "
                "`domain`, the head of its images"
            )
        return 0


def resized(sample: Sample, height: int, width: int) -> Sample:
    """Image and depth at another size: bilinear without antialiasing, and nearest, both on centres of pixels."""
    size = (width, height)
    if sample.image.shape[:2] != (height, width):
        sample = sample._replace(image=cv2.resize(sample.image, size, interpolation=cv2.INTER_LINEAR))
    if sample.depth_m.shape != (height, width):
        depth_m = cv2.resize(sample.depth_m, size, interpolation=cv2.INTER_NEAREST_EXACT)
        valid = cv2.resize(sample.valid_mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
        sample = sample._replace(depth_m=depth_m, valid_mask=valid.astype(bool))
    return sample


def stack(rows: Sequence[Row]) -> HostBatch:
    """Rows side by side.

    Raises:
        DataError: they differ in size.
    """
    for name in ("image", "depth_m"):
        shapes = {getattr(row, name).shape: row.id for row in rows}
        if len(shapes) > 1:
            found = ", ".join(f"{'x'.join(map(str, shape))} of {id!r}" for shape, id in shapes.items())
            raise DataError(
                f"{name} differs in size within a batch: {found}; bring them to one size, as with "
                "--data.train.0.size HEIGHT WIDTH"
            )
    arrays: dict[str, Any] = {
        "image": np.stack([row.image for row in rows]),
        "depth_m": np.stack([row.depth_m for row in rows]),
        "valid_mask": np.stack([row.valid_mask for row in rows]),
        "domain": np.array([row.domain for row in rows], np.int32),
        "example_mask": np.array([row.example_mask for row in rows]),
    }
    return HostBatch(typing.cast(Batch, arrays), tuple(row.id for row in rows))
