"""What the TFDS builders of all data sets share: records of `record_features`, and splits that bring their examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import tensorflow_datasets as tfds

from zoe_jax.input.records import DepthMetadata, record_features


@dataclass(kw_only=True)
class RecordConfig(tfds.core.BuilderConfig):
    """What the records of one data set hold; `name` is the TFDS configuration."""

    metadata: DepthMetadata
    image_format: str = "png"
    valid_mask: bool = False
    intrinsics: bool = False


Config = TypeVar("Config", bound=RecordConfig)


class RecordBuilder(tfds.core.GeneratorBasedBuilder, Generic[Config], skip_registration=True):
    """A builder made by `zoe-jax prepare`, not by `tfds build`; its docstring describes the data set."""

    VERSION = tfds.core.Version("1.0.0")

    @property
    def _config(self) -> Config:
        return cast(Config, self.builder_config)

    def _info(self) -> tfds.core.DatasetInfo:
        config = self._config
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=record_features(config.metadata, config.image_format, config.valid_mask, config.intrinsics),
            metadata=config.metadata.to_tfds(),
        )

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError("each split brings its own examples")
