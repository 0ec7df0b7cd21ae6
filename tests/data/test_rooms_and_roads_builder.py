"""`zoe-jax prepare rooms_and_roads`: scenes become records, bit by bit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from zoe_jax import cli
from zoe_jax.input.prepare import PreparationError, find_preparation, silent
from zoe_jax.input.reader import PreparedReader
from zoe_jax.input.summary import Summary
from zoe_jax_data.rooms_and_roads import builder, render
from zoe_jax_data.rooms_and_roads.builder import FIRST_INDEX, Examples
from zoe_jax_data.rooms_and_roads.preparation import RoomsAndRoadsOptions

SMALL = {"size": (24, 32), "train": 5, "validation": 2, "test": 3}


def prepare(data_dir: Path, jobs: int = 1, **options: Any) -> Summary:
    preparation = find_preparation("rooms_and_roads")
    return preparation.prepare(RoomsAndRoadsOptions(**{**SMALL, **options}), data_dir, jobs, silent)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    data_dir = tmp_path_factory.mktemp("data")
    return data_dir, prepare(data_dir, seed=9)


@pytest.mark.parametrize("kind", ["rooms", "roads"])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_records_are_the_scenes_bit_by_bit(prepared: tuple[Path, Summary], kind: str, split: str) -> None:
    folder = prepared[0] / f"zoe_rooms_and_roads/{kind}/1.0.0"
    source: Any = tfds.builder_from_directory(folder).as_data_source(split)
    records = {record["id"].decode(): record for record in source}
    assert len(records) == SMALL[split]
    for i in range(SMALL[split]):
        scene = render(kind, SMALL["size"], 9, FIRST_INDEX[split] + i)
        record = records[f"{kind}_{split}_{i:07d}"]
        np.testing.assert_array_equal(record["image"], scene.image)
        np.testing.assert_array_equal(record["depth"], scene.depth_m)
        np.testing.assert_array_equal(record["intrinsics"], scene.intrinsics)


@pytest.mark.parametrize(("kind", "max_depth_m"), [("rooms", 10.0), ("roads", 80.0)])
def test_training_reads_domain_and_range(prepared: tuple[Path, Summary], kind: str, max_depth_m: float) -> None:
    reader = PreparedReader(f"zoe_rooms_and_roads/{kind}", "train", str(prepared[0]))
    assert reader.range_m == (0.001, max_depth_m)
    record = reader[0]
    assert record.domain == kind
    assert record.image.shape == (24, 32, 3)


def test_the_summary_counts_both_kinds(prepared: tuple[Path, Summary]) -> None:
    rooms, roads = prepared[1].data_sets
    assert [rooms.name, roads.name] == ["zoe_rooms_and_roads/rooms", "zoe_rooms_and_roads/roads"]
    assert [split.count for split in rooms.splits.values()] == [5, 2, 3]
    assert rooms.splits["train"].depth.invalid_share == 0
    assert 0.1 < roads.splits["train"].depth.invalid_share < 0.5
    assert not rooms.was_there


def test_what_is_there_is_left_and_another_size_is_refused(prepared: tuple[Path, Summary], tmp_path: Path) -> None:
    again = prepare(prepared[0], seed=9)
    assert all(data_set.was_there for data_set in again.data_sets)
    for change in ({"size": (32, 32)}, {"seed": 10}, {"train": 6}):
        with pytest.raises(PreparationError, match=f"another {next(iter(change))}"):
            prepare(prepared[0], **{"seed": 9, **change})


def test_a_data_set_is_replaced_on_request_only(tmp_path: Path) -> None:
    prepare(tmp_path, kinds=("rooms",), validation=0, test=0, train=2)
    prepare(tmp_path, kinds=("rooms",), validation=0, test=0, train=3, overwrite=True)
    assert len(PreparedReader("zoe_rooms_and_roads/rooms", "train", str(tmp_path))) == 3
    assert not (tmp_path / "zoe_rooms_and_roads/roads").exists()


def test_more_processes_give_the_same_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SCENES_A_PROCESS", 2)
    one = dict(Examples("roads", (16, 24), 0, "test", 5, jobs=1))
    two = dict(Examples("roads", (16, 24), 0, "test", 5, jobs=2))
    assert list(one) == list(two)
    for key, example in one.items():
        for name, value in example.items():
            np.testing.assert_array_equal(two[key][name], value)


def test_a_scene_is_the_same_however_many_there_are() -> None:
    few, many = dict(Examples("rooms", (16, 24), 0, "train", 2)), dict(Examples("rooms", (16, 24), 0, "train", 4))
    for key, example in few.items():
        assert many[key]["image"] == example["image"]


def test_splits_share_no_scene() -> None:
    images = [example["image"] for split in FIRST_INDEX for _, example in Examples("rooms", (16, 24), 0, split, 20)]
    assert len(set(images)) == 60


def test_rendering_alone_starts_without_what_only_preparing_needs() -> None:
    code = "import sys; from zoe_jax_data.rooms_and_roads import render; print('tensorflow_datasets' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    arguments = "prepare rooms_and_roads --size 16 24 --train 2 --validation 1 --test 0 --kinds roads --jobs 1"
    assert cli.main([*arguments.split(), "--data-dir", str(tmp_path / "data"), "--report", str(report)]) == 0
    assert "zoe_rooms_and_roads/roads" in capsys.readouterr().out
    (data_set,) = json.loads(report.read_text())["data_sets"]
    assert {name: split["count"] for name, split in data_set["splits"].items()} == {"train": 2, "validation": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (4, 96)}, "--size is 4 96; both must be at least 8 pixels"),
        ({"train": -1}, "--train is -1"),
        ({"train": 0, "validation": 0, "test": 0}, "are all 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"kinds": ()}, "--kinds is empty"),
        ({"kinds": ("rooms", "rooms")}, "both once"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PreparationError, match=message):
        RoomsAndRoadsOptions(**options)
