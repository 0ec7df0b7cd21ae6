"""One checkpoint on one data set: batches over all devices of all hosts, image by image into a log that survives."""

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Float, UInt8

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.evaluate.examples import (
    Contents,
    Entry,
    Example,
    ExampleBatch,
    batches,
    count_batches,
    list_contents,
    make_example,
)
from zoe_jax.evaluate.measure import Measured, Predicted, measure, predict, predicted_depth
from zoe_jax.evaluate.results import METRICS, EvaluationError, ImageOutcome, OutcomeLog, extremes
from zoe_jax.evaluate.rules import Rule
from zoe_jax.input.placement import local_rows, put, put_batch
from zoe_jax.input.prepare import Progress, silent
from zoe_jax.input.reader import PreparedReader
from zoe_jax.models.zoedepth import Params
from zoe_jax.predict.geometry import Size
from zoe_jax.predict.protocols import Plan, Protocol

log = logging.getLogger(__name__)

NOTE_BYTES = 1024
"""Hosts tell each other what became of an image in so many bytes."""
MAX_THREADS = 32


@dataclass(frozen=True)
class RunOptions:
    """How images go through a model; only `flip` has influence on what comes out."""

    batch_size: int
    """Images at once, on all devices together."""
    flip: bool = True
    threads: int = field(default_factory=lambda: min(os.cpu_count() or 1, MAX_THREADS))
    """That read and prepare images, on each host."""
    profile: bool = False
    """Wait for the devices after every stage, so that `Clock` tells them apart; otherwise they overlap."""


