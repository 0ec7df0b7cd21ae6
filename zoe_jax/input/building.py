"""From a TFDS builder to a finished data set on disk, whole or not at all, with a summary of what was written.

TFDS writes all splits of a data set into a temporary folder that it renames at the end, and loses them all where one
fails. Here each split is a TFDS data set of its own, in a folder of parts, until all are there: a preparation that
was interrupted begins again at the split that it had not finished.
"""

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.splits import SplitDict
from tensorflow_datasets.core.utils import tqdm_utils

from zoe_jax.input.on_beam import BeamRun, cause_of_failure
from zoe_jax.input.prepare import PreparationError, Progress, silent
from zoe_jax.input.read_back import summarize_split
from zoe_jax.input.summary import SUMMARY_FILE, DataSetSummary, OddFile, SplitSummary
from zoe_jax.whole_file import write_whole

log = logging.getLogger(__name__)


MakeBuilder = Callable[[str], tfds.core.GeneratorBasedBuilder]
"""A builder that writes under this data directory, such as `functools.partial(MyBuilder, config=config)`."""


def build(
    make_builder: MakeBuilder,
    data_dir: Path,
    source: Mapping[str, Any],
    *,
    odd_files: Sequence[OddFile] = (),
    notes: Sequence[str] = (),
    jobs: int = 1,
    progress: Progress = silent,
    overwrite: bool = False,
    beam: BeamRun | None = None,
) -> DataSetSummary:
    """Writes the data set, or finds it finished; then every record has been read back once.

    Args:
        make_builder: gives a builder whose `_split_generators` returns `{split: iterable of (key, example)}` (or what
            `on_beam` gives), the examples with the features of `record_features`, the metadata that of
            `DepthMetadata`.
        data_dir: where data sets lie.
        source: what decides the records (options, a checksum of the raw files), JSON-able; a data set or a part that
            was made of something else is not taken for this one.
        odd_files: for the summary.
        notes: for the summary.
        jobs: threads that read back.
        progress: how far it is.
        overwrite: replace a finished data set, once the new one is complete.
        beam: where the splits that are pipelines run; they need it.

    Raises:
        PreparationError: the data set is there, made of something else; another process prepares it; a split is
            empty, has two examples of one key, or no pixel with valid depth; a record cannot be read back, or its
            image and depth differ in size; the disk is full.
    """
    with _quiet_tfds():
        builder = make_builder(os.fspath(data_dir))
        name, folder = builder.info.full_name.rpartition("/")[0], Path(builder.data_dir)
        if not overwrite and (finished := find_finished(make_builder, data_dir, source)):
            return finished
        try:
            with _folder_of_parts(folder, source) as parts:
                splits = _build_parts(make_builder, parts, jobs, progress, beam)
                summary = DataSetSummary(
                    name, splits, tuple(odd_files), os.fspath(folder), was_there=False, notes=tuple(notes)
                )
                whole = _join_parts(make_builder, parts, splits)
                record = {"source": json.loads(_as_json(source)), "summary": summary.to_json()}
                (whole / SUMMARY_FILE).write_text(json.dumps(record, indent=1), encoding="utf-8")
                _put_in_place(whole, folder, parts)
        except OSError as error:
            raise PreparationError(f"{name} cannot be written under {data_dir}: {error}") from error
    return summary


