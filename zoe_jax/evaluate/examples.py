"""From the records of a data set to batches for evaluation: what the network sees, and the truth that counts."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int

from zoe_jax.evaluate.results import Status
from zoe_jax.evaluate.rules import Rule
from zoe_jax.evaluate.validity import crop_mask
from zoe_jax.input.augment import Sample
from zoe_jax.input.geometry import KB_CROP, check_sizes, kb_crop
from zoe_jax.input.reader import PreparedReader, Record
from zoe_jax.input.records import valid_depth
from zoe_jax.input.source import DataError
from zoe_jax.predict.geometry import Size
from zoe_jax.predict.images import ImageError
from zoe_jax.predict.protocols import Plan

WRONG_SCALE_M = 1000.0
"""Where not one pixel of the truth is nearer than this, it is not in metres."""

MakePlan = Callable[[Size], Plan]
"""The protocol's plan for an image size."""


@dataclass(frozen=True)
class Entry:
    """One record of the data set, with the sizes that the rule gives it."""

    index: int
    id: str
    plan: Plan
    truth_size: Size


@dataclass(frozen=True)
class Contents:
    """What a data set has to evaluate, and what of it cannot be."""

    entries: Sequence[Entry]
    """Of one plan and truth size after the other, each in the order of ids."""
    odd: Mapping[str, tuple[Status, str]]
    """By id: records that cannot be read, or are no input for the network."""


def list_contents(reader: PreparedReader, rule: Rule, make_plan: MakePlan, threads: int) -> Contents:
    """What the rule and the protocol make of the sizes of every record."""
    entries, odd = [], {}
    for index, header in enumerate(reader.headers(threads)):
        if isinstance(header, DataError):
            odd[f"record {index}"] = ("unreadable", str(header))
            continue
        try:
            image_size, truth_size = header.image_size, header.depth_size
            if rule.kb_crop:
                image_size = truth_size = KB_CROP
            entries.append(Entry(index, header.id, make_plan(rule.image_size or image_size), truth_size))
        except ImageError as error:
            odd[header.id] = ("unreadable", str(error))
    return Contents(sorted(entries, key=lambda e: (e.plan.image_size, e.truth_size, e.id)), odd)


class Example(NamedTuple):
    """One image, ready for the network and for its metrics."""

    pixels: Float32[np.ndarray, "h w 3"]
    """In [0, 1], at network size."""
    truth_m: Float32[np.ndarray, "H W"]
    """0 where it is invalid."""
    valid_mask: Bool[np.ndarray, "H W"]
    status: Status
    detail: str = ""


def make_example(reader: PreparedReader, entry: Entry, rule: Rule) -> Example:
    """Reads a record under a rule; one that cannot be evaluated says so and is empty."""
    try:
        record = reader[entry.index]
        image, truth_m, valid = seen_under(rule, record)
    except DataError as error:
        return _empty(entry, "unreadable", str(error))
    status: Status = "evaluated"
    detail = ""
    positive = np.isfinite(record.depth_m) & (record.depth_m > 0)
    if not positive.any():
        status, detail = "no truth", "its depth is 0 everywhere"
    elif record.depth_m[positive].min() > WRONG_SCALE_M:
        status, detail = "wrong scale", f"its nearest depth is {record.depth_m[positive].min():g} m; is it in metres?"
    elif not valid.any():
        status, detail = "no valid pixel", f"none within {rule.min_depth_m:g}..{rule.max_depth_m:g} m, mask and crop"
    return Example(entry.plan.prepare(image), truth_m, valid, status, detail)


def seen_under(
    rule: Rule, record: Record
) -> tuple[Float32[np.ndarray, "h w 3"] | np.ndarray, Float32[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """Image, truth in metres and the pixels that count.

    Raises:
        DataError: mask and depth, or what is to be cut alike, differ in size.
    """
    depth_m = record.depth_m
    valid = valid_depth(depth_m, rule.min_depth_m, rule.max_depth_m)
    if rule.use_mask and record.valid_mask is not None:
        if record.valid_mask.shape != depth_m.shape:
            raise DataError(f"{record.id}: its mask is {record.valid_mask.shape}, not of its depth's {depth_m.shape}")
        valid &= record.valid_mask
    sample = Sample(record.image, np.where(valid, depth_m, np.float32(0)), valid)
    if rule.kb_crop:
        check_sizes(sample)
        sample = kb_crop(sample)
    image = sample.image
    if rule.image_size is not None and image.shape[:2] != rule.image_size:
        if image.dtype == np.uint8:
            image = image.astype(np.float32) * np.float32(1 / 255)
        image = cv2.resize(image, rule.image_size[::-1], interpolation=cv2.INTER_LINEAR)
    return image, sample.depth_m, sample.valid_mask & crop_mask(rule.crop, *sample.depth_m.shape)


def _empty(entry: Entry, status: Status, detail: str = "") -> Example:
    truth_m = np.zeros(entry.truth_size, np.float32)
    pixels = np.zeros((*entry.plan.network_size, 3), np.float32)
    return Example(pixels, truth_m, truth_m > 0, status, detail)


class ExampleBatch(NamedTuple):
    """This host's rows of one global batch; all rows share plan and truth size."""

    entries: Sequence[Entry]
    """Of the whole batch, without the rows that fill it up."""
    rows: Int[np.ndarray, "rows"]
    """Which rows of the batch are here."""
    examples: Sequence[Example]
    """These rows; those that fill up are empty and have no part in anything."""


def batches(
    reader: PreparedReader,
    entries: Sequence[Entry],
    rule: Rule,
    batch_size: int,
    rows: Int[np.ndarray, "rows"],
    threads: int,
) -> Iterator[ExampleBatch]:
    """Batches of one plan and truth size each, read by threads ahead of their use.

    Args:
        reader: of the data set.
        entries: those to evaluate, sorted as in `Contents`.
        rule: what counts.
        batch_size: rows of a global batch; the last one of a size is filled up.
        rows: those of each batch that this host reads.
        threads: that read and prepare.
    """
    ahead = max(2, -(-2 * threads // max(len(rows), 1)))
    with ThreadPoolExecutor(threads) as pool:

        def read(row: int, members: Sequence[Entry]) -> Example:
            return make_example(reader, members[row], rule) if row < len(members) else _empty(members[0], "evaluated")

        def finished(members: Sequence[Entry], futures: Sequence[Future[Example]]) -> ExampleBatch:
            return ExampleBatch(members, rows, [future.result() for future in futures])

        running: deque[tuple[Sequence[Entry], list[Future[Example]]]] = deque()
        for members in _of_one_size(entries, batch_size):
            running.append((members, [pool.submit(read, row, members) for row in rows.tolist()]))
            if len(running) > ahead:
                yield finished(*running.popleft())
        while running:
            yield finished(*running.popleft())


def count_batches(entries: Sequence[Entry], batch_size: int) -> int:
    """How many `batches` gives."""
    return sum(1 for _ in _of_one_size(entries, batch_size))


def _of_one_size(entries: Sequence[Entry], batch_size: int) -> Iterator[Sequence[Entry]]:
    batch: list[Entry] = []
    for entry in entries:
        if batch and (len(batch) == batch_size or _size_of(entry) != _size_of(batch[0])):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch


def _size_of(entry: Entry) -> tuple[Plan, Size]:
    return entry.plan, entry.truth_size
