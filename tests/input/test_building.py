"""Writing a data set: it is there whole or not at all, goes on where it stopped, and is read back once."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow_datasets as tfds

from tests.input import preparing
from tests.input.preparing import SOURCE, little
from zoe_jax.input import building
from zoe_jax.input.building import build
from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.reader import PreparedReader
from zoe_jax.input.summary import OddFile


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def interrupt(*at: Any) -> Any:
    def before(split: str, index: int) -> None:
        if (split, index) == at:
            raise KeyboardInterrupt

    return before


def test_what_is_written_and_what_is_said_of_it(tmp_path: Path) -> None:
    odd = (OddFile("a.png", "unreadable image", "truncated"),)
    summary = build(little(), tmp_path, SOURCE, odd_files=odd, notes=("A word.",), jobs=2)
    assert summary.name == "zoe_little/mine"
    assert summary.folder == str(tmp_path / "zoe_little/mine/1.0.0")
    train = summary.splits["train"]
    assert (train.count, train.sizes) == (3, {(10, 12): 3})
    # rows of NaN and of 20 m, beyond the range, are invalid: 2 of 10
    assert (train.depth.pixels, train.depth.valid_pixels) == (360, 288)
    assert train.depth.invalid_share == pytest.approx(0.2)
    assert (train.depth.min_depth_m, train.depth.max_depth_m) == (1.0, 3.0)
    assert sum(train.depth.histogram) == 288
    assert summary.splits["validation"].count == 2
    # and it is what training reads
    reader = PreparedReader("zoe_little/mine", "train", str(tmp_path))
    record = {reader[index].id: reader[index] for index in range(3)}["train/2"]
    assert record.domain == "nyu"
    assert record.image[0, 0].tolist() == [2, 0, 0]
    assert record.depth_m[5, 5] == 3.0
    # nothing but the data set remains
    assert sorted(files_under(tmp_path)) == [
        f"zoe_little/mine/1.0.0/{name}"
        for name in (
            "dataset_info.json",
            "features.json",
            "metadata.json",
            "zoe_little-train.array_record-00000-of-00001",
            "zoe_little-validation.array_record-00000-of-00001",
            "zoe_summary.json",
        )
    ]


def test_a_finished_data_set_is_left_as_it_is(tmp_path: Path) -> None:
    first = build(little(), tmp_path, SOURCE)
    before = files_under(tmp_path)
    again = build(little(before=interrupt("train", 0)), tmp_path, SOURCE)  # would raise if it generated anything
    assert again == dataclasses.replace(first, was_there=True)
    assert files_under(tmp_path) == before
    assert "left as it is" in str(again)


def test_one_of_other_things_is_not_taken_for_it(tmp_path: Path) -> None:
    build(little(), tmp_path, SOURCE)
    with pytest.raises(PreparationError, match="made with another seed; overwrite it"):
        build(little(), tmp_path, {"seed": 4})
    with pytest.raises(PreparationError, match="made without noise and also with seed; overwrite it"):
        build(little(), tmp_path, {"noise": 4})
    (tmp_path / "zoe_little/mine/1.0.0" / building.SUMMARY_FILE).unlink()
    with pytest.raises(PreparationError, match="but not of this command"):
        build(little(), tmp_path, SOURCE)


def test_overwriting_keeps_the_old_one_until_the_new_one_is_complete(tmp_path: Path) -> None:
    build(little(), tmp_path, SOURCE)
    folder = tmp_path / "zoe_little/mine/1.0.0"
    before = files_under(folder)
    with pytest.raises(KeyboardInterrupt):
        build(little(before=interrupt("validation", 1)), tmp_path, {"seed": 4}, overwrite=True)
    assert files_under(folder) == before
    summary = build(little(counts={"train": 1}), tmp_path, {"seed": 5}, overwrite=True)
    assert {split: part.count for split, part in summary.splits.items()} == {"train": 1}
    assert len(PreparedReader("zoe_little/mine", "train", str(tmp_path))) == 1
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]


@pytest.mark.parametrize("at", [("train", 0), ("train", 2)])
def test_an_interrupted_first_split_leaves_nothing(tmp_path: Path, at: Any) -> None:
    data_dir = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        build(little(before=interrupt(*at)), data_dir, SOURCE)
    assert not data_dir.exists()


def test_a_finished_split_is_not_generated_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(little(before=interrupt("validation", 1)), tmp_path, SOURCE)
    assert not (tmp_path / "zoe_little/mine/1.0.0").exists()
    asked = []
    summary = build(little(before=lambda *at: asked.append(at)), tmp_path, SOURCE)
    assert asked == [("validation", 0), ("validation", 1)]
    assert summary.splits == build(little(), tmp_path / "other", SOURCE).splits  # checksums too


def test_a_split_of_other_things_is_generated_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(little(before=interrupt("validation", 1)), tmp_path, SOURCE)
    asked = []
    build(little(before=lambda *at: asked.append(at)), tmp_path, {"seed": 4})
    assert [split for split, _ in asked] == ["train"] * 3 + ["validation"] * 2


def test_a_killed_preparation_goes_on(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from tests.input import preparing
from zoe_jax.input.building import build
build(preparing.little(before=preparing.die_at_the_second_validation_image), Path("data"), preparing.SOURCE)
"""
    root = Path(preparing.__file__).parents[2]
    child = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 9, child.stderr
    assert not (tmp_path / "data/zoe_little/mine/1.0.0").exists()
    summary = build(little(), tmp_path / "data", SOURCE)
    assert summary.splits == build(little(), tmp_path / "other", SOURCE).splits
    assert [path.name for path in (tmp_path / "data/zoe_little/mine").iterdir()] == ["1.0.0"]


