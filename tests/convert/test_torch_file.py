"""Torch files: what torch writes is read, what is written here torch reads, both without a copy too many."""

import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zoe_jax.convert import torch_zip
from zoe_jax.convert.arrays import DTYPES
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.torch_file import read_torch, write_torch

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def assert_same(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal in type, shape and every bit (NaNs and signs of zero included)."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def every_type() -> dict[str, np.ndarray]:
    return {f"layer.{dtype}": (np.arange(6).reshape(2, 3) % 2).astype(dtype) for dtype in DTYPES}


def test_what_torch_wrote_is_read(reference: Path) -> None:
    found = read_torch(reference / "torch_files" / "checkpoint.pt")
    assert (found.wrapper, found.prefix) == ("model", "module.")
    assert found.other_keys == ("epoch", "optimizer", "config")
    with np.load(reference / "torch_files" / "expected.npz") as expected:
        assert list(found.tensors) == expected.files
        for name in expected.files:
            values = expected[name]
            assert_same(found.tensors[name], values.view(BFLOAT16) if name == "types.bfloat16" else values)


def test_pickle_protocol_4_is_read(reference: Path) -> None:
    found = read_torch(reference / "torch_files" / "protocol_4.pt")
    assert (found.wrapper, found.prefix, found.other_keys) == ("", "", ())
    assert_same(found.tensors["bias"], np.ones(4, BFLOAT16))
    assert_same(found.tensors["weight"], np.arange(24, dtype=np.float32).reshape(4, 6) / 7)


def test_tied_names_share_their_bytes_and_nothing_is_writeable(reference: Path) -> None:
    tensors = read_torch(reference / "torch_files" / "checkpoint.pt").tensors
    assert np.shares_memory(tensors["tied.a"], tensors["tied.b"])
    assert not any(tensor.flags.writeable for tensor in tensors.values())


def test_legacy_file_says_what_it_needs_without_torch(reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CheckpointError, match=r"legacy\.pt: .* before 1\.6.*zoe_jax\[torch\]"):
        read_torch(reference / "torch_files" / "legacy.pt")


def test_legacy_file_is_refused_with_a_torch_that_is_unsafe(reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OldTorch:
        __version__ = "2.5.1+cpu"

    monkeypatch.setitem(sys.modules, "torch", OldTorch)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"torch 2\.5\.1.* not read safely; 2\.6 does"):
        read_torch(reference / "torch_files" / "legacy.pt")


def test_legacy_file_is_read_with_torch(reference: Path) -> None:
    pytest.importorskip("torch")
    found = read_torch(reference / "torch_files" / "legacy.pt")
    assert_same(found.tensors["bias"], np.ones(4, BFLOAT16))
    assert_same(found.tensors["weight"], np.arange(24, dtype=np.float32).reshape(4, 6) / 7)


@pytest.mark.parametrize(("wrapper", "prefix"), [("model", ""), ("state_dict", "module."), ("", ""), ("", "module.")])
def test_written_files_are_read_back(tmp_path: Path, wrapper: str, prefix: str) -> None:
    write_torch(tmp_path / "w.pt", every_type(), wrapper, prefix)
    found = read_torch(tmp_path / "w.pt")
    assert (found.wrapper, found.prefix, found.other_keys) == (wrapper, prefix, ())
    assert list(found.tensors) == list(every_type())
    for name, expected in every_type().items():
        assert_same(found.tensors[name], expected)


def numpy_arrays() -> st.SearchStrategy[np.ndarray]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    plain = st.sampled_from([dtype for dtype in DTYPES if dtype != BFLOAT16])
    bfloat16 = hnp.arrays(np.uint16, shapes).map(lambda bits: bits.view(BFLOAT16))
    arrays = st.one_of(plain.flatmap(lambda dtype: hnp.arrays(dtype, shapes)), bfloat16)
    return st.one_of(
        arrays, arrays.map(np.transpose), arrays.map(lambda array: array[..., ::-1] if array.ndim else array)
    )


@settings(max_examples=60, deadline=None)
@given(tensors=st.dictionaries(st.text(min_size=1), numpy_arrays(), min_size=1, max_size=4))
def test_any_arrays_survive_a_round_trip(tmp_path_factory: pytest.TempPathFactory, tensors: dict) -> None:
    path = tmp_path_factory.mktemp("round_trip") / "w.pt"
    write_torch(path, tensors)
    found = read_torch(path)
    assert [found.prefix + name for name in found.tensors] == list(tensors)
    for (_, actual), expected in zip(found.tensors.items(), tensors.values(), strict=True):
        assert_same(actual, expected)


def test_torch_reads_what_is_written_here(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    expected = {**every_type(), "scalar": np.float32(3.5), "transposed": np.ones((2, 3), np.float32).T}
    write_torch(tmp_path / "w.pt", expected)
    for mmap in (False, True):
        state = torch.load(tmp_path / "w.pt", weights_only=True, mmap=mmap)["model"]
        assert list(state) == list(expected)
        for name, array in expected.items():
            tensor = state[name]
            bits = tensor.view(torch.int16).numpy().view(BFLOAT16) if tensor.dtype == torch.bfloat16 else tensor.numpy()
            assert_same(bits, np.asarray(array))
    module = torch.nn.Linear(3, 2)
    write_torch(tmp_path / "w.pt", {"weight": np.eye(2, 3, dtype=np.float32), "bias": np.zeros(2, np.float32)}, "")
    assert not any(module.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True)))


