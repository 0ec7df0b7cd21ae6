"""Split lists: fetched once, or the user's; a damaged one is named with its line."""

from pathlib import Path, PurePosixPath

import pooch
import pytest

from zoe_jax.input.prepare import PreparationError
from zoe_jax_data.split_lists import ListedPair, SplitList, read_lists

PUBLISHED = {"train": SplitList("our_train.txt", 2), "test": SplitList("our_test.txt", 1)}
TRAIN = "/scene/rgb_0.jpg /scene/depth_0.png 518.8579\n/scene/rgb_1.jpg None 518.8579\n"
TEST = "scene/rgb_2.jpg scene/depth_2.png 721.5377\n"


def write_lists(folder: Path) -> Path:
    (folder / "our_train.txt").write_text(TRAIN)
    (folder / "our_test.txt").write_text(TEST)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOE_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/splits"


def test_lists_of_the_user(tmp_path: Path) -> None:
    found = read_lists(PUBLISHED, write_lists(tmp_path))
    assert found["train"] == [
        ListedPair(PurePosixPath("scene/rgb_0.jpg"), PurePosixPath("scene/depth_0.png")),
        ListedPair(PurePosixPath("scene/rgb_1.jpg"), None),
    ]
    assert read_lists(PUBLISHED, tmp_path / "our_test.txt") == {"test": found["test"]}


def test_the_mark_of_editors_on_windows_is_no_part_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "our_test.txt").write_text(TEST, encoding="utf-8-sig")
    (pair,) = read_lists(PUBLISHED, tmp_path)["test"]
    assert pair.image == PurePosixPath("scene/rgb_2.jpg")


def test_published_lists_are_fetched_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write_lists(tmp_path)
    asked = []
    pooch.get_logger().info("somebody else's use of the library, before ours")
    capfd.readouterr()

    def choose_downloader(url: str, **options: object) -> object:
        asked.append(url)
        name = url.rpartition("/")[2]
        return lambda url, output, pooch: Path(output).write_bytes((source / name).read_bytes())

    monkeypatch.setattr(pooch.core, "choose_downloader", choose_downloader)
    first = read_lists(PUBLISHED, None)
    assert first == read_lists(PUBLISHED, source)
    assert read_lists(PUBLISHED, None) == first
    assert asked == [entry.url for entry in PUBLISHED.values()]
    assert all(url.startswith("https://raw.githubusercontent.com/isl-org/ZoeDepth/") for url in asked)
    assert sorted(path.name for path in cache.iterdir()) == ["our_test.txt", "our_train.txt"]
    assert "known_hash" not in capfd.readouterr().err  # the library's advice to programmers


def test_without_a_network_the_error_says_what_to_fetch_by_hand(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose_downloader(url: str, **options: object) -> object:
        raise ConnectionError("no network")

    monkeypatch.setattr(pooch.core, "choose_downloader", choose_downloader)
    with pytest.raises(
        PreparationError, match=r"our_train\.txt cannot be fetched .*https://.*our_train\.txt .*--splits"
    ):
        read_lists(PUBLISHED, None)


def test_half_a_list_is_not_taken_for_the_published_one(tmp_path: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    write_lists(cache)
    (cache / "our_train.txt").write_text(TRAIN.splitlines()[0])
    with pytest.raises(PreparationError, match=r"our_train\.txt has 1 lines; the list of https://.* has 2: remove"):
        read_lists(PUBLISHED, None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg a.png", r"line 2: 'a\.jpg a\.png' should be an image, its depth \(or None\) and a focal length"),
        ("a.jpg a.png wide", r"line 2: .* should be an image"),
        ("a.jpg ../../a.png 518.8", r"line 2: '\.\./\.\./a\.png' leads out"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "our_test.txt").write_text(TEST + line + "\n")
    with pytest.raises(PreparationError, match=rf"our_test\.txt, {message}"):
        read_lists(PUBLISHED, tmp_path)


def test_other_files_are_no_lists(tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match=r"neither a file called our_train\.txt or our_test\.txt nor a folder"):
        read_lists(PUBLISHED, tmp_path)
    (tmp_path / "our_test.txt").write_text("\n")
    with pytest.raises(PreparationError, match=r"our_test\.txt is empty"):
        read_lists(PUBLISHED, tmp_path)
    (tmp_path / "our_test.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PreparationError, match=r"our_test\.txt cannot be read"):
        read_lists(PUBLISHED, tmp_path)
