"""Examples that fit in memory: arrays, or a NumPy archive of them.

An archive (`.npz`) has the arrays `image` (uint8, or float32 in [0, 1]; [n, h, w, 3]) and `depth_m` (float [n, H, W]);
and optionally `valid_mask` (bool [n, H, W]), `domain` (names or indices of the model's heads [n]) and `id` (strings
[n]).
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from zoe_jax.input.reader import Record
from zoe_jax.input.source import DataError


class ArrayReader:
    """The records of a data set that is in memory, in the order they have there."""

    def __init__(self, arrays: Mapping[str, Any], name: str, domains: tuple[str, ...]) -> None:
        """Checks the arrays.

        Args:
            arrays: as this module describes them.
            name: for messages.
            domains: of the model; without labels in the arrays, and with labels that need not be read, empty.

        Raises:
            DataError: an array is missing, or has another shape or type than it should.
        """
        known = {"image", "depth_m", "valid_mask", "domain", "id"}
        if extra := sorted(arrays.keys() - known):
            raise DataError(
                f"{name} has an array {extra[0]!r}, which has no use; it can have {', '.join(sorted(known))}"
            )
        if missing := sorted({"image", "depth_m"} - arrays.keys()):
            raise DataError(f"{name} has no array {missing[0]!r}; it has {', '.join(sorted(arrays)) or 'none'}")
        image, depth_m = np.asarray(arrays["image"]), np.asarray(arrays["depth_m"])
        if image.ndim != 4 or image.shape[-1] != 3 or image.dtype not in (np.uint8, np.float32):
            raise DataError(f"{name}: image is {image.dtype} {image.shape}; it should be uint8 or float32 [n, h, w, 3]")
        n = len(image)
        if depth_m.ndim != 3 or len(depth_m) != n or not np.issubdtype(depth_m.dtype, np.floating):
            raise DataError(f"{name}: depth_m is {depth_m.dtype} {depth_m.shape}; it should be float [{n}, H, W]")
        if not n:
            raise DataError(f"{name} has no example")
        valid = arrays.get("valid_mask")
        if valid is not None and (np.shape(valid) != depth_m.shape or np.asarray(valid).dtype != bool):
            found = f"{np.asarray(valid).dtype} {np.shape(valid)}"
            raise DataError(f"{name}: valid_mask is {found}; it should be bool {depth_m.shape}")
        ids = tuple(map(str, arrays.get("id", [f"{name.replace(' ', '_')}/{i}" for i in range(n)])))
        if len(ids) != n:
            raise DataError(f"{name}: id has {len(ids)} names for {n} examples")
        self._image, self._depth_m, self._ids = image, depth_m.astype(np.float32, copy=False), ids
        self._valid = None if valid is None else np.asarray(valid)
        labels = arrays.get("domain") if domains else None
        self._domain = None if labels is None else _domain_indices(np.asarray(labels), domains, n, name)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._ids)

    def __getitem__(self, index: int) -> Record:
        """As in `Reader`."""
        return Record(
            id=self._ids[index],
            image=self._image[index],
            depth_m=self._depth_m[index],
            valid_mask=None if self._valid is None else self._valid[index],
            domain=None if self._domain is None else int(self._domain[index]),
        )

    @property
    def range_m(self) -> tuple[float, float]:
        """Any."""
        return 0.0, float("inf")

    def evaluation_order(self) -> Sequence[int]:
        """As they are."""
        return range(len(self))


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


def _domain_indices(labels: np.ndarray, domains: tuple[str, ...], n: int, name: str) -> Int[np.ndarray, "n"]:
    if labels.dtype.kind == "U":
        for label in np.unique(labels):
            if label not in domains:
                raise DataError(f"{name}: there is no domain {str(label)!r} in this model; it has {domains}")
        labels = np.array([domains.index(label) for label in labels.tolist()], np.int32)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise DataError(f"{name}: domain is {labels.dtype} {labels.shape}; it should be names or indices [{n}]")
    if labels.min() < 0 or labels.max() >= len(domains):
        raise DataError(f"{name}: domain must lie in 0..{len(domains) - 1}; it has {labels.min()}..{labels.max()}")
    return labels.astype(np.int32)
