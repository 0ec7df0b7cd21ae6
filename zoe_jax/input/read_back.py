"""A finished split, read back: that every record can be read, and what is in it."""

import functools
import hashlib
import io
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from zoe_jax.input.prepare import PreparationError, Progress
from zoe_jax.input.records import DepthMetadata, depth_in_metres, valid_depth
from zoe_jax.input.summary import DepthStatistics, SplitSummary


def summarize_split(builder: tfds.core.DatasetBuilder, split: str, jobs: int, progress: Progress) -> SplitSummary:
    """Counts, sizes, depths and the checksum of a split; the same for any number of threads.

    Raises:
        PreparationError: a record cannot be read, or its parts differ in size.
    """
    records = cast(Any, builder).as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    metadata = DepthMetadata(**cast(dict[str, Any], builder.info.metadata))
    count = builder.info.splits[split].num_examples
    read = functools.partial(_read_record, records, metadata, split)
    sizes: Counter[tuple[int, int]] = Counter()
    depth = DepthStatistics()
    digests = []
    with ThreadPoolExecutor(jobs) as pool:
        for size, statistics, digest in progress(pool.map(read, range(count)), f"checking {split}", count):
            sizes[size] += 1
            depth += statistics
            digests.append(digest)
    # TFDS shuffles as it writes; sorted, the digests know nothing of it
    return SplitSummary(count, dict(sizes), depth, hashlib.sha256(b"".join(sorted(digests))).hexdigest())


def _read_record(
    records: Any, metadata: DepthMetadata, split: str, index: int
) -> tuple[tuple[int, int], DepthStatistics, bytes]:
    try:
        record = records[index]
        with Image.open(io.BytesIO(record["image"])) as image:
            width, height = image.size
    # decoders raise anything on what they cannot read
    except Exception as error:
        raise PreparationError(f"record {index} of split {split} cannot be read back: {error}") from error
    depth, mask = record["depth"], record.get("valid_mask")
    for what, array in (("depth", depth), ("valid_mask", mask)):
        if array is not None and array.shape[:2] != (height, width):
            raise PreparationError(
                f"record {record['id'].decode()!r} of split {split}: the image is {height}x{width} (height x width), "
                f"its {what} {array.shape[0]}x{array.shape[1]}; they must be of one size"
            )
    depth_m = depth_in_metres(depth, metadata)
    valid = valid_depth(depth_m, metadata.min_depth_m, metadata.max_depth_m)
    if mask is not None:
        valid &= mask.reshape(height, width) != 0
    return (height, width), DepthStatistics.of(depth_m, valid), _digest(record)


def _digest(record: dict[str, Any]) -> bytes:
    digest = hashlib.sha256()
    for key in sorted(record):
        value = record[key]
        content = value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes()
        # lengths in between: no two records run into one text
        digest.update(f"{key} {len(content)} ".encode() + content)
    return digest.digest()
