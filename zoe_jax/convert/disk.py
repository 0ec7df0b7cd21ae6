"""How checkpoint files touch the disk: mapped when read, whole or absent when written."""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from zoe_jax.convert.errors import CheckpointError
from zoe_jax.whole_file import replaced


def map_file(path: Path) -> UInt8[np.ndarray, "n_bytes"]:
    """The bytes of a file, read-only and mapped: none takes memory of its own, the kernel fetches what is touched.

    Raises:
        CheckpointError: there is no such file, it is a folder, empty, or may not be read.
    """
    try:
        if path.is_dir():
            raise CheckpointError("is a folder where a checkpoint file is needed", file=path)
        if path.exists() and not path.is_file():
            raise CheckpointError("is no regular file, so it cannot be mapped", file=path)
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size == 0:
                raise CheckpointError("is empty, so it holds no checkpoint", file=path)
            mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise CheckpointError("there is no such file", file=path) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise CheckpointError(f"cannot be read ({_reason(error)})", file=path) from None
    return np.frombuffer(mapping, np.uint8)


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """`whole_file.replaced`; whoever has the old file mapped keeps it.

    Raises:
        CheckpointError: the file cannot be written, for instance because the disk is full.
    """
    try:
        with replaced(path) as stream:
            yield stream
    except OSError as error:
        raise CheckpointError(f"cannot be written ({_reason(error)})", file=path) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