def test_what_torch_writes_today_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4)).to(
        memory_format=torch.channels_last
    )
    torch.save({"model": module.state_dict(), "epoch": 1}, tmp_path / "m.pt")
    found = read_torch(tmp_path / "m.pt")
    for name, tensor in module.state_dict().items():
        assert_same(found.tensors[name], tensor.numpy())


def test_tensors_are_views_of_the_file_at_multiples_of_64_bytes(tmp_path: Path) -> None:
    write_torch(tmp_path / "w.pt", every_type())
    for tensor in read_torch(tmp_path / "w.pt").tensors.values():
        assert tensor.ctypes.data % torch_zip.ALIGNMENT_BYTES == 0
        assert not tensor.flags.owndata
        assert not tensor.flags.writeable


def test_checksums_are_right_and_equal_tensors_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        write_torch(tmp_path / name, every_type())
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.testzip() is None


def test_large_entries_use_zip64_and_stay_aligned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)  # as if 1 kB were more than the plain format can say
    tensors = {str(size): np.arange(size, dtype=np.uint8) for size in (10, 940, 960, 999, 1001, 5000)}
    write_torch(tmp_path / "w.pt", tensors)
    assert b"PK\x06\x06" in (tmp_path / "w.pt").read_bytes()  # the end record of zip64
    found = read_torch(tmp_path / "w.pt").tensors
    for name, expected in tensors.items():
        assert_same(found[name], expected)
        assert found[name].ctypes.data % torch_zip.ALIGNMENT_BYTES == 0


def test_arrays_may_be_made_when_their_turn_comes(tmp_path: Path) -> None:
    made = []

    def lazily() -> Iterator[tuple[str, np.ndarray]]:
        for index in range(3):
            made.append([path.name for path in tmp_path.iterdir()])
            yield f"t{index}", np.full(4, index)

    write_torch(tmp_path / "w.pt", lazily())
    assert len(made) == 3
    assert all(re.fullmatch(r"\.[0-9a-f]{16}\.partial", name) for [name] in made)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]


def test_a_failed_writing_leaves_the_former_file(tmp_path: Path) -> None:
    write_torch(tmp_path / "w.pt", {"former": np.ones(3)})
    mapped = read_torch(tmp_path / "w.pt").tensors["former"]

    def breaks() -> Iterator[tuple[str, np.ndarray]]:
        yield "a", np.zeros(3)
        raise KeyError("the source ended")

    with pytest.raises(KeyError):
        write_torch(tmp_path / "w.pt", breaks())
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]
    assert list(read_torch(tmp_path / "w.pt").tensors) == ["former"]
    write_torch(tmp_path / "w.pt", {"a": np.zeros(3)})
    assert mapped.tolist() == [1, 1, 1]  # whoever has the former file mapped keeps it


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([("a", np.ones(2)), ("a", np.ones(2))], "tensor 'a' comes twice"),
        ([("a", np.ones(2, np.complex64))], "tensor 'a' is complex64; float64, float32"),
        ([("a", np.array(["x"]))], "tensor 'a' is <U1"),
        ([], "no tensors"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, tensors: list, message: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        write_torch(tmp_path / "w.pt", tensors)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere/w\.pt: cannot be written \(No such file"):
        write_torch(tmp_path / "nowhere" / "w.pt", {"a": np.ones(2)})
