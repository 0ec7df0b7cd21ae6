"""The data of a run, opened as its configuration says."""

from dataclasses import replace
from pathlib import Path

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.input.batches import Part
from zoe_jax.input.config import AugmentConfig, DataConfig, DatasetConfig
from zoe_jax.input.in_memory import ArrayReader, read_archive
from zoe_jax.input.pipeline import Pipeline
from zoe_jax.input.reader import PreparedReader
from zoe_jax.input.source import DataError, RunData


def open_data(config: DataConfig, model: ZoeDepthConfig, seed: int) -> RunData:
    """The sources that a configuration names.

    Raises:
        DataError: no training data is named, or what is named is missing, damaged or of another content.
    """
    needs = f" ({config.needs})" if config.needs else ""
    if not config.train:
        raise DataError(f"the experiment has no training data: data.train needs a DatasetConfig{needs}")
    for i, dataset in enumerate(config.train):
        if not dataset.name:
            raise DataError(f"no training data is named: give --data.train.{i}.name NAME or FILE.npz{needs}")
    for dataset in config.validation:
        if replace(dataset.augment, kb_crop=False) != AugmentConfig():
            raise DataError(f"validation data {dataset.name!r} cannot be augmented: only kb_crop may be set there")
    train = Pipeline(
        [_open_part(dataset, config.data_dir, model) for dataset in config.train],
        mixing=config.mixing,
        seed=seed,
        workers=config.workers,
        prefetch=config.prefetch,
    )
    named = [dataset for dataset in config.validation if dataset.name]
    if not named:
        return RunData(train)
    return RunData(train, Pipeline([_open_part(dataset, config.data_dir, model) for dataset in named]))


def _open_part(config: DatasetConfig, data_dir: str | None, model: ZoeDepthConfig) -> Part:
    if config.name.endswith(".npz"):
        domains = () if config.domain else model.domains
        reader = ArrayReader(read_archive(Path(config.name)), config.name, domains)
        return Part.of(config.name, reader, config, model)
    reader = PreparedReader(config.name, config.split, data_dir)
    return Part.of(f"{config.name} {config.split}", reader, config, model)
