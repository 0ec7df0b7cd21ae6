"""Where batches come from: the protocol of every data source, and the source whose examples fit in memory.

The position of a run in its data is one number, the index of the next example in the global order of training. It fixes
every later batch, however many hosts there are and however often the run was restarted.
"""

import itertools
import math
import typing
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from zoe_jax.config import ConfigError, ZoeDepthConfig
from zoe_jax.errors import ZoeJaxError
from zoe_jax.train.objective import Batch


class DataError(ZoeJaxError):
    """Training data that is missing, or is not what a model can be trained on."""


class HostBatch(NamedTuple):
    """This host's rows of one global batch, as NumPy arrays."""

    arrays: Batch
    ids: tuple[str, ...]
    """What each row is called in its data set."""


@runtime_checkable
class DataSource(Protocol):
    """What the loop asks of data; a pipeline that reads from disk implements it too."""

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


@dataclass(frozen=True)
class DataConfig:
    """Files of examples, and how training goes through several of them.

    A file is a NumPy archive (`.npz`) with the arrays `image` (uint8, or float32 in [0, 1]; [n, h, w, 3] at network
    size) and `depth_m` (float32 [n, H, W]); and optionally `valid_mask` (bool [n, H, W]), `domain` (names or indices
    [n]) and `id` (strings [n]).
    """

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    needs: str = ""
    """In words, what has to be given; the message about missing data quotes it."""
    mixing: Literal["shuffle", "alternate"] = "shuffle"
    """Of several training files: `shuffle` draws from all examples alike; `alternate` takes one batch of each in turn,
    each file in its own order and as often as it takes, as the original trains NK."""


class InMemorySource:
    """Examples as arrays, in an order that is a pure function of (seed, position)."""

    def __init__(
        self, parts: Sequence[Mapping[str, Any]], model: ZoeDepthConfig, seed: int = 0, mixing: str = "shuffle"
    ) -> None:
        """A source over the examples of all parts.

        Args:
            parts: the arrays of each file, as `DataConfig` describes them.
            model: gives domains their index, and pixels without a mask their range of valid depth.
            seed: of the order.
            mixing: as `DataConfig.mixing`.

        Raises:
            DataError: an array is missing, or has another shape or type than it should.
        """
        complete = [_complete(part, model, f"part {i}") for i, part in enumerate(parts)]
        if not complete:
            raise DataError("there is no part of a data set to train on: give at least one")
        self._sizes = [len(ids) for _, ids in complete]
        self._arrays: dict[str, np.ndarray] = {}
        for name in Batch.__annotations__:
            arrays = [typing.cast(Any, part)[name] for part, _ in complete]
            if len({(array.shape[1:], array.dtype) for array in arrays}) > 1:
                found = ", ".join(f"{array.shape[1:]} {array.dtype}" for array in arrays)
                raise DataError(f"{name} differs between the parts of a data set: {found}; a batch needs one size")
            self._arrays[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        self._ids = tuple(itertools.chain.from_iterable(ids for _, ids in complete))
        self._alternate = mixing == "alternate"
        self._seed = seed
        self._orders: dict[tuple[int, int], np.ndarray] = {}

    @property
    def n_examples(self) -> int:
        """Different examples."""
        return len(self._ids)

    def describe(self) -> Sequence[str]:
        """One line for each array."""
        return [f"{len(self._ids)} examples in memory"] + [
            f"{name} {'x'.join(map(str, array.shape))} {array.dtype}, {array.nbytes / 2**20:.1f} MiB"
            for name, array in self._arrays.items()
        ]

    def training_batches(self, position: int, batch_size: int, rows: Int[np.ndarray, "n"]) -> Iterator[HostBatch]:
        """As in `DataSource`; a batch may hold the end of one epoch and the beginning of the next."""
        for start in itertools.count(position, batch_size):
            yield self._rows(np.array([self._example(start + row, batch_size) for row in rows.tolist()]))

    def validation_batches(self, batch_size: int, rows: Int[np.ndarray, "n"]) -> Iterator[HostBatch]:
        """As in `DataSource`."""
        for start in range(0, self.n_examples, batch_size):
            places = start + rows
            real = places < self.n_examples
            batch = self._rows(np.where(real, places, 0))
            batch.arrays["example_mask"] = typing.cast(Any, batch.arrays["example_mask"] & real)
            yield batch

    def _rows(self, examples: Int[np.ndarray, "n"]) -> HostBatch:
        arrays = typing.cast(Batch, {name: array[examples] for name, array in self._arrays.items()})
        return HostBatch(arrays, tuple(self._ids[i] for i in examples))

    def _example(self, place: int, batch_size: int) -> int:
        """Which example stands at a place of the global order."""
        if not self._alternate:
            epoch, index = divmod(place, self.n_examples)
            return int(self._order(0, self.n_examples, epoch)[index])
        batch, row = divmod(place, batch_size)
        turn, part = divmod(batch, len(self._sizes))
        epoch, index = divmod(turn * batch_size + row, self._sizes[part])
        return sum(self._sizes[:part]) + int(self._order(part, self._sizes[part], epoch)[index])

    def _order(self, part: int, size: int, epoch: int) -> Int[np.ndarray, "n"]:
        if (part, epoch) not in self._orders:
            # Of NumPy's generators only the raw numbers are promised to stay the same from release to release.
            bits = np.random.Philox(np.random.SeedSequence([self._seed, part, epoch]))
            self._orders[part, epoch] = np.argsort(bits.random_raw(size), kind="stable")
            self._orders.pop((part, epoch - 2), None)
        return self._orders[part, epoch]


class RunData(NamedTuple):
    """The data of a run."""

    train: DataSource
    validation: DataSource | None = None


def open_data(config: DataConfig, model: ZoeDepthConfig, seed: int) -> RunData:
    """The sources that a configuration names.

    Raises:
        DataError: no training file is named, or one is missing, damaged or of another content.
    """
    if not config.train:
        needs = f" ({config.needs})" if config.needs else ""
        raise DataError(f"no training data is named: give --data.train FILE.npz{needs}")
    train = InMemorySource([read_archive(Path(file)) for file in config.train], model, seed, config.mixing)
    if not config.validation:
        return RunData(train)
    return RunData(train, InMemorySource([read_archive(Path(file)) for file in config.validation], model, seed))


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive; nothing in it is run.

    Raises:
        DataError: it does not exist, or is no such archive.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file of training data") from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: is not a NumPy archive (.npz) of plain arrays: {error}") from None


