"""What all published data sets have in common, on a download of a few small images."""

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data import miniature
from tests.data.raw_sets import prepare, records, stored
from zoe_jax import cli
from zoe_jax.input.on_beam import cause_of_failure
from zoe_jax.input.prepare import PreparationError, find_preparation, preparation_names
from zoe_jax.input.records import DepthMetadata
from zoe_jax_data.nyu_depth_v2.builder import ZoeNyuDepthV2
from zoe_jax_data.raw import RawConfig, RawOptions, RawPreparation
from zoe_jax_data.raw_files import CopiedPair

NAME = "zoe_nyu_depth_v2/castles"
SIZES = {"train": [(6, 8)] * 5 + [(7, 9)], "test": [(6, 8)] * 2}


@dataclass(frozen=True)
class CountedPair(CopiedPair):
    """Writes down that it was read."""

    def features(self) -> dict[str, Any]:
        with (self.image.parents[1] / "read.txt").open("a") as file:
            file.write(f"{self.id}\n")
        return super().features()


def find(options: RawOptions) -> Sequence[RawConfig]:
    splits = {
        split: [
            CountedPair(
                f"{split}/{index}", options.raw / split / f"{index}.png", options.raw / split / f"{index}_d.png"
            )
            for index in range(len(sizes))
        ]
        for split, sizes in SIZES.items()
    }
    return [RawConfig(name="castles", metadata=DepthMetadata(0, 10, 1000, "nyu"), splits=splits, notes=["Castles."])]


CASTLES = RawPreparation("castles", "Castles.", ZoeNyuDepthV2, RawOptions, find)


def with_splits(change: Callable[[dict[str, Any]], dict[str, Any]]) -> RawPreparation:
    def changed(options: RawOptions) -> Sequence[RawConfig]:
        (config,) = find(options)
        return [replace(config, splits=change(dict(config.splits)))]

    return replace(CASTLES, find=changed)


def write_raw(folder: Path, low_m: float = 1, high_m: float = 5) -> Path:
    for split, sizes in SIZES.items():
        for index, (height, width) in enumerate(sizes):
            random = np.random.RandomState(index)
            miniature.write_image(folder / f"{split}/{index}.png", miniature.image(random, height, width))
            hole = np.arange(width) < width // 4
            depth_m = miniature.depth(random, height, width, low_m, high_m)
            miniature.write_depth(folder / f"{split}/{index}_d.png", depth_m, 1000, hole)
    return folder


def reads(raw: Path) -> list[str]:
    return (raw / "read.txt").read_text().split()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "raw")


def test_the_summary_says_what_was_written(tmp_path: Path, raw: Path) -> None:
    summary = prepare(CASTLES, tmp_path / "data", raw)
    train, test = summary.splits["train"], summary.splits["test"]
    assert (summary.name, summary.notes, summary.was_there) == (NAME, ("Castles.",), False)
    assert (train.count, test.count) == (6, 2)
    assert train.sizes == {(6, 8): 5, (7, 9): 1}
    depths = np.concatenate([record.depth_m.ravel() for record in records(tmp_path / "data", NAME, "train")])
    valid = depths[depths > 0]
    assert (train.depth.min_depth_m, train.depth.max_depth_m) == (valid.min(), valid.max())
    assert train.depth.invalid_share == pytest.approx(1 - valid.size / depths.size)
    assert len(train.checksum) == 64
    assert train.checksum != test.checksum


def test_records_are_the_files(tmp_path: Path, raw: Path) -> None:
    prepare(CASTLES, tmp_path / "data", raw)
    for index, record in enumerate(stored(tmp_path / "data", NAME, "train")):
        assert record["id"].decode() == f"train/{index}"
        assert record["image"] == (raw / f"train/{index}.png").read_bytes()
        assert record["depth"] == (raw / f"train/{index}_d.png").read_bytes()


