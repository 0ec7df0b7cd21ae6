"""safetensors files, and the folders that Hugging Face splits large ones into; mapped when read."""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from zoe_jax.convert.arrays import DTYPE_NAMES, Tensors, arrays_to_write, view_bytes
from zoe_jax.convert.disk import map_file, replaced_file
from zoe_jax.convert.errors import CheckpointError, quoted
from zoe_jax.whole_file import publish

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
MAX_HEADER_BYTES = 16 << 20
"""Of the JSON before the data, and of an index; a model of 1,000 tensors needs about 0.1 MB."""

_LENGTH_BYTES = 8
_OURS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|" + re.escape(INDEX_NAME))
_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The tensors of a safetensors checkpoint: read-only views of the mapped files, in the order of the files.

    Args:
        path: a `.safetensors` file, the index of a sharded checkpoint, or a folder with `model.safetensors` or
            `model.safetensors.index.json`.

    Raises:
        CheckpointError: a file is missing, damaged or hostile, a tensor is in two shards, or the index and its
            shards disagree.
    """
    path = Path(path)
    if not path.is_dir():
        return _read_shards(path) if path.name.endswith(".json") else _read_file(path)
    there = [name for name in (SINGLE_NAME, INDEX_NAME) if (path / name).exists()]
    if len(there) != 1:
        count = "both" if there else "neither"
        raise CheckpointError(f"has {count} of {SINGLE_NAME} and {INDEX_NAME}, where one is expected", file=path)
    return read_safetensors(path / there[0])


def _read_file(path: Path) -> dict[str, np.ndarray]:
    contents = map_file(path)
    n_header = int.from_bytes(contents[:_LENGTH_BYTES].tobytes(), "little")
    if n_header > MAX_HEADER_BYTES:
        raise CheckpointError(f"is not a safetensors file: its header would have {n_header} bytes", file=path)
    try:
        with safe_open(path, framework="numpy"):  # checks the header, the shapes and that the offsets tile the file
            pass
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"is not a whole safetensors file ({error})", file=path) from None
    # The library's own get_tensor copies into memory that is not the file's, so the views are made here.
    header = _read_json(contents[_LENGTH_BYTES : _LENGTH_BYTES + n_header].tobytes(), path)
    header.pop("__metadata__", None)
    if not header:
        raise CheckpointError("holds no tensors", file=path)
    data = contents[_LENGTH_BYTES + n_header :]
    tensors = {}
    for name, described in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if described["dtype"] not in _DTYPES:
            problem = f"is {quoted(described['dtype'])}; {DTYPE_NAMES} can be read"
            raise CheckpointError(problem, file=path, tensor=name)
        start, stop = described["data_offsets"]
        try:
            tensors[name] = view_bytes(data[start:stop], _DTYPES[described["dtype"]], tuple(described["shape"]))
        except ValueError as problem:
            raise CheckpointError(str(problem), file=path, tensor=name) from None
    return tensors


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    raw = map_file(index)
    if raw.size > MAX_HEADER_BYTES:
        raise CheckpointError(f"is no index: it has {raw.size} bytes", file=index)
    shard_of = _read_json(raw.tobytes(), index).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of or not all(map(_is_shard_name, shard_of.values())):
        raise CheckpointError("has no weight_map of tensor names to safetensors files beside it", file=index)
    tensors: dict[str, np.ndarray] = {}
    found_in: dict[str, str] = {}
    for shard in dict.fromkeys(shard_of.values()):
        if not (index.parent / shard).exists():
            raise CheckpointError(f"names the shard {quoted(shard)}, which is not beside it", file=index)
        for name, tensor in _read_file(index.parent / shard).items():
            if name in found_in:
                shards = f"{quoted(found_in[name])} and {quoted(shard)}"
                raise CheckpointError(f"is in two shards, {shards}", file=index, tensor=name)
            tensors[name], found_in[name] = tensor, shard
    for name in sorted(shard_of.keys() | found_in.keys()):
        if shard_of.get(name) != found_in.get(name):
            here, there = (quoted(place[name]) if name in place else "no shard" for place in (shard_of, found_in))
            raise CheckpointError(f"is in {here} by the index, and in {there} in fact", file=index, tensor=name)
    return tensors


def _is_shard_name(value: object) -> bool:
    """Whether it is a file in the index's own folder; links are followed, as Hugging Face's cache is made of them."""
    return isinstance(value, str) and value.endswith(".safetensors") and not {"/", "\\", "\0"} & set(value)


def _read_json(text: bytes, path: Path) -> dict[str, Any]:
    """The object of a JSON text in which no name comes twice; json would silently keep the last."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = next(name for i, name in enumerate(names) if name in names[:i])
            raise CheckpointError("is described twice", file=path, tensor=twice)
        return dict(pairs)

    try:
        parsed = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"is not valid JSON ({error})", file=path) from None
    if not isinstance(parsed, dict):
        raise CheckpointError("is JSON but not an object with names", file=path)
    return parsed


