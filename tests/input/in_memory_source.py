"""Arrays as a source of training data, where a test has no use for files."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.input.batches import Part
from zoe_jax.input.config import DatasetConfig
from zoe_jax.input.in_memory import ArrayReader
from zoe_jax.input.mixture import Mixing
from zoe_jax.input.pipeline import Pipeline


class InMemorySource(Pipeline):
    """The examples of all parts, without augmentation, made in the caller's own thread."""

    def __init__(
        self, parts: Sequence[Mapping[str, Any]], model: ZoeDepthConfig, seed: int = 0, mixing: Mixing = "shuffle"
    ) -> None:
        readers = {f"part {i}": ArrayReader(part, f"part {i}", model.domains) for i, part in enumerate(parts)}
        of_model = [Part.of(name, reader, DatasetConfig(), model) for name, reader in readers.items()]
        super().__init__(of_model, mixing=mixing, seed=seed, threads=0)
