"""Files made to harm: each is refused in one line that names it, nothing of it runs, and it takes little memory."""

import io
import os
import pickle
import re
import struct
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.convert.hostile import (
    MAX_MEMORY_BYTES,
    READERS,
    archive,
    assert_refused,
    at_most,
    text,
    valid_safetensors_file,
    valid_torch_file,
)
from zoe_jax.convert import torch_zip
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.safetensors_file import read_safetensors
from zoe_jax.convert.torch_file import read_torch
from zoe_jax.convert.torch_pickle import Storage, StridedTensor, write_pickle


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Path]:
    """A file that the payloads create if they run; it must not be there afterwards."""
    path = tmp_path / "sentinel"
    yield path
    assert not path.exists()


LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
FLOATS = np.arange(4, dtype=np.float32).tobytes()


def one_tensor(
    path: Path,
    *,
    n_elements: int = 4,
    offset: int = 0,
    shape: tuple[int, ...] = (4,),
    strides: tuple[int, ...] = (1,),
    key: str = "0",
) -> Path:
    tensor = StridedTensor(Storage(key, np.dtype(np.float32), n_elements), offset, shape, strides)
    return archive(path, write_pickle([("module.cls_token", tensor)], "model"), {"0": FLOATS})


class Runs:
    """Runs a command when unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


def payloads(sentinel: Path) -> dict[str, tuple[bytes, str]]:
    """Streams that would create the sentinel in Python's unpickler, each with the name that gives it away."""
    command = f"touch {sentinel}"
    arguments = b"(" + text(command) + b"t"
    torch_load = b"ctorch.serialization\nload\n"
    return {
        "reduce": (pickle.dumps(Runs(command), 2), "posix.system|nt.system"),
        "in a state dict": (pickle.dumps({"model": {"w": Runs(command)}}, 2), "posix.system|nt.system"),
        "beside the state dict": (pickle.dumps({"model": {}, "optimizer": Runs(command)}, 4), "posix.system"),
        "protocol 5": (pickle.dumps(Runs(command), 5), "posix.system|nt.system"),
        "global": (b"\x80\x02cos\nsystem\n" + arguments + b"R.", "os.system"),
        "eval": (b"\x80\x02cbuiltins\neval\n(" + text(f"open({str(sentinel)!r}, 'w')") + b"tR.", "builtins.eval"),
        "through torch": (b"\x80\x02" + torch_load + arguments + b"R.", "torch.serialization.load"),
        "dotted": (
            b"\x80\x04" + text("torch") + text("_utils.os.system") + b"\x93" + arguments + b"R.",
            "torch._utils",
        ),
        "not a name": (b"\x80\x04K\x01K\x02\x93" + arguments + b"R.", "'?'"),
        "instance": (b"\x80\x02(" + text(command) + b"ios\nsystem\n.", "INST"),
        "object": (b"\x80\x02(cos\nsystem\n" + text(command) + b"o.", "os.system"),
        "new object": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        "extension": (b"\x80\x02\x82\x01.", "EXT1"),
        "string as callee": (b"\x80\x02" + text("os.system") + arguments + b"R.", "calls something"),
        "state": (b"\x80\x02ctorch\nSize\n}b.", "fills a _Rebuilder as if it were a dict"),
        "persistent id": (b"\x80\x02(" + text("module") + b"tQ.", "other than a storage"),
    }


@pytest.mark.parametrize("kind", payloads(Path("x")))
@pytest.mark.parametrize("container", ["archive", "raw"])
def test_nothing_in_a_pickle_runs(tmp_path: Path, sentinel: Path, kind: str, container: str) -> None:
    stream, culprit = payloads(sentinel)[kind]
    path = tmp_path / "hostile.pt"
    if container == "archive":
        assert_refused(archive(path, stream), culprit)
    else:
        path.write_bytes(stream)
        assert_refused(path, "is not a file that torch.save wrote")