def find_finished(make_builder: MakeBuilder, data_dir: Path, source: Mapping[str, Any]) -> DataSetSummary | None:
    """What came of this data set when it was prepared earlier; None where it was not.

    Raises:
        PreparationError: the data set is there, made of something else.
    """
    with _quiet_tfds():
        folder = Path(make_builder(os.fspath(data_dir)).data_dir)
    if not folder.exists():
        return None
    try:
        record = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
        summary, made_of = DataSetSummary.from_json(record["summary"]), record["source"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreparationError(
            f"{folder} is there, but not of this command ({SUMMARY_FILE}: {error}); remove it, or choose another name"
        ) from error
    wanted = json.loads(_as_json(source))
    if made_of != wanted:
        raise PreparationError(
            f"{folder} is there, made {_differences(made_of, wanted)}; overwrite it, remove it, or choose another name"
        )
    # the folder may have been moved since
    return dataclasses.replace(summary, folder=os.fspath(folder), was_there=True)


def _differences(made_of: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """In words, such as `with another seed`; never empty where the two differ."""
    both = made_of.keys() & wanted.keys()
    named = {
        "with another": (key for key in both if made_of[key] != wanted[key]),
        "without": wanted.keys() - both,
        "also with": made_of.keys() - both,
    }
    return " and ".join(f"{how} {', '.join(found)}" for how, keys in named.items() if (found := sorted(keys)))


def _as_json(source: Mapping[str, Any]) -> str:
    return json.dumps(source, default=os.fspath, indent=1)


@contextlib.contextmanager
def _folder_of_parts(folder: Path, source: Mapping[str, Any]) -> Iterator[Path]:
    """The folder beside `folder` where finished splits wait for the others; one process at a time has it.

    It goes once the data set is in place, and where it holds no finished split.
    """
    parts = folder.parent / f"incomplete.parts_{folder.name}"
    with contextlib.ExitStack() as on_exit:
        on_exit.callback(_remove_empty, parts.parent, [path for path in parts.parents if not path.exists()])
        parts.mkdir(parents=True, exist_ok=True)
        lock = on_exit.enter_context((parts / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PreparationError(f"{folder} is being prepared by another process") from None
        on_exit.callback(_remove_unless_something_is_finished, parts)
        made_of, text = parts / "source.json", _as_json(source)
        if not made_of.exists() or made_of.read_text(encoding="utf-8") != text:
            for part in filter(Path.is_dir, parts.iterdir()):
                shutil.rmtree(part)
            made_of.write_text(text, encoding="utf-8")
        yield parts


def _remove_unless_something_is_finished(parts: Path) -> None:
    if parts.exists() and not any(parts.glob(f"split_*/{SUMMARY_FILE}")):
        shutil.rmtree(parts)


def _remove_empty(folder: Path, made: Sequence[Path]) -> None:
    """Removes `folder` and its parents, as far as they are of those `made` here and nothing is in them."""
    with contextlib.suppress(OSError):
        for path in (folder, *folder.parents):
            if path not in made:
                return
            path.rmdir()


def _build_parts(
    make_builder: MakeBuilder, parts: Path, jobs: int, progress: Progress, beam: BeamRun | None
) -> dict[str, SplitSummary]:
    """Each split as a data set of its own in `parts`, or as an earlier process left it."""
    whole = make_builder(os.fspath(parts / "names"))
    manager = tfds.download.DownloadManager(download_dir=os.fspath(parts / "downloads"))
    generators = whole._split_generators(manager)
    if not generators:
        raise PreparationError(f"{whole.info.full_name} has no split")
    summaries = {}
    for split, examples in generators.items():
        part = parts / f"split_{split}"
        finished = part / SUMMARY_FILE
        if finished.exists():
            log.info("%s: finished earlier", split)
            summaries[split] = SplitSummary.from_json(json.loads(finished.read_text(encoding="utf-8")))
            continue
        if part.exists():
            shutil.rmtree(part)
        builder = make_builder(os.fspath(part))
        if isinstance(examples, Iterable):
            examples = _with_distinct_keys(progress(examples, f"writing {split}"), split)
        _build_part(builder, split, examples, beam)
        summaries[split] = summarize_split(builder, split, jobs, progress)
        _check_some_depth_is_valid(builder, split, summaries[split])
        write_whole(finished, json.dumps(summaries[split].to_json()))
    return summaries


def _build_part(builder: tfds.core.GeneratorBasedBuilder, split: str, examples: Any, beam: BeamRun | None) -> None:
    """One split alone, by TFDS's own way of writing."""
    # set on the instance: this builder is to know of one split only
    builder._split_generators = lambda dl_manager: {split: examples}
    settings = beam.to_tfds() if beam else {}
    try:
        builder.download_and_prepare(
            file_format="array_record",
            download_dir=os.fspath(Path(builder._data_dir_root) / "downloads"),
            download_config=tfds.download.DownloadConfig(try_download_gcs=False, **settings),
        )
    # what a worker raises comes back as whatever the runner makes of it
    except Exception as error:
        if beam is None:
            raise
        raise PreparationError(f"split {split}, on Apache Beam: {cause_of_failure(error)}") from error


def _check_some_depth_is_valid(builder: tfds.core.DatasetBuilder, split: str, summary: SplitSummary) -> None:
    """Raises PreparationError where no pixel is valid, as with depth in other units than it is taken for."""
    if summary.depth.valid_pixels:
        return
    metadata: Any = builder.info.metadata
    units = metadata["depth_units_per_m"]
    raise PreparationError(
        f"split {split}: in none of its {summary.count} records is any depth between {metadata['min_depth_m']:g} and "
        f"{metadata['max_depth_m']:g} m, as it should be; is the scale right, "
        + (f"{units:g} units of the files for a metre?" if units else "metres in the files?")
    )


def _with_distinct_keys(examples: Iterator[tuple[str, Any]], split: str) -> Iterator[tuple[str, Any]]:
    """The examples; TFDS's own words for none, or for two of one key, need TensorFlow or are an assertion."""
    keys = set()
    for key, example in examples:
        if key in keys:
            raise PreparationError(f"split {split}: two examples have the key {key!r}")
        keys.add(key)
        yield key, example
    if not keys:
        raise PreparationError(f"split {split} is empty")


def _join_parts(make_builder: MakeBuilder, parts: Path, splits: Mapping[str, SplitSummary]) -> Path:
    """A folder with all splits, the records linked (or copied) from the parts, which stay as they are."""
    whole = parts / "whole"
    if whole.exists():
        shutil.rmtree(whole)
    whole.mkdir()
    infos = []
    for split in splits:
        info: Any = make_builder(os.fspath(parts / f"split_{split}")).info.splits[split]
        for path in map(Path, info.filepaths):
            _link(path, whole / path.name)
        infos.append(info.replace(filename_template=info.filename_template.replace(data_dir=whole)))
    builder = make_builder(os.fspath(parts / "names"))
    builder.info.set_file_format("array_record", override=True)
    builder.info.set_splits(SplitDict(infos))
    builder.info.write_to_directory(whole)
    return whole


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # a file system without hard links
        shutil.copyfile(source, target)


def _put_in_place(whole: Path, folder: Path, parts: Path) -> None:
    """The one step that makes the data set appear; an older one gives way, and is lost only after that."""
    older = parts / "older"
    if older.exists():
        shutil.rmtree(older)
    if folder.exists():
        folder.rename(older)
    whole.rename(folder)
    shutil.rmtree(parts)


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """TFDS prints, logs and shows bars of its own; ours say the same once."""
    absl = logging.getLogger("absl")
    level, shown = absl.level, tqdm_utils._active
    absl.setLevel(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        absl.setLevel(level)
        if shown:
            tfds.enable_progress_bar()
