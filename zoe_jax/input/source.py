"""Where batches come from: what a batch is, and the protocol of every data source.

The position of a run in its data is one number, the index of the next example in the global order of training. It fixes
every later batch, however many hosts and workers there are and however often the run was restarted.
"""

import math
import typing
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from zoe_jax.errors import ZoeJaxError


class DataError(ZoeJaxError):
    """Training data that is missing, or is not what a model can be trained on."""


class Batch(typing.TypedDict):
    """What one step sees.

    Images are resized to the network's size, and the prediction to the depth's, inside the step.
    """

    image: Float[Array, "b h w 3"] | UInt8[Array, "b h w 3"]
    """In [0, 1], or 0..255 as bytes."""
    depth_m: Float[Array, "b H W"]
    valid_mask: Bool[Array, "b H W"]
    """The pixels whose depth counts."""
    domain: Int[Array, "b"]
    """Index of each image's domain in `MetricHeadConfig.domains`."""
    example_mask: Bool[Array, "b"]
    """False for rows that only fill up the batch."""


class HostBatch(NamedTuple):
    """This host's rows of one global batch, as NumPy arrays."""

    arrays: Batch
    ids: tuple[str, ...]
    """What each row is called in its data set."""


@runtime_checkable
class DataSource(Protocol):
    """What the loop asks of data."""

    @property
    def n_examples(self) -> int:
        """Different examples, which is the length of an epoch."""
        ...

    def describe(self) -> Sequence[str]:
        """Lines for people: what there is, and of which size."""
        ...

    def training_batches(self, position: int, batch_size: int, rows: Int[np.ndarray, "n"]) -> Iterator[HostBatch]:
        """Global batches without end, of which this host gets `rows`; the first starts at example `position`."""
        ...

    def validation_batches(self, batch_size: int, rows: Int[np.ndarray, "n"]) -> Iterator[HostBatch]:
        """Every example once and in order; rows that fill up the last batch have `example_mask` False."""
        ...


class RunData(NamedTuple):
    """The data of a run."""

    train: DataSource
    validation: DataSource | None = None


def epoch_steps(n_examples: int, batch_size: int) -> int:
    """Batches in which every example is seen once."""
    return math.ceil(n_examples / batch_size)
