"""From a raw download, as its owner ships it, to a prepared data set: what all published data sets have in common.

A data set says where its examples lie (`find`) and how one of them becomes features; options, missing files, threads,
checksums and the TFDS builder are here. Nothing is resized, cropped or rescaled: a record holds what the owner
published, and what is evaluated of it is a matter of `zoe_jax.evaluate.rules`.
"""

import dataclasses
import functools
import hashlib
import importlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import tensorflow_datasets as tfds

from zoe_jax.input.building import build
from zoe_jax.input.on_beam import BeamRun, on_beam
from zoe_jax.input.prepare import PreparationError, Progress
from zoe_jax.input.summary import OddFile, Summary
from zoe_jax.predict.batching import map_ahead

from .record_builder import RecordBuilder, RecordConfig

MISSING_FILES_SHOWN = 5
"""How many missing files an error names."""


@runtime_checkable
class RawExample(Protocol):
    """One image and its truth in the download; instances are small and can be pickled."""

    @property
    def id(self) -> str:
        """Of the record; unique in its split, and in alphabetical order the order of evaluation."""
        ...

    @property
    def files(self) -> Sequence[Path]:
        """All files that decide the features; that they are there is checked before anything is written."""
        ...

    def features(self) -> dict[str, Any]:
        """What `record_features` names, without `id`: files that are stored as they are, as their path.

        Raises:
            PreparationError: a file cannot be read, or holds something else than it should.
        """
        ...


@dataclass(frozen=True)
class RawOptions:
    """What every published data set asks."""

    raw: Path
    """Folder of the raw download, unpacked."""
    splits: Path | None = None
    """Folder or file of split lists, where they are not to be fetched from their public place."""
    only: tuple[str, ...] = ()
    """Splits to prepare, where not all are wanted or not all are there."""
    overwrite: bool = False
    """Replace the data set where it has been prepared already; the old one stays until the new one is complete."""
    beam_runner: str | None = None
    """Run as a pipeline of Apache Beam: DirectRunner for this machine, DataflowRunner, FlinkRunner, SparkRunner."""
    beam_option: tuple[str, ...] = ()
    """Options of that pipeline, each name or name=value, such as project=mine region=europe-west4."""


@dataclass
class RawConfig(RecordConfig):
    """One data set of a builder, with its examples found."""

    splits: Mapping[str, Sequence[RawExample]] = dataclasses.field(default_factory=dict)
    odd_files: Sequence[OddFile] = ()
    """For the report."""
    notes: Sequence[str] = ()
    """Sentences for the report."""
    jobs: int = 1
    """Threads that read; the records do not depend on it."""
    on_beam: bool = False
    """Whether Apache Beam writes the splits."""


class RawBuilder(RecordBuilder[RawConfig], skip_registration=True):
    """The builder of every published data set; a subclass gives it its name and docstring."""

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config = self._config
        if config.on_beam:
            return {split: on_beam(examples, keyed_features) for split, examples in config.splits.items()}
        return {split: _Examples(examples, config.jobs) for split, examples in config.splits.items()}


@dataclass(frozen=True)
class _Examples:
    """The examples of a split in their order, read some ahead; they have a length, for the progress bar."""

    examples: Sequence[RawExample]
    jobs: int

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        with ThreadPoolExecutor(self.jobs) as pool:
            yield from map_ahead(pool, keyed_features, self.examples, ahead=2 * self.jobs)


def keyed_features(example: RawExample) -> tuple[str, dict[str, Any]]:
    """An example as TFDS takes it: its key, and all its features."""
    return example.id, {"id": example.id, **example.features()}


Options = TypeVar("Options", bound=RawOptions)


