"""`zoe-jax prepare folder`: find pairs, look at all of them, write what can be used, report the rest."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoe_jax.input.building import build, find_finished
from zoe_jax.input.prepare import PreparationError, Progress, default_data_dir
from zoe_jax.input.records import DepthMetadata
from zoe_jax.input.summary import DataSetSummary, Summary

from ..depth_files import PNG
from .builder import FolderConfig, ZoeFolder
from .check import CheckedPair, Checker, refuse_if_nothing_is_left, summarize_checked
from .options import FolderOptions
from .pairing import Pair, find_pairs, split_of_each

SPLIT_ORDER = ("train", "validation", "test")

USES = ("train", "validation")
"""Fields of the input's configuration, and the splits that they read unless told otherwise."""

NOT_OF_THE_RECORDS = ("name", "images", "depth", "masks", "pairs", "strict", "dry_run", "overwrite")
"""Options that do not decide what the records are; the files themselves stand for those that name them."""


class _Folder:
    """The preparation; see `zoe_jax.input.prepare.Preparation`."""

    name = "folder"
    description = "Your own images and depth: parallel folders, a naming pattern, or a table of pairs."
    documentation = ""  # that of the options says it all
    options = FolderOptions

    def prepare(self, options: FolderOptions, data_dir: Path, jobs: int, progress: Progress) -> Summary:
        """Prepares `zoe_folder/NAME`.

        Raises:
            PreparationError: no pair can be used, options are missing, the data set is there, made of other files.
        """
        pairing = find_pairs(options)
        config = _config(pairing.pairs, options)
        source = {
            **{key: value for key, value in dataclasses.asdict(options).items() if key not in NOT_OF_THE_RECORDS},
            "files": _files_digest(pairing.pairs),
        }
        if not (options.dry_run or options.overwrite):
            finished = find_finished(functools.partial(_builder, config), data_dir, source)
            if finished is not None:
                return Summary((finished,))
        checker = Checker(config.metadata, config.units_per_m, options.depth_key)
        checked, odd_values = checker.check(pairing.pairs, jobs, progress)
        odd_files = (*pairing.odd_files, *odd_values)
        refuse_if_nothing_is_left(checked, odd_files, options.strict)
        # drawn of those that are left, so that no split vanishes
        pairs = split_of_each([item.pair for item in checked], options)
        splits = _by_split([dataclasses.replace(item, pair=pair) for item, pair in zip(checked, pairs, strict=True)])
        notes = tuple(_notes(config, pairs, data_dir))
        if options.dry_run:
            would_be = {split: summarize_checked(members) for split, members in splits.items()}
            return Summary((DataSetSummary(f"zoe_folder/{options.name}", would_be, odd_files, notes=notes),))
        built = build(
            functools.partial(_builder, dataclasses.replace(config, splits=splits)),
            data_dir,
            source,
            odd_files=odd_files,
            notes=notes,
            jobs=jobs,
            progress=progress,
            overwrite=options.overwrite,
        )
        return Summary((built,))


PREPARATION = _Folder()


def _builder(config: FolderConfig, data_dir: str) -> ZoeFolder:
    return ZoeFolder(data_dir=data_dir, config=config)


def _config(pairs: Sequence[Pair], options: FolderOptions) -> FolderConfig:
    """What the pairs have in common, by their names alone."""
    in_png = {pair.depth.suffix.lower() == PNG for pair in pairs}
    if True in in_png and options.depth_units_per_m is None:
        raise PreparationError(
            "depth in PNG files needs --depth-units-per-m, the value that stands for one metre: 1000 where they hold "
            "millimetres, 256 as KITTI"
        )
    units_per_m = options.depth_units_per_m or 1.0
    metadata = DepthMetadata(
        options.min_depth_m,
        options.max_depth_m,
        # with other files among them, all depth becomes float
        units_per_m if in_png == {True} else None,
        options.domain,
    )
    return FolderConfig(
        name=options.name,
        metadata=metadata,
        units_per_m=units_per_m,
        depth_key=options.depth_key,
        valid_mask=any(pair.mask for pair in pairs),
        intrinsics=any(pair.intrinsics for pair in pairs),
    )


def _files_digest(pairs: Sequence[Pair]) -> str:
    """Changes when a file comes, goes, grows or is written anew; no file is opened."""
    digest = hashlib.sha256()
    for pair in pairs:
        facts: list[Any] = [pair.id, pair.split, pair.intrinsics]
        for path in (pair.image, pair.depth, pair.mask):
            status = os.stat(path) if path is not None else None
            facts += [path and path.name, status and status.st_size, status and status.st_mtime_ns]
        digest.update(repr(facts).encode())
    return digest.hexdigest()


def _by_split(checked: Sequence[CheckedPair]) -> dict[str, list[CheckedPair]]:
    present = {item.pair.split for item in checked}
    ordered = [split for split in SPLIT_ORDER if split in present] + sorted(present - set(SPLIT_ORDER))
    return {split: [item for item in checked if item.pair.split == split] for split in ordered}


def _notes(config: FolderConfig, pairs: Sequence[Pair], data_dir: Path) -> list[str]:
    """What the numbers do not tell, and what comes next."""
    notes = []
    without_mask = sum(pair.mask is None for pair in pairs)
    if config.valid_mask and without_mask:
        notes.append(f"Images without a mask, all of whose pixels count: {without_mask}.")
    name = f"zoe_folder/{config.name}"
    names = [f"--data.{use}.0.name {name}" for use in USES if any(pair.split == use for pair in pairs)]
    place = "" if data_dir == default_data_dir() else f" --data.data-dir {data_dir}"
    notes.append(f"Train on it: zoe-jax train finetune_own_data --init CHECKPOINT {' '.join(names)}{place}")
    return notes
