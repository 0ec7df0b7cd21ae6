from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoe_jax.errors import ZoeJaxError
from zoe_jax.predict.collect import Job, collect, shard

OUT = Path("out")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "b.png",
        "a.JPG",
        "notes.txt",
        ".hidden.png",
        "sub/c.tif",
        "sub/deep/d.webp",
        "other/c.png",
        "e[1].png",
    ):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stems(inputs: list[str], recursive: bool = False) -> list[str]:
    jobs, nothing = collect(inputs, OUT, recursive)
    assert nothing == []
    assert jobs == sorted(jobs)
    return [job.stem.relative_to(OUT).as_posix() for job in jobs]


def test_a_folder_gives_its_images(tree):
    assert stems(["in"]) == ["a", "b", "e[1]"]


def test_a_folder_with_its_sub_folders_keeps_the_tree(tree):
    assert stems(["in"], recursive=True) == ["a", "b", "e[1]", "other/c", "sub/c", "sub/deep/d"]


def test_patterns(tree):
    assert stems(["in/*.png"]) == ["b", "e[1]"]
    assert stems(["in/**/c.*"]) == ["other/c", "sub/c"]
    assert stems([str(tree / "in" / "s*" / "*")]) == ["sub/c"]


def test_a_file_is_taken_by_its_name_whatever_it_is(tree):
    assert stems(["in/notes.txt", "in/e[1].png", "in/.hidden.png"]) == [".hidden", "e[1]", "notes"]


def test_an_image_that_is_named_twice_counts_once(tree):
    assert stems(["in/b.png", "in", "in/../in/b.png", str(tree / "in/b.png")]) == ["a", "b", "e[1]"]


def test_images_that_differ_only_in_their_suffix_keep_it(tree):
    (tree / "in" / "b.jpg").touch()
    assert stems(["in"]) == ["a", "b.jpg", "b.png", "e[1]"]


def test_two_images_for_one_place_are_refused(tree):
    (tree / "in" / "other" / "c.tif").touch()
    with pytest.raises(ZoeJaxError, match=r"c\.tif and .*c\.tif would both be written"):
        collect(["in/sub", "in/other"], OUT)


def test_inputs_without_an_image_are_named(tree):
    (tree / "empty").mkdir()
    jobs, nothing = collect(["empty", "gone.png", "in/*.gif", "in/b.png"], OUT)
    assert nothing == ["empty", "gone.png", "in/*.gif"]
    assert jobs == [Job(Path("in/b.png"), OUT / "b")]


def test_results_of_earlier_runs_are_no_inputs(tree):
    for name in ("b_color.png", "b_depth16.png", "b_panel.png", "b_depth.npy"):
        (tree / "in" / name).touch()
    jobs, _ = collect(["in"], Path("in"))
    assert [job.source.name for job in jobs] == ["a.JPG", "b.png", "e[1].png"]
    jobs, _ = collect(["in"], OUT)
    assert "b_color.png" in [job.source.name for job in jobs]


@given(length=st.integers(0, 50), count=st.integers(1, 9))
def test_shards_are_a_partition(length, count):
    items = list(range(length))
    shards = [shard(items, f"{i}/{count}") for i in range(count)]
    assert sorted(item for part in shards for item in part) == items
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert shard(items, None) == items


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "-1/4", "1/0", "1/4/2", ""])
def test_impossible_shards_are_refused(text):
    with pytest.raises(ZoeJaxError, match="I from 0 to N - 1"):
        shard([1, 2], text)