def test_the_payloads_would_run(sentinel: Path) -> None:
    stream, _ = payloads(sentinel)["global"]
    pickle.loads(stream)
    sentinel.unlink()  # it was there: the tests above can fail


def test_what_torch_says_of_a_legacy_file_becomes_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Torch:
        __version__ = "2.6.0"

        @staticmethod
        def load(path: Path, **options: object) -> None:
            assert options == {"map_location": "cpu", "weights_only": True}
            raise pickle.UnpicklingError("Unsupported global: GLOBAL os.system\n\tmany more lines")

    monkeypatch.setitem(sys.modules, "torch", Torch)  # type: ignore[arg-type]
    (tmp_path / "legacy.pt").write_bytes(LEGACY_MAGIC)
    assert_refused(tmp_path / "legacy.pt", r"torch refuses it \(Unsupported global: GLOBAL os\.system\)")


def test_legacy_file_with_code_is_refused(tmp_path: Path, sentinel: Path) -> None:
    """With torch by torch's restricted unpickler, without it unread."""
    path = tmp_path / "legacy.pt"
    path.write_bytes(LEGACY_MAGIC + payloads(sentinel)["reduce"][0])
    assert_refused(path, "before 1.6")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"shape": (5,)}, "asks for 5 elements, the last at 4, of a storage that has 4"),
        ({"offset": 1}, "the last at 4, of a storage that has 4"),
        ({"strides": (2,)}, "the last at 6, of a storage that has 4"),
        ({"shape": (2**40,), "strides": (0,)}, "asks for 1099511627776 elements, the last at 0"),
        ({"shape": (2**40, 2**40, 2**40), "strides": (0, 0, 0)}, "asks for"),
        ({"shape": (0, 2**62, 2**62), "strides": (1, 1, 1)}, "has the shape"),
        ({"n_elements": 2**40, "shape": (2**40,)}, "is in a storage of 16 bytes that claims 1099511627776 elements"),
        ({"n_elements": 3, "shape": (3,)}, "is in a storage of 16 bytes that claims 3 elements"),
        ({"shape": (-4,)}, "has sizes and strides that do not fit together"),
        ({"offset": 3, "strides": (-1,)}, "has sizes and strides that do not fit together"),
        ({"offset": -1}, "has sizes and strides that do not fit together"),
        ({"shape": (2, 2)}, "has sizes and strides that do not fit together"),
        ({"shape": (1,) * 65, "strides": (1,) * 65}, "has sizes and strides that do not fit together"),
        ({"key": "7"}, "is in the storage '7', which the archive does not have"),
        ({"key": "../0"}, "is in the storage '../0', which the archive does not have"),
    ],
    ids=str,
)
def test_a_tensor_stays_within_its_storage(tmp_path: Path, tensor: dict, message: str) -> None:
    assert_refused(one_tensor(tmp_path / "t.pt", **tensor), re.escape(message), "module.cls_token")


def test_strided_views_within_their_storage_are_read(tmp_path: Path) -> None:
    path = one_tensor(tmp_path / "t.pt", offset=1, shape=(2, 1), strides=(2, 2**62))
    assert read_torch(path).tensors["cls_token"].tolist() == [[1], [3]]


def test_storages_cannot_be_multiplied_by_naming_them_often(tmp_path: Path) -> None:
    tensor = StridedTensor(Storage("0", np.dtype(np.float32), 100_000), 0, (100_000,), (1,))
    stream = write_pickle([(f"t{i}", tensor) for i in range(20)])
    path = archive(tmp_path / "t.pt", stream, {"0": bytes(400_000)})
    assert_refused(path, "shares its storages so often that they pass for 8000000 bytes")


def test_a_bool_is_zero_or_one(tmp_path: Path) -> None:
    tensor = StridedTensor(Storage("0", np.dtype(np.bool_), 2), 0, (2,), (1,))
    path = archive(tmp_path / "t.pt", write_pickle([("mask", tensor)]), {"0": b"\x01\x07"})
    assert_refused(path, "is bool but has bytes other than 0 and 1", "mask")


