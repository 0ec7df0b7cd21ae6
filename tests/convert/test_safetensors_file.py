"""safetensors: single files and Hugging Face's folders of shards, mapped when read."""

import json
import re
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.same import assert_same_tensors
from zoe_jax.convert.arrays import DTYPES
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.safetensors_file import read_safetensors, write_safetensors

TENSORS = {f"layer.{dtype}": (np.arange(6).reshape(2, 3) % 2).astype(dtype) for dtype in DTYPES}
TENSORS |= {"scalar": np.float32(2.5), "empty": np.zeros((0, 7), np.float32)}
TENSORS |= {"transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T, "reversed": np.arange(5)[::-1]}


@pytest.mark.parametrize("name", ["other.safetensors", "folder"])
def test_written_files_are_read_back(tmp_path: Path, name: str) -> None:
    write_safetensors(tmp_path / name, TENSORS)
    tensors = read_safetensors(tmp_path / name)
    assert_same_tensors(tensors, TENSORS)
    assert not any(tensor.flags.writeable or tensor.flags.owndata for tensor in tensors.values())


def test_the_library_reads_what_is_written_here_and_the_other_way_round(tmp_path: Path) -> None:
    write_safetensors(tmp_path, TENSORS)
    assert_same_tensors(load_file(tmp_path / "model.safetensors"), TENSORS)
    library = {"b": np.arange(4.0), "a": np.ones((2, 2), ml_dtypes.bfloat16)}
    save_file(library, tmp_path / "theirs.safetensors")
    assert_same_tensors(read_safetensors(tmp_path / "theirs.safetensors"), library)


def test_files_are_as_private_as_the_user_has_them(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_safetensors(tmp_path, TENSORS)
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_header_says_pt(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", TENSORS)
    assert b'"__metadata__":{"format":"pt"}' in (tmp_path / "a.safetensors").read_bytes()


def test_shards_are_named_and_indexed_as_hugging_face_does(tmp_path: Path) -> None:
    tensors = {name: np.full(100, index, np.uint8) for index, name in enumerate("abcde")}
    tensors["larger_than_a_shard"] = np.zeros(300, np.uint8)
    write_safetensors(tmp_path, iter(tensors.items()), max_shard_bytes=200)
    shards = [f"model-0000{i}-of-00004.safetensors" for i in range(1, 5)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*shards, "model.safetensors.index.json"]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    first, second, third, fourth = shards
    assert index["metadata"] == {"total_size": 800}
    expected = dict(zip("abcde", (first, first, second, second, third), strict=True))
    assert index["weight_map"] == {**expected, "larger_than_a_shard": fourth}
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        assert_same_tensors(read_safetensors(path), tensors)


def test_rewriting_a_folder_leaves_nothing_of_the_former_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    write_safetensors(tmp_path, {"a": np.ones(100), "b": np.ones(100)}, max_shard_bytes=800)
    mapped = read_safetensors(tmp_path)
    write_safetensors(tmp_path, {"a": np.zeros(100)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    write_safetensors(tmp_path, {"a": np.zeros(100), "c": np.zeros(100)}, max_shard_bytes=800)
    assert set(read_safetensors(tmp_path)) == {"a", "c"}
    assert mapped["a"].all()


def test_a_failed_writing_leaves_the_former_checkpoint(tmp_path: Path) -> None:
    write_safetensors(tmp_path, {"a": np.ones(4), "b": np.ones(4)}, max_shard_bytes=32)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CheckpointError, match="tensor 'c' is complex64"):
        write_safetensors(tmp_path, {"a": np.zeros(4), "c": np.zeros(4, np.complex64)}, max_shard_bytes=32)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert read_safetensors(tmp_path)["a"].all()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"file: cannot be written"):
        write_safetensors(tmp_path / "file", TENSORS)


def raw_file(path: Path, header: str, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + data)
    return path


FLOAT = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (f'{{"a":{FLOAT},"a":{FLOAT}}}', "tensor 'a' is described twice"),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', "not a whole safetensors file"),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}', "not a whole safetensors file"),
        (f'{{"a":{FLOAT},"b":{FLOAT}}}', "not a whole safetensors file"),
        ('{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}', "tensor 'a' is 'F8_E4M3'; float64"),
        ('{"a":{"dtype":"BOOL","shape":[4],"data_offsets":[0,4]}}', "tensor 'a' is bool but has bytes"),
        (f'{{"a":{FLOAT.replace("[1]", str([1] * 100))}}}', "tensor 'a' has the shape of 100 dimensions"),
        ('{"a":{"dtype":"F32","shape":[0,4611686018427387904,4611686018427387904],"data_offsets":[0,0]}}', "shape"),
        ('{"__metadata__":{"format":"pt"}}', "holds no tensors"),
        ("[" * 10_000, "not a whole safetensors file"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path: Path, header: str, message: str) -> None:
    data = b"" if '"a"' not in header or "[0,0]" in header else b"\x07\0\0\1"
    path = raw_file(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(CheckpointError, match=re.escape(message)) as refusal:
        read_safetensors(path)
    assert str(refusal.value).startswith(f"{path}: ")


def sharded(folder: Path) -> dict[str, str]:
    """Two shards with a tensor each; their weight_map."""
    write_safetensors(folder, {"a": np.ones(4), "b": np.ones(4)}, max_shard_bytes=32)
    return json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]


def assert_index_refused(folder: Path, weight_map: object, message: str) -> None:
    text = weight_map if isinstance(weight_map, str) else json.dumps({"weight_map": weight_map})
    index = folder / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(CheckpointError, match=re.escape(message)) as refusal:
        read_safetensors(folder)
    assert str(refusal.value).startswith(f"{index}: ")


def test_an_index_that_disagrees_with_its_shards_is_refused(tmp_path: Path) -> None:
    weight_map = sharded(tmp_path)
    a, b = weight_map.values()
    assert_index_refused(tmp_path, {"a": a, "b": a}, f"tensor 'b' is in '{a}' by the index, and in no shard in fact")
    assert_index_refused(tmp_path, {"a": b, "b": a}, f"tensor 'a' is in '{b}' by the index, and in '{a}' in fact")
    assert_index_refused(tmp_path, {**weight_map, "c": b}, f"tensor 'c' is in '{b}' by the index, and in no shard")
    assert_index_refused(tmp_path, {"c": a, "b": b}, "tensor 'a' is in no shard by the index")
    save_file({"a": np.ones(4), "b": np.ones(4)}, tmp_path / b)
    assert_index_refused(tmp_path, weight_map, f"tensor 'a' is in two shards, '{a}' and '{b}'")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    weight_map = sharded(tmp_path)
    (tmp_path / weight_map["b"]).unlink()
    assert_index_refused(tmp_path, weight_map, f"names the shard '{weight_map['b']}', which is not beside it")


@pytest.mark.parametrize("shard", ["../outside.safetensors", "/etc/x.safetensors", "c:\\x.safetensors", "a.bin", 3])
def test_an_index_cannot_name_files_elsewhere(tmp_path: Path, shard: object) -> None:
    save_file({"a": np.ones(4)}, tmp_path / "outside.safetensors")
    (tmp_path / "folder").mkdir()
    assert_index_refused(tmp_path / "folder", {"a": shard}, "has no weight_map of tensor names to safetensors files")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("\x00", "is not valid JSON"),
        ("[1]", "is JSON but not an object"),
        ("{}", "has no weight_map"),
        ('{"weight_map": {}}', "has no weight_map"),
        ('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', "tensor 'a' is described twice"),
    ],
    ids=range(8),
)
def test_an_index_that_is_no_index_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert_index_refused(tmp_path, text, message)


def test_a_folder_needs_one_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape("has neither of model.safetensors and")):
        read_safetensors(tmp_path)
    sharded(tmp_path)
    save_file({"a": np.ones(4)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=re.escape("has both of model.safetensors and")):
        read_safetensors(tmp_path)


def test_shards_may_be_links_as_in_the_cache_of_hugging_face(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    weight_map = sharded(tmp_path)
    for shard in weight_map.values():
        (tmp_path / shard).rename(tmp_path / "blobs" / shard)
        (tmp_path / shard).symlink_to(Path("blobs") / shard)
    assert set(read_safetensors(tmp_path)) == {"a", "b"}