def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    def second(split: str, index: int) -> None:
        if (split, index) == ("train", 1):
            with pytest.raises(PreparationError, match="being prepared by another process"):
                build(little(), tmp_path, SOURCE)

    assert build(little(before=second), tmp_path, SOURCE).splits["train"].count == 3


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match="split validation is empty"):
        build(little(counts={"validation": 0}), tmp_path / "data", SOURCE)
    assert not (tmp_path / "data").exists()


def test_a_split_may_have_a_name_that_is_used_within(tmp_path: Path) -> None:
    counts = {"whole": 1, "older": 2, "names": 1, "downloads": 1}
    summary = build(little(counts=counts), tmp_path, SOURCE)
    assert {split: part.count for split, part in summary.splits.items()} == counts


def test_two_examples_of_one_key_are_named(tmp_path: Path) -> None:
    class Twice(preparing.ZoeLittle, skip_registration=True):
        def _generate_examples(self, split: str, count: int) -> Iterator[Any]:
            for _, example in super()._generate_examples(split, count):
                yield "same", example

    with pytest.raises(PreparationError, match="split train: two examples have the key 'same'"):
        build(
            lambda data_dir: Twice(data_dir=data_dir, config=tfds.core.BuilderConfig(name="mine")),
            tmp_path / "data",
            SOURCE,
        )


def test_image_and_depth_of_two_sizes_are_found_on_reading_back(tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match=r"'train/0' of split train: the image is 9x8.*its depth 10x12"):
        build(little(image_size=(8, 9), counts={"train": 1}), tmp_path / "data", SOURCE)
    assert not (tmp_path / "data").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PreparationError, match=r"zoe_little/mine cannot be written under .*file"):
        build(little(), tmp_path / "file", SOURCE)


def test_the_result_does_not_depend_on_jobs(tmp_path: Path) -> None:
    counts = {"train": 2 * 16 + 3}  # several rounds of a thread
    summaries = [build(little(counts=counts), tmp_path / str(jobs), SOURCE, jobs=jobs).splits for jobs in (1, 4)]
    assert summaries[0] == summaries[1]
    assert len(summaries[0]["train"].checksum) == 64


def test_progress_sees_every_example(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def count(items: Any, task: str, total: int | None = None) -> Iterator[Any]:
        for item in items:
            seen[task] = seen.get(task, 0) + 1
            yield item

    build(little(), tmp_path, SOURCE, progress=count)
    assert seen == {"writing train": 3, "checking train": 3, "writing validation": 2, "checking validation": 2}


def test_tfds_stays_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build(little(), tmp_path, SOURCE)
    assert capfd.readouterr() == ("", "")