def test_a_tensor_there_twice_is_named(tmp_path: Path) -> None:
    tensor = StridedTensor(Storage("0", np.dtype(np.float32), 4), 0, (4,), (1,))
    path = archive(tmp_path / "t.pt", write_pickle([("w", tensor), ("w", tensor)], "model"), {"0": FLOATS})
    assert_refused(path, "its data.pkl holds 'w' twice")


@pytest.mark.parametrize(
    ("root", "message"),
    [
        (["a list"], "holds a list instead of a state dict"),
        ({}, "holds an empty state dict"),
        ({"model": {}}, "holds an empty state dict"),
        ({"model": {"w": 1.0}}, "has the entry 'w' of type float"),
        ({"net": {"w": 1.0}}, "has the entry 'net' of type dict .* under 'model' or 'state_dict'"),
        ({1: 2}, "has the entry '1' of type int"),
        ({"model": {"a": 1}, "state_dict": {"b": 2}}, "holds two state dicts, 'model' and 'state_dict'"),
        ({("a", "b"): 1}, "has a dictionary key of type tuple"),
        ({"model": {"\x1b[2J\n" * 100: 1}}, re.escape("has the entry '\\x1b[2J\\n\\x1b[2J")),
    ],
    ids=str,
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, root: object, message: str) -> None:
    assert_refused(archive(tmp_path / "t.pt", pickle.dumps(root, 2)), message)


@pytest.fixture
def valid_pt(tmp_path: Path) -> bytes:
    return valid_torch_file(tmp_path / "valid.pt")


def test_every_truncation_is_refused(tmp_path: Path, valid_pt: bytes) -> None:
    valid_safetensors = valid_safetensors_file(tmp_path / "valid.safetensors")
    for content, read in ((valid_pt, read_torch), (valid_safetensors, read_safetensors)):
        for length in range(0, len(content) - 1):
            path = tmp_path / f"cut_{length}"
            path.write_bytes(content[:length])
            assert_refused(path, "", read=read)


def test_what_holds_no_checkpoint_is_refused(tmp_path: Path) -> None:
    for read in READERS:
        (tmp_path / "empty").touch()
        assert_refused(tmp_path / "empty", "is empty", read=read)
        (tmp_path / "text").write_text("Not a checkpoint at all.\n" * 9)
        assert_refused(tmp_path / "text", "is not a", read=read)
        assert_refused(tmp_path / "absent", "there is no such file", read=read)
        assert_refused(Path("/dev/null"), "is no regular file", read=read)
        with pytest.raises(CheckpointError, match="cannot be read"):
            read(tmp_path / "n\0l")
    assert_refused(tmp_path, "is a folder where a checkpoint file is needed")


def test_a_tar_archive_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "old.pt", "w") as written:
        written.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    assert_refused(tmp_path / "old.pt", "is a tar archive as torch wrote before")


DIRECTORY_FIELDS = {
    "flags": (8, "<H"),
    "method": (10, "<H"),
    "stored": (20, "<I"),
    "size": (24, "<I"),
    "at": (42, "<I"),
}


def with_directory(content: bytes, entry: str, **fields: int) -> bytes:
    """The archive with other values in one entry of its central directory."""
    changed = bytearray(content)
    record = content.rindex(f"archive/{entry}".encode()) - 46
    for field, value in fields.items():
        offset, kind = DIRECTORY_FIELDS[field]
        struct.pack_into(kind, changed, record + offset, value)
    return bytes(changed)


def directory_value(content: bytes, entry: str, field: str) -> int:
    offset, kind = DIRECTORY_FIELDS[field]
    return struct.unpack_from(kind, content, content.rindex(f"archive/{entry}".encode()) - 46 + offset)[0]


