"""torch's checkpoint files, read and written without torch: `torch.save` of a state dict, as `.pt` or `.pth`.

The format since torch 1.6: a zip archive (`torch_zip`) with one pickle stream (`torch_pickle`) that describes the
tensors, and one entry of raw bytes a storage.
"""

import importlib
import math
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from zoe_jax.convert.arrays import DTYPE_NAMES, DTYPES, Tensors, arrays_to_write, raw_bytes, view_bytes
from zoe_jax.convert.disk import map_file, replaced_file
from zoe_jax.convert.errors import CheckpointError, quoted
from zoe_jax.convert.torch_pickle import (
    MAX_STREAM_BYTES,
    PickleStreamError,
    Storage,
    StridedTensor,
    read_pickle,
    write_pickle,
)
from zoe_jax.convert.torch_zip import SIGNATURE, Entry, append_entry, overlapping, read_entries

WRAPPERS = ("model", "state_dict")
"""The keys under which training scripts put the state dict beside an epoch and an optimizer."""
DATA_PARALLEL_PREFIX = "module."
"""What torch's DataParallel puts before every name."""
MAX_BYTES_PER_FILE_BYTE = 16
"""A storage may serve several names (tied weights); beyond this the file only pretends to be large."""

_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.serialization.MAGIC_NUMBER, pickled
_TAR_MAGIC_START = 257
_FIRST_SAFE_TORCH = (2, 6)
_MAX_DIMENSIONS = 64  # numpy's limit, and torch's


@dataclass(frozen=True)
class TorchFile:
    """The state dict of a torch file.

    Attributes:
        tensors: read-only views of the mapped file, in the order of the file, by name without `prefix`.
        wrapper: the key the state dict stands under, "" where the file is the state dict itself.
        prefix: "module." where every name in the file begins so, else "".
        other_keys: what stands beside a wrapped state dict and is ignored (epoch, optimizer, ...).
    """

    tensors: dict[str, Shaped[np.ndarray, "..."]]
    wrapper: str = ""
    prefix: str = ""
    other_keys: tuple[str, ...] = ()


def read_torch(path: str | os.PathLike[str]) -> TorchFile:
    """The tensors of a `.pt` or `.pth` file, memory-mapped; no code in the file is run.

    Files from before torch 1.6 need torch (the `[torch]` extra) and are read into memory.

    Raises:
        CheckpointError: the file is missing, damaged, hostile or something other than a state dict.
    """
    path = Path(path)
    head = map_file(path)[:512].tobytes()
    if head.startswith(SIGNATURE):
        return _read_zip(path)
    if head.startswith(_LEGACY_MAGIC):
        return _read_legacy(path)
    if head[_TAR_MAGIC_START:].startswith(b"ustar"):
        raise CheckpointError(
            "is a tar archive as torch wrote before 0.1.10, which nothing reads safely; load it in a torch that you "
            "trust it with and save its state dict anew",
            file=path,
        )
    raise CheckpointError(
        "is not a file that torch.save wrote: neither a zip archive nor torch's older format", file=path
    )


def _read_zip(path: Path) -> TorchFile:
    entries = read_entries(path)
    if "constants.pkl" in entries:
        raise CheckpointError("is a TorchScript archive; save its state dict instead of the module", file=path)
    # absent before torch 2.1; cut, because a hostile file may call a gigabyte its byte order
    byte_order = entries["byteorder"].data[:16].tobytes() if "byteorder" in entries else b"little"
    if byte_order != b"little":
        order = quoted(byte_order.decode("latin-1"))
        raise CheckpointError(f"has the byte order {order}; save it anew on a little-endian machine", file=path)
    try:
        root = read_pickle(entries["data.pkl"].data[: MAX_STREAM_BYTES + 1].tobytes())
    except PickleStreamError as refusal:
        raise CheckpointError(f"its data.pkl {refusal}", file=path) from None
    state = _find_state_dict(path, root, StridedTensor)
    _check_disjoint(path, entries, state)
    arrays = {}
    for name, tensor in state.tensors.items():
        try:
            arrays[name] = _array(tensor, entries)
        except ValueError as problem:
            raise CheckpointError(str(problem), file=path, tensor=state.prefix + name) from None
    n_bytes = sum(array.nbytes for array in arrays.values())
    if n_bytes > MAX_BYTES_PER_FILE_BYTE * path.stat().st_size:
        raise CheckpointError(f"shares its storages so often that they pass for {n_bytes} bytes", file=path)
    return TorchFile(arrays, state.wrapper, state.prefix, state.other_keys)


class _StateDict(NamedTuple):
    tensors: dict[str, Any]
    wrapper: str
    prefix: str
    other_keys: tuple[str, ...]


def _find_state_dict(path: Path, root: object, tensor_type: type) -> _StateDict:
    """Looks through the wrappers and prefixes of training scripts."""
    if not isinstance(root, dict):
        raise CheckpointError(f"holds a {type(root).__name__} instead of a state dict", file=path)
    wrappers = [key for key in WRAPPERS if isinstance(root.get(key), dict)]
    if len(wrappers) > 1:
        raise CheckpointError(
            f"holds two state dicts, {' and '.join(map(quoted, wrappers))}; save one alone", file=path
        )
    wrapper = wrappers[0] if wrappers else ""
    state = root[wrapper] if wrapper else root
    if not state:
        raise CheckpointError("holds an empty state dict", file=path)
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, tensor_type):
            raise CheckpointError(
                f"has the entry {quoted(name)} of type {type(value).__name__} where a state dict has tensors only; it "
                f"may stand alone or under {' or '.join(map(quoted, WRAPPERS))}",
                file=path,
            )
    prefix = DATA_PARALLEL_PREFIX if all(name.startswith(DATA_PARALLEL_PREFIX) for name in state) else ""
    tensors = {name.removeprefix(prefix): value for name, value in state.items()}
    return _StateDict(tensors, wrapper, prefix, tuple(str(key) for key in root if wrapper and key != wrapper))