def test_records_do_not_depend_on_the_number_of_threads(tmp_path: Path, raw: Path) -> None:
    one = prepare(CASTLES, tmp_path / "one", raw, jobs=1)
    four = prepare(CASTLES, tmp_path / "four", raw, jobs=4)
    assert one.splits == four.splits
    assert one.splits["train"].checksum


def test_what_is_finished_is_not_read_again(tmp_path: Path, raw: Path) -> None:
    first = prepare(CASTLES, tmp_path / "data", raw)
    (raw / "read.txt").write_text("")
    again = prepare(CASTLES, tmp_path / "data", raw)
    assert again == replace(first, was_there=True)
    assert reads(raw) == []
    assert not prepare(CASTLES, tmp_path / "data", raw, overwrite=True).was_there
    assert len(reads(raw)) == 8


def test_other_files_are_not_taken_for_the_ones_before(tmp_path: Path, raw: Path) -> None:
    prepare(CASTLES, tmp_path / "data", raw)
    with (raw / "train/0.png").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(PreparationError, match="is there, made with another train; overwrite it"):
        prepare(CASTLES, tmp_path / "data", raw)


def test_an_interrupted_preparation_goes_on_at_the_unfinished_split(tmp_path: Path, raw: Path) -> None:
    whole = prepare(CASTLES, tmp_path / "whole", raw)
    image = raw / "test/1.png"
    content = image.read_bytes()
    image.write_bytes(content[:60].ljust(len(content), b"\0"))  # of the same size, so that it is the same download
    with pytest.raises(PreparationError, match=r"test/1\.png"):
        prepare(CASTLES, tmp_path / "data", raw)
    assert not (tmp_path / "data" / NAME / "1.0.0").exists()
    image.write_bytes(content)
    (raw / "read.txt").write_text("")
    assert prepare(CASTLES, tmp_path / "data", raw).splits == whole.splits
    assert sorted(reads(raw)) == ["test/0", "test/1"]


@pytest.mark.parametrize("name", ["train/3.png", "train/3_d.png"])
def test_a_damaged_file_is_named(tmp_path: Path, raw: Path, name: str) -> None:
    (raw / name).write_bytes((raw / name).read_bytes()[:60])
    with pytest.raises(PreparationError, match=name):
        prepare(CASTLES, tmp_path / "data", raw)
    assert not list((tmp_path / "data").glob("**/*.array_record*"))


def test_missing_files_are_counted_and_named_before_anything_is_written(tmp_path: Path, raw: Path) -> None:
    for index in range(6):
        (raw / f"train/{index}_d.png").unlink()
    expected = r"castles, split train, of 6 examples: 6 files are missing: .*raw/train/0_d\.png, .*4_d\.png and 1 more"
    with pytest.raises(PreparationError, match=expected):
        prepare(CASTLES, tmp_path / "data", raw)
    assert not (tmp_path / "data").exists()
    assert list(prepare(CASTLES, tmp_path / "data", raw, only=("test",)).splits) == ["test"]


def test_a_split_without_examples_is_refused(tmp_path: Path, raw: Path) -> None:
    with pytest.raises(PreparationError, match="castles, split test is empty"):
        prepare(with_splits(lambda splits: {**splits, "test": []}), tmp_path / "data", raw)


def test_two_examples_of_one_name_are_refused(tmp_path: Path, raw: Path) -> None:
    twice = with_splits(lambda splits: {**splits, "test": [*splits["test"], splits["test"][0]]})
    with pytest.raises(PreparationError, match="castles, split test: two examples are called 'test/0'"):
        prepare(twice, tmp_path / "data", raw)


