"""Which images a command line means, which of them are this shard's, and what their outputs are called."""

import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from zoe_jax.errors import ZoeJaxError
from zoe_jax.predict.outputs import SUFFIXES

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""What counts as an image where a folder or a pattern is given; a file given by name is always tried."""

Item = TypeVar("Item")


@dataclass(frozen=True, order=True)
class Job:
    """One image to predict."""

    source: Path
    stem: Path
    """Folder and beginning of the names of its outputs."""


def collect(inputs: Sequence[str], output_dir: Path, recursive: bool = False) -> tuple[list[Job], list[str]]:
    """The images of files, folders and patterns (`*`, `?`, `[...]`, and `**` for any depth), sorted, each once.

    Outputs lie in `output_dir` at the place that the image has below its folder or pattern. They are named after the
    image without its suffix, and with it (`photo.jpg_depth.npy`) where two images of one place differ in nothing else.
    Files of earlier runs that are in the way are no inputs.

    Returns:
        The jobs, and those inputs that are not there or have no image.

    Raises:
        ZoeJaxError: two images would be written to the same place.
    """
    found: dict[str, tuple[Path, Path]] = {}
    nothing: list[str] = []
    for text in inputs:
        matches = _expand(text, output_dir, recursive)
        for source, place in matches:
            found.setdefault(os.path.abspath(source), (source, place))
        if not matches:
            nothing.append(text)
    shared = Counter(place.parent / place.stem for _, place in found.values())
    jobs = []
    for source, place in found.values():
        stem = place.parent / place.stem
        jobs.append(Job(source, output_dir / (stem if shared[stem] == 1 else place)))
    by_stem: dict[Path, Path] = {}
    for job in jobs:
        other = by_stem.setdefault(job.stem, job.source)
        if other != job.source:
            raise ZoeJaxError(
                f"{other} and {job.source} would both be written to {job.stem}{SUFFIXES['npy']}; "
                "give them different output folders"
            )
    return sorted(jobs), nothing


def shard(items: Sequence[Item], text: str | None) -> Sequence[Item]:
    """Every N-th item from the I-th on, for `text` "I/N" with I from 0 to N - 1; all items for None.

    The shards of a list are disjoint, make up the list, and differ in size by one at most.

    Raises:
        ZoeJaxError: not of this form.
    """
    if text is None:
        return items
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise ZoeJaxError(f"shard {text!r} must be I/N with I from 0 to N - 1, such as 0/4, 1/4, 2/4 and 3/4")
    return items[int(match[1]) :: int(match[2])]


def _expand(text: str, output_dir: Path, recursive: bool) -> list[tuple[Path, Path]]:
    """Pairs of a file and its place below what was asked for."""
    path = Path(text)
    if path.is_dir():
        top, files = path, path.rglob("*") if recursive else path.glob("*")
    elif os.path.lexists(path):
        return [(path, Path(path.name))]
    else:
        top = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        files = map(Path, glob.iglob(text, recursive=True)) if glob.has_magic(text) else ()
    return [(file, file.relative_to(top)) for file in files if _is_image(file) and not _is_output(file, output_dir)]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _is_output(path: Path, output_dir: Path) -> bool:
    ours = path.name.endswith(tuple(SUFFIXES.values()))
    return ours and Path(os.path.abspath(path)).is_relative_to(os.path.abspath(output_dir))
