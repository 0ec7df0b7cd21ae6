"""The zip archive around a torch file: entries found without being read, and written aligned.

torch stores its entries uncompressed, each storage at a multiple of 64 bytes, so that a mapped file needs no copy.
Compressed entries are refused: torch never writes them, they cannot be mapped, and they are how a small file
unpacks into a large one. Checksums are written, but like torch's own reader this one does not check them: that
would read every storage of the file.
"""

import io
import struct
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from zoe_jax.convert.disk import map_file
from zoe_jax.convert.errors import CheckpointError, quoted

SIGNATURE = b"PK\x03\x04"
ROOT = "archive"
"""The one top folder of what is written here; torch names it after the file and reads any."""
ALIGNMENT_BYTES = 64
"""Of each storage within the file, as torch has it; enough for every vector load."""
MAX_DIRECTORY_BYTES = 4 << 20
"""The directory of a model of 1,000 tensors has about 0.15 MB; parsed, it takes some 15 times its size."""

_LOCAL_HEADER_BYTES = 30
_ZIP64_EXTRA_BYTES = 20
_CHUNK_BYTES = 16 << 20
_ENCRYPTED = 0x1 | 0x40 | 0x2000


@dataclass(frozen=True)
class Entry:
    """One stored file of the archive: where its header begins in the archive, and its bytes."""

    header_start: int
    data_start: int
    data: UInt8[np.ndarray, "n_bytes"]


class _Directory(io.FileIO):
    """The file as `zipfile` sees it, which reads the whole directory at once, however long it says it is."""

    def read(self, size: int | None = -1, /) -> bytes:  # a negative size comes only near the end of the file
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory has {size} bytes")
        return super().read(-1 if size is None else size) or b""


def read_entries(path: Path) -> dict[str, Entry]:
    """The entries of a torch archive by name, without the archive's one top folder: `data.pkl`, `data/0`, ...

    Raises:
        CheckpointError: not a whole zip archive, an entry that is encrypted, compressed, out of bounds or there
            twice, or no `data.pkl`.
    """
    contents = map_file(path)
    try:
        with _Directory(path) as stream, zipfile.ZipFile(stream) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    # Over damaged bytes zipfile lets through what its parsing raises: ValueError, struct.error, IndexError, ...
    except Exception as error:
        raise CheckpointError(
            f"is cut off or damaged: it begins like a zip archive but has no readable directory ({error})", file=path
        ) from None
    root = _root(path, infos)
    entries: dict[str, Entry] = {}
    for info in infos:
        name = info.filename.removeprefix(f"{root}/")
        if name in entries:
            raise CheckpointError(f"holds the archive entry {quoted(name)} twice", file=path)
        entries[name] = _entry(path, contents, info)
    return entries


def overlapping(entries: dict[str, Entry]) -> tuple[str, str] | None:
    """The first two entries, in the order of the file, that share bytes; None where there are none."""
    in_order = sorted(entries.items(), key=lambda item: item[1].header_start)
    for (name, entry), (next_name, next_entry) in pairwise(in_order):
        if next_entry.header_start < entry.data_start + entry.data.size:
            return name, next_name
    return None


def _root(path: Path, infos: list[zipfile.ZipInfo]) -> str:
    roots = [folder for folder, _, name in (i.filename.partition("/") for i in infos) if name == "data.pkl"]
    if len(roots) != 1:
        raise CheckpointError(
            f"is a zip archive with {len(roots)} entries called data.pkl instead of the one that torch.save writes",
            file=path,
        )
    return roots[0]


def _entry(path: Path, contents: np.ndarray, info: zipfile.ZipInfo) -> Entry:
    def refuse(problem: str) -> CheckpointError:
        return CheckpointError(f"its archive entry {quoted(info.filename)} {problem}", file=path)

    if info.flag_bits & _ENCRYPTED:
        raise refuse("is encrypted, which torch cannot have written")
    if info.compress_type != zipfile.ZIP_STORED:
        raise refuse("is compressed; torch.save stores its entries, so unpack and store them, or save the file anew")
    header_start = info.header_offset
    header = contents[max(header_start, 0) : max(header_start, 0) + _LOCAL_HEADER_BYTES].tobytes()
    if header_start < 0 or len(header) < _LOCAL_HEADER_BYTES or header[:4] != SIGNATURE:
        raise refuse("is not where the archive's directory says")
    n_name, n_extra = struct.unpack_from("<HH", header, 26)
    data_start = header_start + _LOCAL_HEADER_BYTES + n_name + n_extra
    if info.compress_size != info.file_size or data_start + info.file_size > contents.size:
        raise refuse("reaches beyond the end of the file")
    return Entry(header_start, data_start, contents[data_start : data_start + info.file_size])


def append_entry(archive: zipfile.ZipFile, stream: BinaryIO, name: str, data: UInt8[np.ndarray, "n_bytes"]) -> None:
    """Adds one entry, whose bytes begin at a multiple of 64 of the file; entries above 2 GB are zip64.

    Args:
        archive: being written to `stream`.
        stream: the file of the archive.
        name: without the top folder.
        data: its bytes.
    """
    # A date of its own would make two writings of one model differ; this is the first that zip can express.
    info = zipfile.ZipInfo(f"{ROOT}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
    info.file_size = data.size
    large = data.size * 1.05 > zipfile.ZIP64_LIMIT  # where zipfile begins to use it, which moves the data
    header_bytes = _LOCAL_HEADER_BYTES + len(info.filename) + (_ZIP64_EXTRA_BYTES if large else 0) + 4
    n_padding = -(stream.tell() + header_bytes) % ALIGNMENT_BYTES
    info.extra = struct.pack("<2sH", b"FB", n_padding) + bytes(n_padding)  # "FB", as torch marks its padding
    with archive.open(info, "w", force_zip64=large) as entry:
        for start in range(0, data.size, _CHUNK_BYTES):
            entry.write(data[start : start + _CHUNK_BYTES].data)
