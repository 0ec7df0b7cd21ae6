"""The pipeline: order, records, augmentation and batches as one grain data set, in threads or processes.

An element depends on seed and global index alone, so the pipeline is rebuilt at the position where a run goes on, and
nothing of its state is saved: workers and hosts may be others than before.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import absl.flags
import cv2
import grain
import numpy as np
from jaxtyping import Int

from zoe_jax.input.batches import Part, Row, stack
from zoe_jax.input.mixture import Choice, Mixing, Mixture
from zoe_jax.input.source import DataError, HostBatch

log = logging.getLogger(__name__)

MAX_THREADS = 16
ENDLESS = 2**62
"""Rows: more than any run sees, and still a length to Python."""


class Pipeline:
    """A source of training or validation data over several data sets."""

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        mixing: Mixing = "shuffle",
        seed: int = 0,
        workers: int = 0,
        threads: int | None = None,
        prefetch: int = 2,
    ) -> None:
        """A source; none of the last three has any influence on what it gives.

        Args:
            parts: the data sets.
            mixing: as `DataConfig.mixing`.
            seed: of order and augmentation.
            workers: processes that make the batches of training; 0 means threads of this process.
            threads: of this process; 0 means the caller's own, and None as many as there are cores, up to 16.
            prefetch: batches ahead, of each worker where there are any.

        Raises:
            DataError: there is no data set, or the images of one kind of batch would differ.
        """
        if not parts:
            raise DataError("there is no part of a data set to train on: give at least one")
        samples = [part.row(0, np.random.default_rng(0)) for part in parts]
        if mixing != "alternate":
            stack(samples)  # raises where they differ in size
        as_float = any(row.image.dtype != np.uint8 for row in samples)
        self._parts = tuple(replace(part, float_images=as_float) for part in parts)
        self._described = [
            f"{part.name}: {len(part.reader)} examples, image {_shape(row.image)}, depth {_shape(row.depth_m)}"
            for part, row in zip(parts, samples, strict=True)
        ]
        weights = [part.config.weight for part in parts]
        self._mixture = Mixture([len(part.reader) for part in parts], mixing, weights, seed)
        self._mixing, self._seed, self._workers, self._prefetch = mixing, seed, workers, prefetch
        self._threads = min(_cores(), MAX_THREADS) if threads is None else threads

    @property
    def n_examples(self) -> int:
        """Different examples."""
        return sum(len(part.reader) for part in self._parts)

    def describe(self) -> Sequence[str]:
        """As in `DataSource`."""
        return self._described

    def training_batches(self, position: int, batch_size: int, rows: Int[np.ndarray, "n"]) -> Iterator[HostBatch]:
        """As in `DataSource`; under `shuffle` a batch may hold the end of one pass and the beginning of the next."""
        get = _TrainingRow(self._parts, self._mixture, self._seed, position, batch_size, tuple(rows.tolist()))
        without_depth = 0
        for batch in self._batches(get, ENDLESS, len(rows), self._workers):
            if names := _without_depth(batch):
                before, without_depth = without_depth, without_depth + len(names)
                # at each doubling: a data set may have thousands of them
                if before.bit_length() < without_depth.bit_length():
                    log.warning("%d examples so far have no valid pixel, the last is %s", without_depth, names[-1])
            yield batch

    def validation_batches(self, batch_size: int, rows: Int[np.ndarray, "n"]) -> Iterator[HostBatch]:
        """As in `DataSource`: data set by data set, each in its order for evaluation."""
        order = tuple(Choice(p, int(i)) for p, part in enumerate(self._parts) for i in part.reader.evaluation_order())
        batches = -(-len(order) // batch_size)
        get = _ValidationRow(self._parts, order, batch_size, tuple(rows.tolist()))
        # a validation is over before processes have started
        yield from self._batches(get, batches * len(rows), len(rows), workers=0)

    def _batches(self, get: Any, n_rows: int, batch_rows: int, workers: int) -> Iterator[HostBatch]:
        made = grain.MapDataset.range(n_rows).map(get)
        if workers:
            absl.flags.FLAGS.mark_as_parsed()  # grain reads its flags, which only an absl.app would have parsed
            alone = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
            # whole batches in one process each: they come back through shared memory, and are not copied here
            batches = made.batch(batch_rows, batch_fn=stack).to_iter_dataset(alone)
            options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=self._prefetch)
            batches = batches.mp_prefetch(options, worker_init_fn=_begin_worker)
        else:
            ahead = grain.ReadOptions(self._threads, self._threads and self._prefetch * batch_rows + self._threads)
            batches = made.to_iter_dataset(ahead).batch(batch_rows, batch_fn=stack)
        with closing(iter(batches)) as iterator:
            try:
                yield from iterator
            except RuntimeError as error:
                if "terminated unexpectedly" not in str(error):
                    raise
                raise DataError(
                    f"a process that makes batches has died ({error}): give it more memory, also shared (/dev/shm "
                    "holds every batch on its way), or fewer --data.workers"
                ) from error


@dataclass(frozen=True)
class _TrainingRow:
    """The n-th row that this host gets of all batches of training."""

    parts: tuple[Part, ...]
    mixture: Mixture
    seed: int
    position: int
    batch_size: int
    rows: tuple[int, ...]

    def __call__(self, n: int) -> Row:
        batch, row = divmod(n, len(self.rows))
        place = self.position + batch * self.batch_size + self.rows[row]
        part, example, filler = self.mixture.choose(place, self.batch_size)
        # counter-based: no two places have the same numbers, and none depends on those before
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, place], np.uint64)))
        return self.parts[part].row(example, rng, filler=filler)


@dataclass(frozen=True)
class _ValidationRow:
    """The n-th row that this host gets of all batches of validation; what is beyond the last example only fills up."""

    parts: tuple[Part, ...]
    order: tuple[Choice, ...]
    batch_size: int
    rows: tuple[int, ...]

    def __call__(self, n: int) -> Row:
        batch, row = divmod(n, len(self.rows))
        place = batch * self.batch_size + self.rows[row]
        filler = place >= len(self.order)
        part, example, _ = self.order[0 if filler else place]
        return self.parts[part].row(example, None, filler=filler)


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin_worker(index: int, count: int) -> None:
    """Sets a worker up to leave the other cores alone, and to live exactly as long as it is needed."""
    cv2.setNumThreads(1)  # a process of its own for each core leaves none for OpenCV's threads
    # a terminal and a cluster signal the whole group, and the process that trains has a step to finish; it then ends
    # its workers by other means
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Where that process was killed, nobody else ends this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # for the type checker
    parent.join()
    os._exit(1)


def _without_depth(batch: HostBatch) -> list[str]:
    arrays = batch.arrays
    empty = np.asarray(arrays["example_mask"]) & ~np.asarray(arrays["valid_mask"]).any((1, 2))
    return [batch.ids[row] for row in np.flatnonzero(empty)]


def _shape(array: np.ndarray) -> str:
    return f"{'x'.join(map(str, array.shape))} {array.dtype}"
