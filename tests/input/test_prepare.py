"""Preparing: what a summary says, how data sets are found, and the command."""

import dataclasses
import json
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.input.preparing import SOURCE, little
from zoe_jax import cli
from zoe_jax.input import prepare
from zoe_jax.input.building import build
from zoe_jax.input.command import parse_prepare
from zoe_jax.input.prepare import Preparation, PreparationError, find_preparation, preparation_names, silent
from zoe_jax.input.reader import PreparedReader
from zoe_jax.input.summary import DataSetSummary, DepthStatistics, OddFile, SplitSummary, Summary

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
    report = tmp_path / "new/report.json"
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
        (["little", "--report", f"{__file__}/r.json"], "r.json cannot be written"),
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
    from zoe_jax.input.progress import progress_bar

    assert list(progress_bar([1, 2], "anything")) == [1, 2]
    assert capfd.readouterr() == ("", "")