def test_depth_of_a_wrong_scale_is_refused(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", 20, 60)
    expected = r"train: in none of its 6 records is any depth between 0 and 10 m.*1000 units of the files for a metre"
    with pytest.raises(PreparationError, match=expected):
        prepare(CASTLES, tmp_path / "data", raw)
    assert not list((tmp_path / "data").glob("**/*.array_record*"))


def test_options_that_make_no_sense_are_refused(tmp_path: Path, raw: Path) -> None:
    with pytest.raises(PreparationError, match="--only night: there is no such split; there are test, train"):
        prepare(CASTLES, tmp_path / "data", raw, only=("night", "test"))
    with pytest.raises(PreparationError, match="name its --beam-runner as well"):
        prepare(CASTLES, tmp_path / "data", raw, beam_option=("project=mine",))
    with pytest.raises(PreparationError, match="is no folder"):
        prepare(CASTLES, tmp_path / "data", tmp_path / "nowhere")


def test_the_home_folder_may_be_a_tilde(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepare(CASTLES, tmp_path / "data", Path("~/raw")).name == NAME


def test_beam_is_an_extra(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(PreparationError, match=r"Apache Beam cannot be imported .* pip install 'zoe_jax\[beam\]'"):
        prepare(CASTLES, tmp_path / "data", raw, beam_runner="DirectRunner")


def test_the_cause_is_found_in_a_workers_traceback() -> None:
    traceback = (
        "Traceback (most recent call last):\n  raise PreparationError(text)\n"
        "zoe_jax.input.prepare.PreparationError: 7.png is truncated [while running 'train/Read-ptransform-12']\n"
    )
    assert cause_of_failure(RuntimeError(traceback)) == "7.png is truncated"
    assert cause_of_failure(PreparationError("7.png is bad [while running 'train/Read']")) == "7.png is bad"
    assert cause_of_failure(OSError("disk full")) == "OSError: disk full"


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = miniature.make("nyu_test", tmp_path / "raw")
    common = ["prepare", "nyu_depth_v2", "--raw", str(raw), "--data-dir", str(tmp_path / "data"), "--splits", str(raw)]
    report = tmp_path / "report.json"
    assert cli.main([*common, "--jobs", "2", "--report", str(report)]) == 0
    assert "test: 2 images, width x height 640x480" in capsys.readouterr().out
    (data_set,) = json.loads(report.read_text())["data_sets"]
    assert data_set["splits"]["test"]["count"] == 2
    assert cli.main([*common, "--only", "train"]) == 2
    assert "--only train: there is no such split; there are test" in capsys.readouterr().err


PUBLISHED = sorted(set(preparation_names()) - {"folder", "rooms_and_roads"})


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_announced(name: str) -> None:
    assert find_preparation(name) is importlib.import_module(f"zoe_jax_data.{name}").PREPARATION


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("ddad", "a_rgb.png"),
        ("diml", "diml_indoor_test/LR/scene/color/a_c.png"),
        ("diml", "diml_outdoor_test/scene/outleft/a.png"),
        ("diode", "val/indoors/scene_1/scan_1/a.png"),
        ("sun_rgbd", "rgb/rgb/a.jpg"),
        ("virtual_kitti", "test_color/a.png"),
    ],
)
def test_hidden_files_are_no_images(tmp_path: Path, name: str, image: str) -> None:
    (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / image).touch()
    (tmp_path / image).with_name(f"._{Path(image).name}").touch()  # as archives from macOS have it beside each file
    preparation = find_preparation(name)
    (config,) = preparation.find(preparation.options(tmp_path))
    ((example,),) = config.splits.values()
    assert example.files[0] == tmp_path / image


@pytest.mark.parametrize("name", PUBLISHED)
def test_help_says_where_to_get_it_and_what_is_expected(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["prepare", name, "--help"])
    text = capsys.readouterr().out
    for word in ("Where to get it: http", "icence", "Expected under `--raw`", "Result: `zoe_", "Citation: ", "Traps: "):
        assert word in text
    # paragraphs are of one line, so that a terminal of any width may break them; what is indented keeps its lines
    assert any(line.startswith("    ") for line in text.splitlines())
    assert len(PUBLISHED) == 10