class Clock:
    """Where the time goes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the time inside for this stage."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - before


class Evaluator:
    """A model on all devices, ready for one data set after the other.

    Args:
        config: the architecture; without metric heads its relative depth is aligned to the truth, image by image. A
            router that has the images of a batch vote decides here for each image alone, as it does in the original,
            which evaluates one at a time.
        params: of the model, held whole by every host.
        protocol: how an image reaches the network and its depth comes back.
        options: batches, threads, flip.

    Raises:
        ConfigError: the batch does not divide by the number of devices.
    """

    def __init__(self, config: ZoeDepthConfig, params: Params, protocol: Protocol, options: RunOptions) -> None:
        mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
        self._rows_sharding = NamedSharding(mesh, PartitionSpec("data"))
        self._rows = local_rows(self._rows_sharding, options.batch_size)
        self._config = replace(config, routing="image") if config.routing == "batch" else config
        self._protocol, self._options = protocol, options
        self._params = params if jax.device_count() == 1 else put(params, NamedSharding(mesh, PartitionSpec()))
        self._compiled: dict[Any, Any] = {}
        self._contents: dict[tuple[PreparedReader, Rule], Contents] = {}
        self._kept: dict[tuple[PreparedReader, Rule], Mapping[str, Float[np.ndarray, "h w"]]] = {}
        self.clock = Clock()

    @property
    def aligned(self) -> bool:
        """Whether depth is relative, and aligned to the truth."""
        return self._config.head is None

    def plan(self, image_size: Size) -> Plan:
        """The protocol's plan for an image size; see `Protocol.plan`."""
        return self._protocol.plan(image_size, self._config.network_size)

    def run(
        self,
        reader: PreparedReader,
        rule: Rule,
        outcomes: OutcomeLog,
        progress: Progress = silent,
        limit: int | None = None,
    ) -> Sequence[ImageOutcome]:
        """Evaluates what `outcomes` does not have yet, and returns all, in the order of ids.

        Every host calls it with the same arguments, and a log of the same file.

        Args:
            reader: of the data set.
            rule: what counts.
            outcomes: what was found out before; it grows batch by batch.
            progress: shows how far it is.
            limit: only the first so many images, in the order of ids.

        Raises:
            EvaluationError: the data set's domain is none of a model that needs to be told; or the hosts do not have
                the same data and the same log.
        """
        head = self._head_for(reader)
        contents = self._look_at(reader, rule)
        wanted = sorted([*(entry.id for entry in contents.entries), *contents.odd])[:limit]
        missing = set(wanted) - outcomes.outcomes.keys()
        entries = [entry for entry in contents.entries if entry.id in missing]
        # no host may add to the log before all have read it
        _check_that_hosts_agree(entries)
        outcomes.extend(ImageOutcome(name, *contents.odd[name]) for name in sorted(missing & contents.odd.keys()))
        taken_over = (outcomes.outcomes[name] for name in wanted if name in outcomes.outcomes)
        extreme = _ExtremeDepths(taken_over)
        made = self._batches(reader, entries, rule)
        n_batches = count_batches(entries, self._options.batch_size)
        running: _Running | None = None
        for batch in progress(self._waited_for(made), reader.name, n_batches):
            started = self._start(batch, rule, head)
            if running is not None:
                self._finish(running, outcomes, extreme)
            running = started
        if running is not None:
            self._finish(running, outcomes, extreme)
        self._kept[reader, rule] = extreme.depths
        return [outcomes.outcomes[name] for name in wanted]

    def depth_of(
        self, reader: PreparedReader, rule: Rule, names: Sequence[str]
    ) -> dict[str, tuple[Example, Float[np.ndarray, "H W"]]]:
        """Some images for pictures, by id: each with its depth in metres at the truth's size.

        Only those go through the network of which `run` has not kept the depth, as it does of the best and the worst.
        """
        entries = [entry for entry in self._look_at(reader, rule).entries if entry.id in names]
        depths = dict(self._kept.get((reader, rule), {}))
        for batch in self._batches(reader, [entry for entry in entries if entry.id not in depths], rule):
            rows = _rows_of_all_hosts(self._predicted(batch, self._head_for(reader)).depth)
            depths |= {entry.id: row for entry, row in zip(batch.entries, rows, strict=False)}
        found = {}
        for entry in entries:
            example = make_example(reader, entry, rule)
            depth, truth, valid = (
                jnp.asarray(array)[None] for array in (depths[entry.id], example.truth_m, example.valid_mask)
            )
            depth_m = predicted_depth(depth, truth, valid, entry.plan, rule, self.aligned)
            found[entry.id] = (example, np.asarray(depth_m)[0])
        return found

    def _batches(self, reader: PreparedReader, entries: Sequence[Entry], rule: Rule) -> Iterator[ExampleBatch]:
        return batches(reader, entries, rule, self._options.batch_size, self._rows, self._options.threads)

    def _look_at(self, reader: PreparedReader, rule: Rule) -> Contents:
        if (reader, rule) not in self._contents:
            with self.clock.stage("listing"):
                self._contents[reader, rule] = list_contents(reader, rule, self.plan, self._options.threads)
        return self._contents[reader, rule]

    def _waited_for(self, made: Iterator[ExampleBatch]) -> Iterator[ExampleBatch]:
        while True:
            with self.clock.stage("input"):
                batch = next(made, None)
            if batch is None:
                return
            yield batch

    def _start(self, batch: ExampleBatch, rule: Rule, head: int | None) -> "_Running":
        """Sends a batch to the devices, and does not wait for it."""
        predicted = self._predicted(batch, head)
        truth, valid, notes = self._put(
            [example.truth_m for example in batch.examples],
            [example.valid_mask for example in batch.examples],
            [_to_bytes(f"{example.status}\n{example.detail}") for example in batch.examples],
        )
        arrays = (predicted.depth, truth, valid)
        static = {"plan": batch.entries[0].plan, "rule": rule, "aligned": self.aligned}
        compiled = self._ahead_of_time(measure, (truth.shape, *static.values()), *arrays, **static)
        with self.clock.stage("metrics"):
            measured = self._settled(compiled(*arrays))
        return _Running(batch, predicted, measured, notes)

    def _predicted(self, batch: ExampleBatch, head: int | None) -> Predicted:
        real = batch.rows < len(batch.entries)
        images, mask = self._put([example.pixels for example in batch.examples], real)
        domain = None
        if head is not None:
            (domain,) = self._put(np.full(len(batch.rows), head, np.int32))
        arrays = (self._params, images, mask, domain)
        static = {"config": self._config, "flip": self._options.flip}
        compiled = self._ahead_of_time(predict, images.shape, *arrays, **static)
        with self.clock.stage("forward"):
            return self._settled(compiled(*arrays))

    def _put(self, *columns: Any) -> list[jax.Array]:
        """Columns of this host's rows as global arrays."""
        with self.clock.stage("transfer"):
            return self._settled([put_batch(np.asarray(column), self._rows_sharding) for column in columns])

    def _head_for(self, reader: PreparedReader) -> int | None:
        """Which head a data set takes, where the model has to be told; None leaves it to the model."""
        domain, domains = reader.metadata.domain, self._config.domains
        if self._config.routing != "label":
            return None
        if domain in domains:
            return domains.index(domain)
        if len(domains) < 2:
            return 0
        raise EvaluationError(
            f"{reader.name} says its domain is {domain!r}, and this model, which has to be told the head of each image "
            f"(routing is 'label'), has {', '.join(domains)}; if it has a router, add --set routing=image"
        )

    def _ahead_of_time(self, function: Any, key: Any, *arrays: Any, **static: Any) -> Any:
        """The function compiled before its call, so that compiling is a stage of its own."""
        if (function, key) not in self._compiled:
            log.info("compiling %s for %s", function.__name__, key[0] if isinstance(key[0], tuple) else key)
            with self.clock.stage("compiling"):
                self._compiled[function, key] = function.lower(*arrays, **static).compile()
        return self._compiled[function, key]

    def _settled(self, arrays: Any) -> Any:
        return jax.block_until_ready(arrays) if self._options.profile else arrays

    def _finish(self, running: "_Running", outcomes: OutcomeLog, extreme: "_ExtremeDepths") -> None:
        """Waits for a batch, and keeps what came out."""
        with self.clock.stage("results"):
            columns = (running.predicted.domain, running.measured, running.notes)
            domains, measured, notes = jax.tree.map(_rows_of_all_hosts, columns)
            found = [
                self._outcome(entry.id, row, _from_bytes(notes[row]), domains, measured)
                for row, entry in enumerate(running.batch.entries)
            ]
            outcomes.extend(found)
            extreme.extend(found, running.predicted.depth)

    def _outcome(self, name: str, row: int, note: str, domains: np.ndarray, measured: Measured) -> ImageOutcome:
        status: Any
        status, _, detail = note.partition("\n")
        if status != "evaluated":
            return ImageOutcome(name, status, detail)
        return ImageOutcome(
            name,
            status,
            routed=self._config.domains[int(domains[row])] if len(self._config.domains) > 1 else "",
            valid_pixels=int(measured.valid_pixels[row]),
            nonfinite_pixels=int(measured.nonfinite_pixels[row]),
            metrics={metric: float(values[row]) for metric, values in zip(METRICS, measured.metrics, strict=True)},
            abs_rel_sums=tuple(measured.abs_rel_sums[row].tolist()),
            pixels_by_depth=tuple(measured.pixels_by_depth[row].tolist()),
        )