def _check_disjoint(path: Path, entries: dict[str, Entry], state: _StateDict) -> None:
    if pair := overlapping(entries):
        tensors = (name for name, tensor in state.tensors.items() if f"data/{tensor.storage.key}" in pair)
        name = next(tensors, None)
        raise CheckpointError(
            f"{'is in' if name else 'has'} archive entries that overlap, {quoted(pair[0])} and {quoted(pair[1])}",
            file=path,
            tensor=state.prefix + name if name else None,
        )


def _array(tensor: StridedTensor, entries: dict[str, Entry]) -> np.ndarray:
    """The read-only view of a tensor.

    Raises:
        ValueError: it does not lie within its storage, or has more elements than its storage. An expanded tensor
            has, too, but nothing bounds what such a one may ask for.
    """
    storage, shape, strides, offset = tensor.storage, tensor.shape, tensor.strides, tensor.offset
    entry = entries.get(f"data/{storage.key}")
    if entry is None:
        raise ValueError(f"is in the storage {quoted(storage.key)}, which the archive does not have")
    if entry.data.size != storage.n_elements * storage.dtype.itemsize:
        raise ValueError(
            f"is in a storage of {entry.data.size} bytes that claims {storage.n_elements} elements of {storage.dtype}"
        )
    if len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS or min((offset, *shape, *strides)) < 0:
        raise ValueError("has sizes and strides that do not fit together")
    n_elements = math.prod(shape)
    if n_elements == 0:
        return view_bytes(entry.data[:0], storage.dtype, shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= storage.n_elements or n_elements > storage.n_elements:
        raise ValueError(
            f"asks for {n_elements} elements, the last at {last}, of a storage that has {storage.n_elements}"
        )
    whole = view_bytes(entry.data, storage.dtype, (storage.n_elements,))
    byte_strides = [stride * whole.itemsize if size > 1 else 0 for size, stride in zip(shape, strides, strict=True)]
    return np.lib.stride_tricks.as_strided(whole[offset:], shape, byte_strides, writeable=False)


def _read_legacy(path: Path) -> TorchFile:
    """Through torch's own restricted unpickler."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise CheckpointError(
            "is in torch's format from before 1.6, which needs torch to read: pip install 'zoe_jax[torch]', or save "
            "it anew in a recent torch",
            file=path,
        ) from None
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if release < _FIRST_SAFE_TORCH:  # CVE-2025-32434: weights_only ran code from such files
        raise CheckpointError(
            f"is in torch's format from before 1.6, which torch {torch.__version__} does not read safely; 2.6 does",
            file=path,
        )
    try:
        root = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its parsing meets
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"is in torch's format from before 1.6 and torch refuses it ({reason})", file=path
        ) from None
    state = _find_state_dict(path, root, torch.Tensor)
    arrays = {}
    for name, tensor in state.tensors.items():
        try:
            arrays[name] = _array_of_torch(torch, tensor)
        except (TypeError, RuntimeError):
            problem = f"is {tensor.dtype} or not dense; {DTYPE_NAMES} can be read"
            raise CheckpointError(problem, file=path, tensor=state.prefix + name) from None
    return TorchFile(arrays, state.wrapper, state.prefix, state.other_keys)


def _array_of_torch(torch: Any, tensor: Any) -> np.ndarray:
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:  # torch hands no bfloat16 to numpy
        array = tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    else:
        array = tensor.numpy()
    if array.dtype not in DTYPES:
        raise TypeError(array.dtype)
    array.flags.writeable = False
    return array


def write_torch(path: str | os.PathLike[str], tensors: Tensors, wrapper: str = "model", prefix: str = "") -> None:
    """Writes a state dict as `torch.save` does; `torch.load(path, weights_only=True)` reads it.

    One tensor at a time is in memory, and the file takes its name when it is whole. Equal tensors give equal files.

    Args:
        path: the `.pt` or `.pth` file; one that is there is replaced.
        tensors: arrays by name, in the order that the file shall have.
        wrapper: the key to put the state dict under, "" for none.
        prefix: to put before every name.

    Raises:
        CheckpointError: a name comes twice, torch has no such type, or the file cannot be written.
    """
    path = Path(path)
    placed: dict[str, StridedTensor] = {}
    with replaced_file(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays_to_write(tensors, path):
            storage = Storage(str(len(placed)), array.dtype, array.size)
            append_entry(archive, stream, f"data/{storage.key}", raw_bytes(array))
            placed[prefix + name] = StridedTensor(storage, 0, array.shape, _row_major(array.shape))
        # torch also writes .format_version, which would allow its reader to compute offsets as its own writer lays
        # them out; without it, it looks them up.
        for name, content in (
            ("data.pkl", write_pickle(placed.items(), wrapper)),
            ("byteorder", b"little"),
            ("version", b"3\n"),
        ):
            append_entry(archive, stream, name, np.frombuffer(content, np.uint8))


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(max(size, 1) for size in shape[axis + 1 :]) for axis in range(len(shape)))
