"""The lists of images that the original trains and evaluates on: fetched once, or taken from `--splits`.

Each line names an image, its depth and a focal length in pixels, paths being relative to the data set's folders:

    bathroom/rgb_00045.jpg bathroom/sync_depth_00045.png 518.8579
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zoe_jax import downloads
from zoe_jax.input.prepare import PreparationError

ORIGINAL_LISTS = (
    "https://raw.githubusercontent.com/isl-org/ZoeDepth/edb6daf45458569e24f50250ef1ed08c015f17a7/train_test_inputs/"
)
"""Pinned to a commit, so that the lists cannot change."""

NO_DEPTH = "None"
"""What stands in place of the depth of an image that has no truth."""


@dataclass(frozen=True)
class SplitList:
    """A published list."""

    file_name: str
    lines: int
    """How many it has, so that a page of an error or half of a file is not taken for it."""

    @property
    def url(self) -> str:
        """Where it can be had."""
        return ORIGINAL_LISTS + self.file_name


@dataclass(frozen=True)
class ListedPair:
    """One line; paths as they stand in the list, without the slash that some begin with."""

    image: PurePosixPath
    depth: PurePosixPath | None


def read_lists(published: Mapping[str, SplitList], splits: Path | None) -> dict[str, list[ListedPair]]:
    """The lines of each split's list.

    Args:
        published: the list of each split.
        splits: a folder with files of the same names as the published ones, or one such file; its splits are all that
            come back, and may have any number of lines. None: the published lists are fetched, or taken from where
            they were kept the last time.

    Raises:
        PreparationError: a list cannot be had, is not what was published, or has a line that is none of it.
    """
    if splits is None:
        return {split: _read_published(entry) for split, entry in published.items()}
    files = {split: splits / entry.file_name if splits.is_dir() else splits for split, entry in published.items()}
    found = {split: file for split, file in files.items() if file.is_file() and file.name == published[split].file_name}
    if not found:
        names = " or ".join(entry.file_name for entry in published.values())
        raise PreparationError(f"--splits {splits} is neither a file called {names} nor a folder with one of them")
    return {split: _read(file) for split, file in found.items()}


def fetch(url: str, file_name: str) -> Path:
    """A small file of a public place, fetched once and kept; the address should have its version in it.

    Raises:
        PreparationError: it cannot be had; the message says what to do by hand.
    """
    try:
        return downloads.fetch(url, downloads.cache_folder() / "splits", file_name)
    except (OSError, ValueError) as error:
        raise PreparationError(
            f"{file_name} cannot be fetched ({type(error).__name__}); download {url} by hand and name the file, or the "
            "folder that it is in, by --splits"
        ) from error


def _read_published(entry: SplitList) -> list[ListedPair]:
    file = fetch(entry.url, entry.file_name)
    pairs = _read(file)
    if len(pairs) != entry.lines:
        raise PreparationError(
            f"{file} has {len(pairs)} lines; the list of {entry.url} has {entry.lines}: remove the file, so that it is "
            "fetched again"
        )
    return pairs


def read_lines(file: Path) -> Iterator[tuple[str, str]]:
    """The lines of a list of images that are not empty, each after its place, such as `list.txt, line 1`.

    Raises:
        PreparationError: it cannot be read as text.
    """
    try:
        # with or without the mark that editors on Windows put first
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PreparationError(f"{file} cannot be read: {error}; it should be a list of images as text") from error
    return ((f"{file}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip())


def inside(path: str, place: str) -> PurePosixPath:
    """A path of a list, relative to the data set's folder; PreparationError where it leads out of that."""
    relative = PurePosixPath(path.lstrip("/"))
    if ".." in relative.parts:
        raise PreparationError(f"{place}: {path!r} leads out of the data set's folder")
    return relative


def _read(file: Path) -> list[ListedPair]:
    pairs = [_parse(line, place) for place, line in read_lines(file)]
    if not pairs:
        raise PreparationError(f"{file} is empty; it should have an image, its depth and a focal length a line")
    return pairs


def _parse(line: str, place: str) -> ListedPair:
    try:
        image, depth, focal_length_px = line.split()
        float(focal_length_px)  # which nothing needs; that it is a number tells a line of the list from another
    except ValueError:
        raise PreparationError(
            f"{place}: {line[:200]!r} should be an image, its depth (or {NO_DEPTH}) and a focal length in pixels"
        ) from None
    return ListedPair(inside(image, place), None if depth == NO_DEPTH else inside(depth, place))
