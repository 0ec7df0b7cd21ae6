"""Which files belong together, and to which split: by parallel folders, by patterns, or by a table."""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.summary import OddFile

from ..depth_files import DEPTH_SUFFIXES
from ..raw_files import Intrinsics, visible
from .options import FolderOptions, check_intrinsics

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
MASK_SUFFIXES = (*IMAGE_SUFFIXES, ".npy")

SPLIT_NAMES = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}
"""Other names of the splits that experiments ask for."""

COLUMNS = ("image", "depth", "mask", "split", "id", "fx", "fy", "cx", "cy")
INTRINSICS = ("fx", "fy", "cx", "cy")

Key = tuple[str, str]
"""Split (empty where the name tells none) and id."""


@dataclass(frozen=True)
class Pair:
    """An image and what is known of it."""

    id: str
    image: Path
    depth: Path
    mask: Path | None = None
    intrinsics: Intrinsics | None = None
    split: str = ""
    """Empty: still to be drawn."""


@dataclass(frozen=True)
class Pairing:
    """What was found, before any file is opened."""

    pairs: tuple[Pair, ...]
    """Sorted by id."""
    odd_files: tuple[OddFile, ...]
    """Files without a partner, with several, and of kinds that are not read."""


def find_pairs(options: FolderOptions) -> Pairing:
    """All pairs of the folders, the patterns or the table.

    Raises:
        PreparationError: a folder or the table is missing or empty, a pattern or a line of the table cannot be, two
            pairs have one id, only some have intrinsics, or splits go by folder and an image lies in none.
    """
    if options.pairs is not None:
        pairing = _pairs_of_table(options.pairs, options.intrinsics)
    else:
        pairing = _pairs_of_files(options)
    without = [pair for pair in pairing.pairs if pair.intrinsics is None]
    if 0 < len(without) < len(pairing.pairs):
        raise PreparationError(
            f"{len(without)} pairs, such as {without[0].id!r}, have no fx, fy, cx, cy; all need them"
        )
    if not pairing.pairs:
        odd = "; ".join(f"{odd.name}: {odd.kind}" for odd in pairing.odd_files[:3])
        raise PreparationError(f"no image has a depth file{': ' + odd if odd else ''}")
    if options.split_by == "folder":
        pairing = replace(pairing, pairs=tuple(map(_in_split_of_folder, pairing.pairs)))
    return pairing


def _in_split_of_folder(pair: Pair) -> Pair:
    if pair.split:
        return pair
    if "/" not in pair.id:
        raise PreparationError(f"{pair.image} lies in no sub-folder that could name its split")
    return replace(pair, split=_split(pair.id.split("/")[0]))


def split_of_each(pairs: Sequence[Pair], options: FolderOptions) -> tuple[Pair, ...]:
    """The pairs, each with its split: as given, or drawn.

    Drawn: the ids in the order of their hashes with the seed; the first share of them is for validation. An id keeps
    its place in that order whatever other files come or go.
    """
    drawn = sorted((_hash(pair.id, options.seed), pair.id) for pair in pairs if not pair.split)
    number = round(len(drawn) * options.validation_share)
    if options.validation_share and len(drawn) > 1:
        # a validation split without images could not be written
        number = min(max(number, 1), len(drawn) - 1)
    validation = {name for _, name in drawn[:number]}
    return tuple(
        pair if pair.split else replace(pair, split="validation" if pair.id in validation else "train")
        for pair in pairs
    )