def write_safetensors(path: str | os.PathLike[str], tensors: Tensors, max_shard_bytes: int = 5_000_000_000) -> None:
    """Writes a safetensors checkpoint; the tensors of one shard are in memory at a time.

    What it replaces is replaced only when all is written. A folder's former `model*.safetensors` files and index go,
    the new index comes last: a reader finds the old checkpoint, the new one or an error, never a mixture.

    Args:
        path: a file if it ends in `.safetensors`; else a folder, in which the files are named as Hugging Face does.
        tensors: arrays by name.
        max_shard_bytes: a folder gets several files where one would be larger (single tensors are not cut).

    Raises:
        CheckpointError: a name comes twice, the format has no such type, or a file cannot be written.
    """
    path = Path(path)
    alone = path.suffix == ".safetensors"
    folder = path.parent if alone else path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as partial:
            shards: list[tuple[Path, dict[str, int]]] = []
            for shard in _shards(arrays_to_write(tensors, path), max_shard_bytes if not alone else None):
                written = Path(partial) / str(len(shards))
                written.touch()
                mode = written.stat().st_mode
                save_file(shard, written, {"format": "pt"})  # on which transformers insists
                written.chmod(mode)  # the library makes it readable for its owner alone, whatever the umask says
                shards.append((written, {name: array.nbytes for name, array in shard.items()}))
            if alone:
                publish(shards[0][0], path)
            else:
                _fill_folder(folder, shards)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot be written ({error})", file=path) from error


def _shards(arrays: Iterator[tuple[str, np.ndarray]], max_bytes: int | None) -> Iterator[dict[str, np.ndarray]]:
    """Fills one shard after the other, in the order given."""
    shard: dict[str, np.ndarray] = {}
    n_bytes = 0
    for name, array in arrays:
        if shard and max_bytes is not None and n_bytes + array.nbytes > max_bytes:
            yield shard
            shard, n_bytes = {}, 0
        shard[name] = np.asarray(array, order="C")  # the library writes memory as it lies
        n_bytes += array.nbytes
    yield shard


def _fill_folder(folder: Path, shards: list[tuple[Path, dict[str, int]]]) -> None:
    for stale in folder.iterdir():
        if _OURS.fullmatch(stale.name):
            stale.unlink()
    if len(shards) == 1:
        publish(shards[0][0], folder / SINGLE_NAME)
        return
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for name, (written, _) in zip(names, shards, strict=True):
        publish(written, folder / name)
    index = {
        "metadata": {"total_size": sum(sum(sizes.values()) for _, sizes in shards)},
        "weight_map": {tensor: name for name, (_, sizes) in zip(names, shards, strict=True) for tensor in sizes},
    }
    with replaced_file(folder / INDEX_NAME) as stream:
        stream.write(json.dumps(index, indent=2).encode() + b"\n")
