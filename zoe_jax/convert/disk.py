"""How checkpoint files touch the disk: mapped when read, whole or absent when written."""

import mmap
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from zoe_jax.convert.errors import CheckpointError


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
    """A new file that takes the name `path` only when the block ends without an error; until then it has another.

    Raises:
        CheckpointError: the file cannot be written, for instance because the disk is full.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as stream:
            yield stream
        publish(partial, path)
    except OSError as error:
        raise CheckpointError(f"cannot be written ({_reason(error)})", file=path) from error
    finally:
        partial.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Gives a finished file its name, over whatever had it; its bytes reach the disk before the name does.

    A reader sees the old file or the new one, and whoever has the old one mapped keeps it.
    """
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(path)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
