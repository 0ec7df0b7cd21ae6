"""Files that are there whole or not at all."""

import os

import pytest

from zoe_jax.errors import ZoeJaxError
from zoe_jax.whole_file import replaced, write_whole


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.npy"
    target.write_bytes(b"old")

    def fail():
        with replaced(target) as file:
            file.write(b"half of the new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    with pytest.raises(UnicodeEncodeError):
        write_whole(target, "half of \ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    assert target.read_bytes() == b"old"


def test_the_old_file_is_there_until_the_new_one_is_whole_and_the_last_of_two_writers_wins(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with replaced(target) as first, replaced(target) as second:
        first.write(b"first")
        second.write(b"second")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


def test_names_may_be_as_long_as_the_system_allows(tmp_path):
    longest = tmp_path / ("n" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    write_whole(longest, "text")
    assert longest.read_text(encoding="utf-8") == "text"


def test_text_goes_to_a_new_folder_and_what_is_impossible_is_named(tmp_path):
    write_whole(tmp_path / "new/folder/file", "ümlaut")
    assert (tmp_path / "new/folder/file").read_bytes() == "ümlaut".encode()
    with pytest.raises(ZoeJaxError, match=r"file/report\.html cannot be written: Not a directory"):
        write_whole(tmp_path / "new/folder/file/report.html", "text")
