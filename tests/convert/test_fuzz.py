"""Any bytes whatever: a checkpoint is read whole or refused in one line, and never costs much memory."""

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.convert.hostile import MAX_MEMORY_BYTES, READERS, valid_safetensors_file, valid_torch_file
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.safetensors_file import read_safetensors
from zoe_jax.convert.torch_file import read_torch


@pytest.fixture(scope="module")
def valid_pt(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return valid_torch_file(tmp_path_factory.mktemp("valid") / "m.pt")


@pytest.fixture(scope="module")
def valid_safetensors(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return valid_safetensors_file(tmp_path_factory.mktemp("valid") / "m.safetensors")


def peak_bytes() -> int:
    """The most memory this process ever had, files it maps included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def read_or_refuse(path: Path, content: bytes, read: Callable) -> None:
    """The property of every file there is: it is read whole, or refused in one line; and cheaply."""
    path.unlink(missing_ok=True)  # a new file: the former one may still be mapped
    path.write_bytes(content)
    before = peak_bytes()
    refusal = f"{path}"
    try:
        found = read(path)
    except CheckpointError as error:
        refusal = str(error)
    else:
        tensors = found.tensors if read is read_torch else found
        assert all(len(tensor.tobytes()) == tensor.nbytes for tensor in tensors.values())
    assert str(path) in refusal
    assert refusal.isprintable()
    assert peak_bytes() - before < MAX_MEMORY_BYTES


def edits(longest: int) -> st.SearchStrategy[list[tuple[int, int, bytes]]]:
    """Places, how many bytes go there, and what comes instead."""
    place = st.integers(0, longest)
    interesting = st.sampled_from([b"\xff" * 4, bytes(4), b"\x00\x00\x00\x80", b"PK\x01\x02", b"PK\x05\x06", b"."])
    return st.lists(
        st.tuples(place, st.sampled_from([0, 1, 1, 1, 4, 50]), st.one_of(st.binary(max_size=4), interesting)),
        max_size=6,
    )


def edited(content: bytes, changes: list[tuple[int, int, bytes]], length: int) -> bytes:
    for place, n_gone, new in changes:
        content = content[:place] + new + content[place + n_gone :]
    return content[:length]


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=400), head=st.sampled_from([b"", b"PK\x03\x04", b"\x10" + bytes(7) + b"{"]))
def test_random_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, head: bytes) -> None:
    for read in READERS:
        read_or_refuse(tmp_path_factory.getbasetemp() / "random", head + content, read)


@settings(max_examples=300, deadline=None)
@given(changes=edits(2400), length=st.one_of(st.just(10_000), st.integers(0, 2400)))
def test_mutated_torch_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, valid_pt: bytes, changes: list[tuple[int, int, bytes]], length: int
) -> None:
    read_or_refuse(tmp_path_factory.getbasetemp() / "mutated.pt", edited(valid_pt, changes, length), read_torch)


@settings(max_examples=300, deadline=None)
@given(changes=edits(300), length=st.one_of(st.just(10_000), st.integers(0, 300)))
def test_mutated_safetensors_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    valid_safetensors: bytes,
    changes: list[tuple[int, int, bytes]],
    length: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    read_or_refuse(path, edited(valid_safetensors, changes, length), read_safetensors)