def test_storages_that_overlap_are_refused(tmp_path: Path, valid_pt: bytes) -> None:
    path = tmp_path / "t.pt"
    first = directory_value(valid_pt, "data/0", "at")
    path.write_bytes(with_directory(valid_pt, "data/1", at=first, stored=1, size=1))
    assert_refused(path, "is in archive entries that overlap, 'data/0' and 'data/1'", "w")
    path.write_bytes(with_directory(valid_pt, "data/1", stored=200, size=200))
    assert_refused(path, "is in archive entries that overlap, 'data/1' and 'data/2'", "mask")
    path.write_bytes(with_directory(valid_pt, "version", at=directory_value(valid_pt, "byteorder", "at")))
    assert_refused(path, "has archive entries that overlap, 'byteorder' and 'version'")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stored": 2**31, "size": 2**31}, "'archive/data/0' reaches beyond the end of the file"),
        ({"size": 2**31}, "'archive/data/0' reaches beyond the end of the file"),
        ({"at": 7}, "'archive/data/0' is not where the archive's directory says"),
        ({"at": 2**31}, "'archive/data/0' is not where the archive's directory says"),
        ({"flags": 1}, "'archive/data/0' is encrypted"),
        ({"method": 8}, "'archive/data/0' is compressed; torch.save stores"),
        ({"method": 77}, "'archive/data/0' is compressed"),
    ],
    ids=str,
)
def test_an_entry_that_is_not_simply_there_is_refused(
    tmp_path: Path, valid_pt: bytes, fields: dict[str, int], message: str
) -> None:
    path = tmp_path / "t.pt"
    path.write_bytes(with_directory(valid_pt, "data/0", **fields))
    assert_refused(path, f"its archive entry {message}")


def zip_of(path: Path, entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of the names that come twice on purpose
        with zipfile.ZipFile(path, "w", compression) as written:
            for name, data in entries:
                written.writestr(name, data)
    return path


PICKLED = write_pickle([("w", StridedTensor(Storage("0", np.dtype(np.float32), 4), 0, (4,), (1,)))])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("archive/version", b"3")], "0 entries called data.pkl"),
        ([("a/data.pkl", PICKLED), ("b/data.pkl", PICKLED)], "2 entries called data.pkl"),
        ([("a/data.pkl", PICKLED), ("a/data/0", FLOATS), ("a/data/0", FLOATS)], "the archive entry 'data/0' twice"),
        ([("a/data.pkl", PICKLED), ("b/data/0", FLOATS)], "tensor 'w' is in the storage '0', which the archive does"),
        ([("a/data.pkl", PICKLED), ("a/data/0", FLOATS), ("a/constants.pkl", b"")], "is a TorchScript archive"),
        ([("a/data.pkl", PICKLED), ("a/data/0", FLOATS), ("a/byteorder", b"big")], "has the byte order 'big'"),
        ([("a/data.pkl", PICKLED + bytes(9 << 20)), ("a/data/0", FLOATS)], "its data.pkl is longer than"),
    ],
    ids=range(7),
)
def test_an_archive_of_other_things_is_refused(tmp_path: Path, entries: list[tuple[str, bytes]], message: str) -> None:
    assert_refused(zip_of(tmp_path / "t.pt", entries), message)


def test_compression_is_refused_before_it_expands(tmp_path: Path) -> None:
    bomb = zip_of(tmp_path / "bomb.pt", [("a/data.pkl", bytes(50 << 20))], zipfile.ZIP_DEFLATED)
    with at_most(MAX_MEMORY_BYTES // 10):
        assert_refused(bomb, "is compressed")


def test_an_archive_cannot_claim_memory_by_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_zip, "MAX_DIRECTORY_BYTES", 10_000)
    path = zip_of(tmp_path / "t.pt", [(f"a/{i}", b"") for i in range(1000)])
    assert_refused(path, "its directory has [0-9]+ bytes")


@pytest.mark.parametrize("n_header", [2**63, 2**40, (16 << 20) + 1])
def test_a_header_cannot_claim_memory(tmp_path: Path, n_header: int) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(struct.pack("<Q", n_header) + b"{}")
    with at_most(MAX_MEMORY_BYTES // 10):
        assert_refused(path, f"its header would have {n_header} bytes", read=read_safetensors)
