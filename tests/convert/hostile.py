"""Files made to harm: how they are built, and what is asked of every refusal."""

import contextlib
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.safetensors_file import read_safetensors, write_safetensors
from zoe_jax.convert.torch_file import read_torch, write_torch

MAX_MEMORY_BYTES = 200 << 20
READERS: list[Callable[[Path], object]] = [read_torch, read_safetensors]


def assert_refused(path: Path, message: str, tensor: str = "", read: Callable[[Path], object] = read_torch) -> None:
    with pytest.raises(CheckpointError, match=message or None) as refusal:
        read(path)
    text = str(refusal.value)
    assert text.startswith(f"{path}: " + (f"tensor '{tensor}' " if tensor else ""))
    assert text.isprintable()  # one line


def archive(path: Path, stream: bytes, storages: dict[str, bytes] | None = None) -> Path:
    """A torch file with a pickle stream of one's own."""
    entries = {"data.pkl": stream, "byteorder": b"little"}
    entries |= {f"data/{key}": data for key, data in (storages or {}).items()}
    with zipfile.ZipFile(path, "w") as written:
        for name, data in entries.items():
            written.writestr(f"archive/{name}", data)
    return path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


@contextlib.contextmanager
def at_most(n_bytes: int) -> Iterator[None]:
    """Fails where Python and numpy held more than so many bytes at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= n_bytes
    finally:
        tracemalloc.stop()


def valid_torch_file(path: Path) -> bytes:
    write_torch(path, {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "mask": np.array([True]), "n": np.int64(3)})
    return path.read_bytes()


def valid_safetensors_file(path: Path) -> bytes:
    write_safetensors(path, {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "mask": np.array([True])})
    return path.read_bytes()