class _Running(NamedTuple):
    """A batch on its way through the devices."""

    batch: ExampleBatch
    predicted: Predicted
    measured: Measured
    notes: jax.Array
    """Status and detail of every row, as bytes."""


class _ExtremeDepths:
    """Depth of the best and the worst images so far, at network size, so that their pictures need no network.

    Args:
        outcomes: of an earlier run; those of them that stay extreme are not in `depths`.
    """

    def __init__(self, outcomes: Iterable[ImageOutcome]) -> None:
        self._outcomes = extremes(outcomes)
        self.depths: dict[str, Float[np.ndarray, "h w"]] = {}
        """By id."""

    def extend(self, outcomes: Sequence[ImageOutcome], depth: Float[jax.Array, "b h w"]) -> None:
        """A batch, a row an outcome. All hosts have the same outcomes, so all fetch the same rows, or none."""
        self._outcomes = extremes([*self._outcomes, *outcomes])
        names = {outcome.id for outcome in self._outcomes}
        self.depths = {name: kept for name, kept in self.depths.items() if name in names}
        if not names.isdisjoint(outcome.id for outcome in outcomes):
            rows = _rows_of_all_hosts(depth)
            # copied, so that it keeps no batch in memory
            found = {outcome.id: row.copy() for outcome, row in zip(outcomes, rows, strict=False)}
            self.depths |= {name: row for name, row in found.items() if name in names}


def _rows_of_all_hosts(array: jax.Array) -> np.ndarray:
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def _check_that_hosts_agree(entries: Sequence[Entry]) -> None:
    """Waits for all hosts, and raises on all where not all are about to do the same.

    Each would wait for the others' batches for ever.
    """
    plan = np.frombuffer(hashlib.sha256(repr(entries).encode()).digest(), np.uint8)
    if (multihost_utils.process_allgather(plan) != plan).any():
        raise EvaluationError(
            "the hosts of this job have different images to evaluate: all of them should have the same checkout and "
            "data, and one --output-dir that all see"
        )


def _to_bytes(text: str) -> UInt8[np.ndarray, "bytes"]:
    return np.frombuffer(text.encode()[:NOTE_BYTES].ljust(NOTE_BYTES, b"\0"), np.uint8)


def _from_bytes(array: UInt8[np.ndarray, "bytes"]) -> str:
    return array.tobytes().rstrip(b"\0").decode(errors="ignore")
