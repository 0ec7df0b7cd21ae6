"""The arrays of a checkpoint, whatever its file format: their types, as views of bytes, and in line to be written."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import ml_dtypes
import numpy as np
from jaxtyping import Shaped, UInt8

from zoe_jax.convert.errors import CheckpointError

DTYPES = tuple(
    np.dtype(scalar)
    for scalar in (
        *(np.float64, np.float32, np.float16, ml_dtypes.bfloat16),
        *(np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_),
    )
)
"""What both formats can hold and the models of this family use."""
DTYPE_NAMES = ", ".join(map(str, DTYPES))

Tensors = Mapping[str, Any] | Iterable[tuple[str, Any]]
"""Names and what `np.asarray` makes an array of; either kind may make each array only when its turn comes."""


def view_bytes(raw: UInt8[np.ndarray, "n_bytes"], dtype: np.dtype, shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
    """`raw` seen as an array, row-major, without a copy.

    Raises:
        ValueError: the bytes do not fill the shape, numpy has no such shape, or a bool is neither 0 nor 1
            (numpy's behaviour is undefined then).
    """
    if dtype == np.bool_ and raw.size and raw.max() > 1:
        raise ValueError("is bool but has bytes other than 0 and 1")
    try:
        return raw.view(dtype).reshape(shape)
    except (ValueError, OverflowError):
        sizes = shape if len(shape) <= 8 else f"of {len(shape)} dimensions"
        raise ValueError(f"has the shape {sizes}, which its {raw.size} bytes of {dtype} do not fill") from None


def arrays_to_write(tensors: Tensors, file: Path) -> Iterator[tuple[str, Shaped[np.ndarray, "..."]]]:
    """Each name with its array, one at a time.

    Raises:
        CheckpointError: a name comes twice, an array has a type that is not in `DTYPES`, or there are no arrays.
    """
    written: set[str] = set()
    pairs = tensors.items() if isinstance(tensors, Mapping) else tensors
    for name, value in cast(Iterable[tuple[str, Any]], pairs):
        array = np.asarray(value)
        if array.dtype not in DTYPES:
            raise CheckpointError(f"is {array.dtype}; {DTYPE_NAMES} can be written", file=file, tensor=name)
        if name in written:
            raise CheckpointError("comes twice among those to be written", file=file, tensor=name)
        written.add(name)
        yield name, array
    if not written:
        raise CheckpointError("would hold no tensors", file=file)


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> Shaped[np.ndarray, "..."]:
    """An uninitialised array that a CPU device takes over without a copy: jaxlib asks for 64 bytes, numpy gives 16."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = np.empty(n_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + n_bytes].view(dtype).reshape(shape)


def raw_bytes(array: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "n_bytes"]:
    """The bytes of an array in row-major order; a copy only where the array is laid out otherwise."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
