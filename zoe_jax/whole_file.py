"""Files that a reader sees whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zoe_jax.errors import ZoeJaxError


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the name `path` only when the block ends without an error; until then it has another.

    Raises:
        OSError: it cannot be written, for instance because the disk is full.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as stream:
            yield stream
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Gives a finished file its name, over whatever had it; its bytes reach the disk before the name does.

    A reader sees the old file or the new one, and whoever has the old one open keeps it.
    """
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(path)


def write_whole(path: Path, text: str) -> None:
    """Replaces the file's text, as UTF-8; makes its folder.

    Raises:
        ZoeJaxError: it cannot be written.
    """
    try:
        if not path.parent.exists():  # a file of this name is told by `open`, in better words
            path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as stream:
            stream.write(text.encode())
    except OSError as error:
        raise ZoeJaxError(f"{path} cannot be written: {error.strerror or error}") from error