def _hash(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def _split(name: str) -> str:
    split = SPLIT_NAMES.get(name.lower(), name)
    if not re.fullmatch(r"[A-Za-z]\w*", split) or split.lower() == "all":
        raise PreparationError(f"{name!r} cannot name a split; letters, digits and _ can, and not 'all'")
    return split


def _pairs_of_files(options: FolderOptions) -> Pairing:
    if options.images is None or options.depth is None:
        raise PreparationError("--images and --depth are both needed")
    images, _, odd_files = _files(options.images, IMAGE_SUFFIXES, "image")
    depths, _, odd_depths = _files(options.depth, DEPTH_SUFFIXES, "depth file")
    masks, shared, odd_masks = _files(options.masks, MASK_SUFFIXES, "mask") if options.masks else ({}, set(), [])
    odd_files += [odd for odd in (*odd_depths, *odd_masks) if odd not in odd_files]
    pairs = []
    for key, image in images.items():
        if key not in depths:
            odd_files.append(OddFile(str(image), "image without depth"))
        elif key in shared:
            odd_files.append(OddFile(str(image), "image with several masks"))
        else:
            split, name = key
            pairs.append(Pair(name, image, depths[key], masks.get(key), options.intrinsics, split))
    odd_files += [OddFile(str(path), "depth without image") for key, path in depths.items() if key not in images]
    odd_files += [OddFile(str(path), "mask without image") for key, path in masks.items() if key not in images]
    # ids are unique within a split only; across splits the split belongs to them
    names = [pair.id for pair in pairs]
    if len(set(names)) < len(names):
        pairs = [replace(pair, id=f"{pair.split}/{pair.id}") for pair in pairs]
    return Pairing(tuple(sorted(pairs, key=lambda pair: pair.id)), tuple(odd_files))


def _files(where: str, suffixes: Sequence[str], what: str) -> tuple[dict[Key, Path], set[Key], list[OddFile]]:
    """Key -> file; the keys that several files share; those files, and the ones that are not of this kind."""
    folder = Path(where).expanduser()
    if folder.is_dir():
        found = [(("", path.relative_to(folder).with_suffix("").as_posix()), path) for path in _all_files(folder)]
    elif "{" in where or "*" in where:
        found = list(_matches(where))
    else:
        raise PreparationError(f"there is no folder {where}; a pattern would have {{id}} in it")
    by_key: dict[Key, list[Path]] = defaultdict(list)
    odd_files = []
    for key, path in found:
        if path.suffix.lower() in suffixes:
            by_key[key].append(path)
        else:
            odd_files.append(OddFile(str(path), f"not of a kind that is read as {what}", path.suffix, "ignored"))
    if not by_key:
        kinds = ", ".join(suffixes)
        raise PreparationError(f"there is no {what} in {where}; it should have files of these kinds: {kinds}")
    for paths in by_key.values():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            odd_files += [OddFile(str(path), f"several files for one {what}", names) for path in paths]
    files = {key: paths[0] for key, paths in by_key.items() if len(paths) == 1}
    return files, by_key.keys() - files.keys(), odd_files


def _all_files(folder: Path) -> list[Path]:
    return [path for path in visible(folder, "**/*") if path.is_file()]


def _matches(pattern: str) -> Iterable[tuple[Key, Path]]:
    """The files of a pattern with what stands for {split} and {id}."""
    text = str(Path(pattern).expanduser())
    if "{id}" not in text and text.count("*") == 1:
        text = text.replace("*", "{id}")
    fields = re.findall(r"\{(\w*)\}", text)
    if sorted(fields) not in (["id"], ["id", "split"]):
        raise PreparationError(f"pattern {pattern!r}: it should have {{id}} once, and may have {{split}} once")
    names = {r"\{id\}": "(?P<id>.+)", r"\{split\}": "(?P<split>[^/]+)", r"\*": "[^/]*"}
    expression = re.escape(text)
    for name, group in names.items():
        expression = expression.replace(name, group)
    # the folder above the first placeholder is all that has to be searched
    fixed = re.split(r"[{*]", text)[0]
    root = Path(fixed if fixed.endswith("/") else Path(fixed).parent if fixed else ".")
    if not root.is_dir():
        raise PreparationError(f"pattern {pattern!r}: there is no folder {root}")
    for path in _all_files(root):
        if match := re.fullmatch(expression, str(path)):
            groups = match.groupdict()
            yield (_split(groups["split"]) if "split" in groups else "", groups["id"]), path


def _pairs_of_table(table: Path, intrinsics: Intrinsics | None) -> Pairing:
    try:
        with table.expanduser().open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns, lines = reader.fieldnames or [], list(reader)
    except FileNotFoundError:
        raise PreparationError(f"there is no table {table}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PreparationError(f"table {table} cannot be read: {error}") from error
    unknown = [column for column in columns if column not in COLUMNS]
    if unknown or not {"image", "depth"} <= set(columns):
        raise PreparationError(
            f"table {table} has the columns {', '.join(columns) or 'none'}; image and depth are needed, and there may "
            f"be {', '.join(COLUMNS[2:])}, no others"
        )
    pairs, odd_files = {}, []
    for number, line in enumerate(lines, 2):
        where = f"{table}, line {number}"
        if None in line or None in line.values():
            raise PreparationError(f"{where}: it should have {len(columns)} values, one a column")
        pair = _pair_of_line(line, table.expanduser().parent, where, intrinsics)
        if pair.id in pairs:
            raise PreparationError(
                f"{where}: {pair.id!r} is there twice; give each line a value of its own in column id"
            )
        missing = [path for path in (pair.image, pair.depth, pair.mask) if path is not None and not path.is_file()]
        if missing:
            odd_files += [OddFile(str(path), "missing file", where) for path in missing]
        else:
            pairs[pair.id] = pair
    if not lines:
        raise PreparationError(f"table {table} has no line below its columns")
    return Pairing(tuple(pairs[name] for name in sorted(pairs)), tuple(odd_files))


def _pair_of_line(line: Mapping[str, str], folder: Path, where: str, intrinsics: Intrinsics | None) -> Pair:
    for column in ("image", "depth"):
        if not line[column]:
            raise PreparationError(f"{where}: column {column} is empty")
    given = [line.get(column, "") for column in INTRINSICS]
    if any(given):
        try:
            fx, fy, cx, cy = map(float, given)
        except ValueError:
            raise PreparationError(f"{where}: fx, fy, cx, cy are {', '.join(given)}; they should be numbers") from None
        intrinsics = (fx, fy, cx, cy)
        check_intrinsics(intrinsics, where)
    name = line.get("id") or Path(line["image"]).with_suffix("").as_posix()
    mask, split = line.get("mask"), line.get("split")
    return Pair(
        name,
        folder / line["image"],
        folder / line["depth"],
        folder / mask if mask else None,
        intrinsics,
        _split(split) if split else "",
    )
