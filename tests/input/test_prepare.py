"""Preparing: how data sets are found, and that one is written whole or not at all."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.input import preparing
from tests.input.preparing import SOURCE, little
from zoe_jax import cli
from zoe_jax.input import building, prepare
from zoe_jax.input.building import build
from zoe_jax.input.command import parse_prepare
from zoe_jax.input.prepare import Preparation, PreparationError, find_preparation, preparation_names, silent
from zoe_jax.input.reader import PreparedReader
from zoe_jax.input.summary import DataSetSummary, DepthStatistics, OddFile, SplitSummary, Summary


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def interrupt(*at: Any) -> Any:
    def before(split: str, index: int) -> None:
        if (split, index) == at:
            raise KeyboardInterrupt

    return before


# ---- building


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
    assert seen == {"writing train": 3, "checking train": 1, "writing validation": 2, "checking validation": 1}


def test_tfds_stays_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build(little(), tmp_path, SOURCE)
    assert capfd.readouterr() == ("", "")


# ---- summaries


def test_statistics_of_one_depth_map() -> None:
    depth_m = np.array([[0.05, 0.1, 0.3], [7.5, 5000.0, np.nan]], np.float32)
    statistics = DepthStatistics.of(depth_m, np.isfinite(depth_m))
    assert (statistics.pixels, statistics.valid_pixels) == (6, 5)
    by_bin = {bounds(i): n for i, n in enumerate(statistics.histogram) if n}
    assert by_bin == {(0, 0.1): 1, (0.1, 0.25): 1, (0.25, 0.5): 1, (7.5, 10): 1, (1000, float("inf")): 1}
    nothing = DepthStatistics.of(depth_m, np.zeros((2, 3), bool))
    assert statistics + nothing == dataclasses.replace(statistics, pixels=12)


def bounds(index: int) -> tuple[float, float]:
    from zoe_jax.input.summary import DEPTH_EDGES_M

    return DEPTH_EDGES_M[index], DEPTH_EDGES_M[index + 1]


def some_summary() -> DataSetSummary:
    depth = DepthStatistics.of(np.array([[1.2, 1.7, 0.0, 0.0]], np.float32), np.array([[True, True, False, False]]))
    splits = {
        "train": SplitSummary(2, {(480, 640): 1, (375, 1242): 1}, depth, "abc"),
        "test": SplitSummary(1, {(2, 2): 1}, DepthStatistics(4)),
    }
    odd = [OddFile(f"{i:02}.png", "unreadable image", "truncated") for i in range(25)]
    odd.append(OddFile("k.npy", "negative depth", "3 pixels", "kept"))
    return DataSetSummary("zoe_little/mine", splits, tuple(odd), "/data", was_there=False, notes=("A word.",))


def test_a_summary_survives_json() -> None:
    summary = some_summary()
    text = json.dumps(Summary((summary,)).to_json(), allow_nan=False)
    assert DataSetSummary.from_json(json.loads(text)["data_sets"][0]) == summary


def test_a_summary_as_text() -> None:
    text = str(some_summary())
    assert "train: 2 images, width x height 1242x375 (1), 640x480 (1)" in text
    assert "depth 1.2 to 1.7 m, 50.0 % invalid\n  checksum abc\n" in text
    assert "test: 1 image, width x height 2x2" in text
    assert "left out, unreadable image: 25\n    00.png: truncated" in text
    assert "19.png" in text
    assert "20.png" not in text
    assert "and 5 more" in text
    assert "kept, negative depth: 1\n    k.npy: 3 pixels" in text
    assert text.endswith("A word.")


# ---- finding


@dataclass(frozen=True)
class LittleOptions:
    """A little data set."""

    count: int = 2
    """How many."""


class Little:
    name = "little"
    description = "A data set for tests."
    documentation = "Nobody downloads it."
    options = LittleOptions

    def prepare(self, options: LittleOptions, data_dir: Path, jobs: int, progress: prepare.Progress) -> Summary:
        assert jobs >= 1
        if options.count > 9:
            raise PreparationError("too many")
        return Summary((build(little(counts={"train": options.count}), data_dir, SOURCE, progress=progress),))


PREPARATION: Preparation[Any] = Little()


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"little": f"{__name__}:PREPARATION", "broken": "no.such.module:PREPARATION"}
    entries = [EntryPoint(name, value, prepare.GROUP) for name, value in values.items()]
    entries += [EntryPoint("twice", value, prepare.GROUP) for value in ("a:A", "b:B")]
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, sys.modules[Little.__module__]))
    monkeypatch.setattr(prepare, "entry_points", lambda **wanted: EntryPoints(entries).select(**wanted), raising=True)


def test_the_package_announces_its_data_sets() -> None:
    assert {"folder", "rooms_and_roads"} <= set(preparation_names())
    preparation = find_preparation("folder")
    assert preparation.name == "folder"
    assert "\n" not in preparation.description


@pytest.mark.usefixtures("announced")
def test_data_sets_that_cannot_be_prepared_are_named() -> None:
    assert preparation_names() == ["broken", "little", "twice"]
    with pytest.raises(PreparationError, match="no data set 'nyu' to prepare; there are: broken, little, twice"):
        find_preparation("nyu")
    with pytest.raises(PreparationError, match=r"'broken' \(no.such.module:PREPARATION\) cannot be loaded"):
        find_preparation("broken")
    with pytest.raises(PreparationError, match="several packages announce a data set 'twice': a:A, b:B"):
        find_preparation("twice")


# ---- the command


@pytest.mark.usefixtures("announced")
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "default"))
    report = tmp_path / "report.json"
    assert cli.main(["prepare", "little", "--count", "4", "--report", str(report), "--jobs", "2"]) == 0
    assert f"zoe_little/mine: {tmp_path / 'default'}/zoe_little/mine/1.0.0" in capsys.readouterr().out
    assert json.loads(report.read_text())["data_sets"][0]["splits"]["train"]["count"] == 4
    assert cli.main(["prepare", "little", "--count", "4", "--data-dir", str(tmp_path / "given")]) == 0
    assert len(PreparedReader("zoe_little/mine", "train", str(tmp_path / "given"))) == 4


@pytest.mark.usefixtures("announced")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a data set first: zoe-jax prepare NAME [options]; there are: broken, little, twice"),
        (["--jobs", "2"], "name a data set first"),
        (["nyu"], "there is no data set 'nyu' to prepare"),
        (["little", "--count", "10"], "too many"),
        (["little", "--report", "/no/such/folder/r.json"], "the report cannot be written to /no/such/folder/r.json"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert cli.main(["prepare", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("announced")
def test_no_job_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((PreparationError, SystemExit)):
        parse_prepare(["little", "--jobs", "0"])


@pytest.mark.usefixtures("announced")
def test_help_lists_the_data_sets_even_beside_a_broken_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["prepare", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "little A data set for tests." in text
    assert "broken data set 'broken' (no.such.module:PREPARATION) cannot be loaded" in text


@pytest.mark.usefixtures("announced")
def test_help_of_one_shows_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["prepare", "little", "--help"])
    text = capsys.readouterr().out
    for word in ("--count INT", "How many.", "--data-dir", "--jobs", "--report", "A data set for tests.", "Nobody"):
        assert word in text


def test_silence_passes_everything_on() -> None:
    assert list(silent(iter([1, 2]), "anything")) == [1, 2]


def test_progress_is_shown_on_a_terminal_only(capfd: pytest.CaptureFixture[str]) -> None:
    from zoe_jax.input.command import progress_bar

    assert list(progress_bar([1, 2], "anything")) == [1, 2]
    assert capfd.readouterr() == ("", "")
