"""Random access to the records of a prepared data set: TFDS's ArrayRecord files, decoded without TensorFlow."""

import io
import json
import re
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from zoe_jax.config import ConfigError
from zoe_jax.input.prepare import default_data_dir, preparation_names
from zoe_jax.input.records import DepthMetadata, depth_in_metres
from zoe_jax.input.source import DataError
from zoe_jax.input.summary import SUMMARY_FILE

RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
"""As the pixels are stored, whatever a camera noted about turning them: the depth beside them is not turned."""


class Record(NamedTuple):
    """One example as it is stored."""

    id: str
    image: UInt8[np.ndarray, "h w 3"] | Float32[np.ndarray, "h w 3"]
    """0..255 as bytes, or in [0, 1]."""
    depth_m: Float32[np.ndarray, "H W"]
    """Invalid where it is not a positive number."""
    valid_mask: Bool[np.ndarray, "H W"] | None
    """The pixels whose depth counts, where the data set says so."""
    domain: int | str | None
    """The model's head: its index, or its name; None where the data set does not say."""


class Header(NamedTuple):
    """What is known of an example before it is decoded; sizes are (height, width)."""

    id: str
    image_size: tuple[int, int]
    depth_size: tuple[int, int]


@runtime_checkable
class Reader(Protocol):
    """The records of a data set, by index, from any thread; it can be pickled."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int) -> Record:
        """Raises DataError where the record is damaged."""
        ...

    @property
    def range_m(self) -> tuple[float, float]:
        """What depth is valid in the data set itself: between these, exclusive."""
        ...

    def evaluation_order(self) -> Sequence[int]:
        """All indices, in the order in which evaluation goes through the records."""
        ...


class PreparedReader:
    """The records of one split of a prepared data set."""

    def __init__(self, name: str, split: str, data_dir: str | None = None) -> None:
        """Finds and opens it.

        Args:
            name: of the data set under `data_dir`, with or without its version; or the path of its folder.
            split: as TFDS writes it.
            data_dir: by default TFDS's own.

        Raises:
            DataError: there is no such data set or split, or it is of another kind.
        """
        self.name, self.split = name, split
        self._folder = find_prepared(name, data_dir)
        self._open()

    def _open(self) -> None:
        self._evaluation_order: Sequence[int] | None = None
        self._headers: Sequence[Header | DataError] = ()
        place = f"{self._folder}, split {self.split!r}"
        try:
            builder: Any = tfds.builder_from_directory(self._folder)
        # protobuf has errors of its own for what TFDS wrote
        except Exception as error:
            raise DataError(
                f"{self._folder}: cannot be opened: {_first_line(error)}; prepare the data set anew"
            ) from error
        try:
            self.metadata = DepthMetadata(**(builder.info.metadata or {}))
            skip: Any = tfds.decode.SkipDecoding
            undecoded = {name: skip() for name in ("image", "depth", "valid_mask") if name in builder.info.features}
            self._records: Any = builder.as_data_source(self.split, decoders=undecoded)
        except (TypeError, ConfigError) as error:
            raise DataError(
                f"{self._folder}: is no depth data set; one that `zoe-jax prepare` wrote has in its metadata "
                f"min_depth_m, max_depth_m, depth_units_per_m and domain ({error})"
            ) from None
        except NotImplementedError as error:
            raise DataError(f"{self._folder}: must be prepared with file_format='array_record'") from error
        except (ValueError, KeyError, AssertionError) as error:
            splits = ", ".join(builder.info.splits) or "none"
            raise DataError(f"{place}: there is no such split; there are {splits} ({_first_line(error)})") from None
        if not len(self._records):
            raise DataError(f"{place}: has no record")

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open, so that another process opens it for itself."""
        return {name: getattr(self, name) for name in ("name", "split", "_folder")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Opens it again."""
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        """As in `Reader`."""
        stored = self._stored(index)
        name = stored["id"].decode()
        mask = stored.get("valid_mask")
        try:
            return Record(
                id=name,
                image=_decode(stored["image"], "image", RGB),
                depth_m=self._depth_m(stored["depth"]),
                valid_mask=None if mask is None else _decode(mask, "valid_mask", cv2.IMREAD_GRAYSCALE) != 0,
                domain=self.metadata.domain or None,
            )
        except (ValueError, TypeError, zlib.error, cv2.error) as error:
            raise self._damaged(f"record {index} ({name})", error) from error

    def header(self, index: int) -> Header:
        """Raises DataError where the record is damaged."""
        stored = self._stored(index)
        name = stored["id"].decode()
        try:
            depth = stored["depth"]
            depth_size = (
                _size(depth) if self.metadata.depth_units_per_m is not None else tuple(depth["shape"][:2].tolist())
            )
            return Header(name, _size(stored["image"]), depth_size)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise self._damaged(f"record {index} ({name})", error) from error

    def headers(self, threads: int) -> Sequence[Header | DataError]:
        """Of all records, or why one cannot be read. The first time, all records are read for it, by so many threads.

        Nothing is decoded.
        """

        def look(index: int) -> Header | DataError:
            try:
                return self.header(index)
            except DataError as error:
                return error

        if not self._headers:
            with ThreadPoolExecutor(threads) as pool:
                self._headers = list(pool.map(look, range(len(self))))
        return self._headers

    def _stored(self, index: int) -> dict[str, Any]:
        """A record as it is stored, images and depth still encoded."""
        try:
            return self._records[index]
        # every layer under this has its own way to say that bytes are missing or damaged
        except Exception as error:
            raise self._damaged(f"record {index}", error) from error

    def _damaged(self, record: str, error: Exception) -> DataError:
        return DataError(
            f"{self._folder}: {record} of split {self.split!r} cannot be read: {_first_line(error)}; "
            "prepare the data set anew"
        )

    @property
    def checksum(self) -> str:
        """SHA-256 of the records of each split in use, as their preparation wrote it down; empty where it did not."""
        try:
            splits = json.loads((self._folder / SUMMARY_FILE).read_text(encoding="utf-8"))["summary"]["splits"]
            checksums = [splits[part.partition("[")[0].strip()]["checksum"] for part in self.split.split("+")]
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return "+".join(checksums) if all(checksums) else ""

    @property
    def range_m(self) -> tuple[float, float]:
        """As its metadata says."""
        return self.metadata.min_depth_m, self.metadata.max_depth_m

    def evaluation_order(self) -> Sequence[int]:
        """By id, since TFDS shuffles as it writes. The first time, all records are read for it."""
        if self._evaluation_order is None:
            ids = [self._stored(index)["id"] for index in range(len(self))]
            self._evaluation_order = sorted(range(len(self)), key=ids.__getitem__)
        return self._evaluation_order

    def _depth_m(self, stored: Any) -> Float32[np.ndarray, "H W"]:
        if self.metadata.depth_units_per_m is not None:
            return depth_in_metres(_decode(stored, "depth", cv2.IMREAD_UNCHANGED), self.metadata)
        height, width = stored["shape"]
        return np.frombuffer(zlib.decompress(stored["value"]), np.float32).reshape(height, width)


def find_prepared(name: str, data_dir: str | None = None) -> Path:
    """The folder of a prepared data set, of its highest version where the name has none.

    Raises:
        DataError: there is none; the message says what would make it.
    """
    root = Path(data_dir).expanduser() if data_dir else default_data_dir()
    for folder in (Path(name).expanduser(), root / name):
        if (folder / "dataset_info.json").is_file():
            return folder
        versions = [path.parent for path in folder.glob("*/dataset_info.json") if _version(path.parent.name)]
        if versions:
            return max(versions, key=lambda path: _version(path.name) or ())
    if inside := sorted({path.parents[1].name for path in (root / name).glob("*/*/dataset_info.json")}):
        raise DataError(
            f"{root / name} holds several data sets: name one of {', '.join(f'{name}/{i}' for i in inside)}"
        )
    raise DataError(f"there is no data set {name!r} in {root}: {_remedy(name, root)}")


def _remedy(name: str, root: Path) -> str:
    builder = name.split("/")[0].removeprefix("zoe_")
    if builder in preparation_names():
        return f"`zoe-jax prepare {builder}` makes it, or --data-dir (--data.data-dir in training) names its folder"
    there = {path.parent for path in root.glob("zoe_*/**/dataset_info.json")}
    names = ", ".join(sorted({str(folder.parent.relative_to(root)) for folder in there}))
    return f"there are {names or 'none'}, and `zoe-jax prepare` makes {', '.join(preparation_names()) or 'none'}"


def _version(name: str) -> tuple[int, ...] | None:
    return tuple(map(int, name.split("."))) if re.fullmatch(r"\d+\.\d+\.\d+", name) else None


def _decode(encoded: bytes, what: str, flags: int) -> np.ndarray:
    array = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    if array is None:
        raise ValueError(f"its {what} is no image")
    return array


def _size(encoded: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(encoded)) as image:
        return image.height, image.width


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