@dataclass(frozen=True)
class RawPreparation(Generic[Options]):
    """One entry of `zoe-jax prepare`; see `zoe_jax.input.prepare.Preparation`."""

    name: str
    description: str
    """One line for the list of data sets."""
    builder: type[RawBuilder]
    options: type[Options]
    find: Callable[[Options], Sequence[RawConfig]]
    """Looks into the download, opens no image, and raises PreparationError that says what was expected where."""

    @property
    def documentation(self) -> str:
        """What the package of the builder says of itself, but for the first line: the description says as much."""
        package = importlib.import_module(self.builder.__module__.rpartition(".")[0])
        _, *paragraphs = inspect.cleandoc(package.__doc__ or "").split("\n\n")
        # of one line each, but for the indented ones: terminals are narrower or wider than the source
        return "\n\n".join(text if text.startswith(" ") else text.replace("\n", " ") for text in paragraphs)

    def prepare(self, options: Options, data_dir: Path, jobs: int, progress: Progress) -> Summary:
        """Prepares every configuration that `find` gives.

        Raises:
            PreparationError: the download is not what its owner ships, a file is missing or damaged, or the data set
                is there, made of other files.
        """
        splits = options.splits and options.splits.expanduser().absolute()
        options = dataclasses.replace(options, raw=options.raw.expanduser().absolute(), splits=splits)
        if not options.raw.is_dir():
            raise PreparationError(f"--raw {options.raw} is no folder; it should be that of the unpacked download")
        if options.beam_option and not options.beam_runner:
            raise PreparationError("--beam-option is for a pipeline of Apache Beam; name its --beam-runner as well")
        beam = BeamRun(options.beam_runner, options.beam_option) if options.beam_runner else None
        configs = _with_splits(self.find(options), options.only)
        for config in configs:
            for split, examples in config.splits.items():
                _check_examples(f"{self.builder.name}/{config.name}, split {split}", examples, progress)
        data_sets = []
        for config in configs:
            config = dataclasses.replace(config, jobs=jobs, on_beam=beam is not None)
            data_sets.append(
                build(
                    functools.partial(_make, self.builder, config),
                    data_dir,
                    {split: _files_digest(examples) for split, examples in config.splits.items()},
                    odd_files=config.odd_files,
                    notes=config.notes,
                    jobs=jobs,
                    progress=progress,
                    overwrite=options.overwrite,
                    beam=beam,
                )
            )
        return Summary(data_sets)


def _make(builder: type[RawBuilder], config: RawConfig, data_dir: str) -> RawBuilder:
    return builder(data_dir=data_dir, config=config)


def _with_splits(configs: Sequence[RawConfig], only: Sequence[str]) -> list[RawConfig]:
    """The configurations with these splits alone (all, where none is named); those that have none of them go."""
    if not only:
        return list(configs)
    known = sorted({split for config in configs for split in config.splits})
    if unknown := sorted(set(only).difference(known)):
        raise PreparationError(f"--only {' '.join(unknown)}: there is no such split; there are {', '.join(known)}")
    limited = [
        dataclasses.replace(config, splits={split: config.splits[split] for split in config.splits if split in only})
        for config in configs
    ]
    return [config for config in limited if config.splits]


def _check_examples(place: str, examples: Sequence[RawExample], progress: Progress) -> None:
    """Raises PreparationError where there are none, two of one id, or files are missing: how many, and the first."""
    if not examples:
        raise PreparationError(f"{place} is empty: no example was found for it")
    ids, missing = set(), []
    for example in progress(examples, f"looking for {place}"):
        if example.id in ids:
            raise PreparationError(f"{place}: two examples are called {example.id!r}; each should be there once")
        ids.add(example.id)
        missing += [file for file in example.files if not file.is_file()]
    if missing:
        shown = ", ".join(map(str, missing[:MISSING_FILES_SHOWN]))
        more = f" and {len(missing) - MISSING_FILES_SHOWN} more" if len(missing) > MISSING_FILES_SHOWN else ""
        raise PreparationError(
            f"{place}, of {len(examples)} examples: {len(missing)} {'file is' if len(missing) == 1 else 'files are'} "
            f"missing: {shown}{more}; get them, or leave the split out by --only"
        )


def _files_digest(examples: Sequence[RawExample]) -> str:
    """Changes when an example comes or goes, or a file of it changes its size; no file is opened."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.id, [(file.name, os.stat(file).st_size) for file in example.files])).encode())
    return digest.hexdigest()