def _complete(part: Mapping[str, Any], model: ZoeDepthConfig, place: str) -> tuple[Batch, list[str]]:
    """The arrays of a part with those that may be left out."""
    known = {"image", "depth_m", "valid_mask", "domain", "id"}
    if extra := sorted(part.keys() - known):
        raise DataError(f"{place} has an array {extra[0]!r}, which has no use; it can have {', '.join(sorted(known))}")
    if missing := sorted({"image", "depth_m"} - part.keys()):
        raise DataError(f"{place} has no array {missing[0]!r}; it has {', '.join(sorted(part))}")
    image, depth = np.asarray(part["image"]), np.asarray(part["depth_m"])
    if image.ndim != 4 or image.shape[-1] != 3 or image.dtype not in (np.uint8, np.float32):
        raise DataError(f"{place}: image is {image.dtype} {image.shape}; it should be uint8 or float32 [n, h, w, 3]")
    if depth.ndim != 3 or len(depth) != len(image) or not np.issubdtype(depth.dtype, np.floating):
        raise DataError(f"{place}: depth_m is {depth.dtype} {depth.shape}; it should be float [{len(image)}, H, W]")
    if not len(image):
        raise DataError(f"{place} has no example")
    domain = _domain_indices(part.get("domain"), model, len(image), place)
    valid = part.get("valid_mask")
    valid = _in_range(depth, domain, model) if valid is None else np.asarray(valid)
    if valid.shape != depth.shape or valid.dtype != bool:
        raise DataError(f"{place}: valid_mask is {valid.dtype} {valid.shape}; it should be bool {depth.shape}")
    ids = [str(name) for name in part.get("id", [f"{place.replace(' ', '_')}/{i}" for i in range(len(image))])]
    if len(ids) != len(image):
        raise DataError(f"{place}: id has {len(ids)} names for {len(image)} examples")
    arrays = {
        "image": image,
        "depth_m": depth.astype(np.float32, copy=False),
        "valid_mask": valid,
        "domain": domain,
        "example_mask": np.ones(len(image), bool),
    }
    return typing.cast(Batch, arrays), ids


def _domain_indices(domain: Any, model: ZoeDepthConfig, n: int, place: str) -> Int[np.ndarray, "n"]:
    if domain is None:
        if len(model.domains) > 1:
            raise DataError(f"{place} has no array 'domain', and the model has several: {', '.join(model.domains)}")
        return np.zeros(n, np.int32)
    domain = np.asarray(domain)
    if domain.dtype.kind == "U":
        for name in np.unique(domain):
            if name not in model.domains:
                raise DataError(f"{place}: there is no domain {str(name)!r} in this model; it has {model.domains}")
        domain = np.array([model.domains.index(name) for name in domain.tolist()], np.int32)
    if domain.shape != (n,) or domain.dtype.kind not in "iu":
        raise DataError(f"{place}: domain is {domain.dtype} {domain.shape}; it should be names or indices [{n}]")
    if domain.min() < 0 or domain.max() >= len(model.domains):
        raise DataError(
            f"{place}: domain must lie in 0..{len(model.domains) - 1}; it has {domain.min()}..{domain.max()}"
        )
    return domain.astype(np.int32)


def _in_range(depth: np.ndarray, domain: np.ndarray, model: ZoeDepthConfig) -> np.ndarray:
    """The original's mask of training: strictly within the depth range of the image's data set."""
    if model.head is None:
        raise ConfigError("a relative-depth model has no range of depth: give each data set a valid_mask")
    # in the depth's own type: 0.001 as float32 is not above the limit 0.001
    low, high = (
        np.array(limits, depth.dtype)[domain][:, None, None]
        for limits in (model.head.min_depth_m, model.head.max_depth_m)
    )
    return (depth > low) & (depth < high)


def epoch_steps(n_examples: int, batch_size: int) -> int:
    """Batches in which every example is seen once."""
    return math.ceil(n_examples / batch_size)
