"""The machine that reads pickle streams: what it takes, what it refuses, and that it cannot be made to swell."""

import contextlib
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.convert.hostile import MAX_MEMORY_BYTES, archive, assert_refused, at_most, text
from zoe_jax.convert import torch_pickle
from zoe_jax.convert.torch_pickle import PickleStreamError, read_pickle


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"\x80\x02.", "stack"),
        (b"\x80\x02}}.", "stack"),
        (b"\x80\x02}(.", "stack"),
        (b"\x80\x02}t.", "never opened"),
        (b"\x80\x02(K\x01s.", "takes more from its stack"),
        (b"\x80\x02}(K\x01u.", "key without a value"),
        (b"\x80\x02]K\x01K\x02s.", "fills a list as if it were a dict"),
        (b"\x80\x02}K\x01a.", "fills a dict as if it were a list"),
        (b"\x80\x02h\x07.", "recalls an object 7"),
        (b"\x80\x02q\x00.", "takes more from its stack"),
        (b"\x80\x02}.}", "goes on after its end"),
        (b"\x80\x02}", "damaged"),
        (b"\x80\x09}.", "protocol 9"),
        (b"\x80\x02I1\n.", "operation INT"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "damaged"),
        (b"\x80\x02X\x01\x00\x00\x00\xff.", "damaged"),
        (b"", "damaged"),
        (b"\xff", "damaged"),
        (b"\x80\x02" + b"(" * 65, "more than 64 deep"),
        (b"\x80\x02" + b"0" * 20, "operation POP"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "a sequence of something that is none"),
        (b"\x80\x02ccollections\nOrderedDict\n]K\x01a\x85R.", "something other than pairs"),
        (b"\x80\x02ctorch\nSize\n)R.", "calls Size with 0 arguments"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x00K\x00))tR.", "a tensor by something other than"),
    ],
)
def test_a_malformed_stream_is_refused(stream: bytes, message: str) -> None:
    with pytest.raises(PickleStreamError, match=message):
        read_pickle(stream)


def test_plain_python_is_read() -> None:
    plain = {"a": [1, 2.5, None, True, (b"raw", "text")], "b": {3: -(2**70), "c": (), "d": []}, "e": (1, 2, 3, 4)}
    for protocol in (3, 4, 5):
        assert read_pickle(pickle.dumps(plain, protocol)) == plain
    assert read_pickle(pickle.dumps({"set": {1}}, 4)) == {"set": [1]}
    old_ordered_dict = b"\x80\x02ccollections\nOrderedDict\n]](K\x01K\x02ea\x85R."
    assert read_pickle(old_ordered_dict) == {1: 2}


FRAGMENTS = [
    *(b"(", b"t", b")", b"\x85", b"\x86", b"\x87", b"]", b"a", b"e", b"}", b"s", b"u", b"R", b"Q", b"b", b"N", b"\x88"),
    *(
        b"K\x00",
        b"K\x04",
        b"J\xff\xff\xff\xff",
        b"\x8a\x09" + b"\xff" * 8 + b"\x01",
        b"G" + bytes(8),
        b"q\x00",
        b"h\x00",
    ),
    *(b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff", b"\x94", b"\x93", b"\x8f", b"\x90", b"0", b"2", b"\x81", b"o"),
    *(text("storage"), text("0"), text("cpu"), text("model"), text("torch"), text("FloatStorage")),
    *(b"cos\nsystem\n", b"ctorch\nFloatStorage\n", b"ctorch\nSize\n", b"ccollections\nOrderedDict\n"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n"),
    b"((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ",
]


@settings(max_examples=500, deadline=None)
@given(fragments=st.lists(st.sampled_from(FRAGMENTS), max_size=40))
def test_any_sequence_of_operations_is_read_or_refused(fragments: list[bytes]) -> None:
    stream = b"\x80\x02" + b"".join(fragments) + b"."
    with contextlib.suppress(PickleStreamError):  # no other error, and no crash
        read_pickle(stream)


@pytest.mark.parametrize(
    "stream",
    [
        b"}r\xff\xff\xff\xff.",  # a memo index that makes Python's unpickler allocate 32 GB
        b"X\xff\xff\xff\x7f.",
        b"\x8d" + b"\xff" * 7 + b"\x7f.",
        b"\x95" + b"\xff" * 8 + b".",
        b"\x8b\xff\xff\xff\x7f.",
        b"B\xff\xff\xff\x7f.",
        b"(" * 5_000,
        b")" + b"\x85" * 5_000 + b".",
        b"]" + b"q\x00h\x00a" * 2_000 + b".",
        b"(" + b"}" * 5_000 + b"t.",
    ],
    ids=range(10),
)
def test_a_stream_cannot_claim_memory(tmp_path: Path, stream: bytes) -> None:
    path = archive(tmp_path / "t.pt", b"\x80\x02" + stream)
    with at_most(MAX_MEMORY_BYTES // 40):  # Python's own overhead, 1 kB an operation at the very most
        assert_refused(path, "data.pkl|instead of a state dict|an empty state dict")


def test_the_number_of_operations_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_pickle, "MAX_OPCODES", 100)
    with pytest.raises(PickleStreamError, match="more than 100 operations"):
        read_pickle(b"\x80\x02(" + b"}" * 100 + b"t.")
