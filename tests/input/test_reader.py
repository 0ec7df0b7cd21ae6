"""Records of prepared data sets, read back as they were written, and everything that can be wrong with them."""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.input import tiny_data
from zoe_jax.input.reader import PreparedReader, Reader, find_prepared
from zoe_jax.input.source import DataError
from zoe_jax.input.summary import SUMMARY_FILE


@pytest.mark.parametrize("name", ["png", "roads", "float"])
def test_records_are_what_was_written(data_dir: Path, name: str) -> None:
    reader = PreparedReader(f"zoe_tiny/{name}", "train", str(data_dir))
    assert isinstance(reader, Reader)
    assert len(reader) == tiny_data.N_TRAIN
    records = [reader[index] for index in reader.evaluation_order()]
    assert [record.id for record in records] == tiny_data.ids(name)
    for i, record in enumerate(records):
        # JPEG loses up to three grey levels of these ramps
        assert np.abs(record.image.astype(int) - tiny_data.picture(i)).max() <= (4 if name == "roads" else 0)
        # millimetres are exact in 16 bits, and divided in float32
        np.testing.assert_array_equal(record.depth_m, tiny_data.depth(i))
        assert record.domain == ("kitti" if name == "roads" else "nyu")
        if name == "float":
            assert record.valid_mask is not None
            assert record.valid_mask[0].tolist() == [False] * 4 + [True] * (tiny_data.WIDTH - 4)
        else:
            assert record.valid_mask is None
    assert reader.range_m == (1e-3, 60.0)


def test_a_split_may_be_a_slice(data_dir: Path) -> None:
    parts = [PreparedReader("zoe_tiny/png", f"train[{part}]", str(data_dir)) for part in (":5", "5:")]
    assert [len(part) for part in parts] == [5, 8]
    found = [part[index].id for part in parts for index in range(len(part))]
    assert sorted(found) == tiny_data.ids("png")


def test_a_reader_serves_threads_and_goes_to_other_processes(data_dir: Path) -> None:
    reader = PreparedReader("zoe_tiny/png", "train", str(data_dir))
    expected = [reader[index].id for index in range(len(reader))]
    again = pickle.loads(pickle.dumps(reader))
    with ThreadPoolExecutor(8) as pool:
        for either in (reader, again):
            assert list(pool.map(lambda index, r=either: r[index % len(r)].id, range(400))) == [
                expected[index % len(expected)] for index in range(400)
            ]


def test_a_data_set_is_found_by_name_and_by_path(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data_dir / "zoe_tiny" / "png" / "1.0.0"
    assert find_prepared("zoe_tiny/png", str(data_dir)) == folder
    assert find_prepared("zoe_tiny/png/1.0.0", str(data_dir)) == folder
    assert find_prepared(str(folder), str(tmp_path)) == folder
    assert find_prepared(str(folder.parent), str(tmp_path)) == folder
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert find_prepared("zoe_tiny/png") == folder


def test_the_highest_version_is_taken(data_dir: Path, tmp_path: Path) -> None:
    for version in ("1.9.0", "1.10.0", "1.2.0"):
        shutil.copytree(data_dir / "zoe_tiny" / "png" / "1.0.0", tmp_path / "zoe_tiny" / "png" / version)
    assert find_prepared("zoe_tiny/png", str(tmp_path)).name == "1.10.0"


def test_missing_data_names_what_would_make_it(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError, match=re.escape(f"no data set 'zoe_castles' in {data_dir}: there are zoe_tiny/float")
    ):
        find_prepared("zoe_castles", str(data_dir))
    monkeypatch.setattr("zoe_jax.input.reader.preparation_names", lambda: ["castles"])
    with pytest.raises(DataError, match="`zoe-jax prepare castles` makes it"):
        find_prepared("zoe_castles/large", str(data_dir))
    with pytest.raises(DataError, match="several data sets: name one of zoe_tiny/float, zoe_tiny/odd, zoe_tiny/png"):
        find_prepared("zoe_tiny", str(data_dir))


@pytest.mark.parametrize("split", ["nope", "train[:", "train[500:]"])
def test_a_missing_split_names_those_that_are_there(data_dir: Path, split: str) -> None:
    with pytest.raises(DataError, match=r"there is no such split; there are train, validation"):
        PreparedReader("zoe_tiny/png", split, str(data_dir))


def test_a_data_set_of_another_kind_is_refused(own_data: Callable[..., Path]) -> None:
    folder = own_data("png")
    (folder / "metadata.json").write_text(json.dumps({"curator": "somebody"}))
    with pytest.raises(DataError, match=r"is no depth data set; one that `zoe-jax prepare` wrote has in its metadata"):
        PreparedReader(str(folder), "train")


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_a_folder_that_was_cut_off_is_refused(own_data: Callable[..., Path], file: str) -> None:
    folder = own_data("png")
    content = (folder / file).read_text()
    (folder / file).write_text(content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"{folder}: cannot be opened: .*; prepare the data set anew"):
        PreparedReader(str(folder), "train")
    if file == "features.json":
        (folder / file).unlink()
        with pytest.raises(DataError, match="cannot be opened"):
            PreparedReader(str(folder), "train")


def test_the_checksum_is_that_of_every_split_in_use(own_data: Callable[..., Path]) -> None:
    folder = own_data("png")

    def checksum(split: str, **stored: str) -> str:
        splits = {name: {"checksum": value} for name, value in stored.items()}
        (folder / SUMMARY_FILE).write_text(json.dumps({"summary": {"splits": splits}}))
        return PreparedReader(str(folder), split).checksum

    assert checksum("train", train="t", validation="v") == checksum("train[:50%]", train="t") == "t"
    assert checksum("train[:50%] + validation", train="t", validation="v") == "t+v"
    assert checksum("train+validation", train="t", validation="") == ""


def test_a_damaged_record_is_named(own_data: Callable[..., Path]) -> None:
    folder = own_data("png")
    (file,) = folder.glob("*train.array_record*")
    content = bytearray(file.read_bytes())
    # records are compressed, 64 KiB aligned at most, and the file's index stands at its end
    content[2000:2040] = bytes(40)
    file.write_bytes(content)
    reader = PreparedReader(str(folder), "train")
    refused = []
    for index in range(len(reader)):
        try:
            reader[index]
        except DataError as error:
            refused.append((index, str(error)))
    assert 1 <= len(refused) < tiny_data.N_TRAIN
    for index, message in refused:
        assert re.match(rf"{folder}: record {index} of split 'train' cannot be read: .*; prepare the data", message)
    with pytest.raises(DataError, match=f"record {refused[0][0]} of split 'train' cannot be read"):
        reader.evaluation_order()


def test_a_record_without_an_image_is_named(own_data: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    reader = PreparedReader(str(own_data("png")), "train")
    first = reader._records[0] | {"image": b"no image"}
    monkeypatch.setattr(reader, "_records", [first])
    with pytest.raises(DataError, match=rf"record 0 \({first['id'].decode()}\) of split 'train' cannot be read.*image"):
        reader[0]


def test_missing_files_are_named(own_data: Callable[..., Path]) -> None:
    folder = own_data("png")
    for file in folder.glob("*train.array_record*"):
        file.unlink()
    with pytest.raises(DataError, match=rf"^{re.escape(str(folder))}.*train"):
        PreparedReader(str(folder), "train")[0]
