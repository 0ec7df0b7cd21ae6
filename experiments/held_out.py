"""A trained model on scenes it has not seen, beside predictions that look at no image.

Results go by data set: whatever heads a model has, it is judged on the same images, over the depths of each data set.
"""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

import zoe_jax
from zoe_jax.config import MetricHeadConfig, ZoeDepthConfig
from zoe_jax.depth_model import DepthModel
from zoe_jax.evaluate.baselines import TrainingDepths
from zoe_jax.evaluate.compare import ImageResult, Network, depth_of_domain, evaluate_source, mean_metrics, model_network
from zoe_jax.evaluate.metrics import DepthMetrics
from zoe_jax.input.config import AugmentConfig, DataConfig, DatasetConfig
from zoe_jax.input.reader import PreparedReader
from zoe_jax.input.run_data import open_data
from zoe_jax.input.source import DataSource
from zoe_jax.models.zoedepth import Params, forward, network_images

BATCH_SIZE = 40
METRICS = ("delta1", "abs_rel", "rmse")
BASELINES = ("best constant", "per-pixel median")


@dataclass(frozen=True)
class Scenes:
    """Test sets and what the baselines make of them, for any number of models."""

    layout: ZoeDepthConfig
    """As of a model with one head a data set: what tells the pipeline labels and ranges of depth."""
    source: DataSource
    """Labels are indices of data sets."""
    by_baseline: dict[str, list[ImageResult]]

    @property
    def datasets(self) -> tuple[str, ...]:
        """By the names that they give their domains."""
        return self.layout.domains


@dataclass(frozen=True)
class HeldOut:
    """What came out for every image; `predictors` are the model and the baselines."""

    model: DepthModel
    network: Network
    """The model as it was run, compiled for batches of BATCH_SIZE."""
    scenes: Scenes
    by_model: list[ImageResult]
    """`domain` is the index of the data set, `routed` that of the model's head."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """As of the scenes."""
        return self.scenes.datasets

    @property
    def heads(self) -> tuple[str, ...]:
        """Of the model, in its order."""
        return self.model.config.domains

    def metrics(self, predictor: str, dataset: str) -> DepthMetrics:
        """Means over the images of a data set."""
        index = self.datasets.index(dataset)
        results = self.by_model if predictor == "model" else self.scenes.by_baseline[predictor]
        return mean_metrics([result for result in results if result.domain == index])

    def best_baseline(self, dataset: str) -> dict[str, float]:
        """For each metric the number of the baseline that is better in it."""
        both = [self.metrics(name, dataset)._asdict() for name in BASELINES]
        return {name: (max if name == "delta1" else min)(values[name] for values in both) for name in METRICS}

    def confusion(self) -> np.ndarray:
        """Images by data set (rows) and by the head that they went to (columns)."""
        counts = np.zeros((len(self.datasets), len(self.heads)), int)
        for result in self.by_model:
            counts[result.domain, result.routed] += 1
        return counts

    @property
    def router_accuracy(self) -> float | None:
        """Share of the images that went to the head of their own data set; None where no router chose.

        A head that learnt without labels (`routing="mixture"`) belongs to no data set by name: of all ways to give each
        data set a head of its own, the one counts under which the share is greatest.
        """
        if self.model.config.router is None:
            return None
        counts = self.confusion()
        own_heads = [tuple(self.heads.index(name) for name in self.datasets)]
        if self.model.config.routing == "mixture":
            own_heads = list(itertools.permutations(range(len(self.heads)), len(self.datasets)))
        rows = range(len(self.datasets))
        return float(max(counts[rows, columns].sum() for columns in own_heads) / counts.sum())

    def results(self, digits: int = 4) -> dict[str, Any]:
        """As in `results.json`."""
        accuracy = self.router_accuracy
        return {
            "domains": {
                name: {
                    "model": {m: round(getattr(self.metrics("model", name), m), digits) for m in METRICS},
                    "best_baseline": {m: round(value, digits) for m, value in self.best_baseline(name).items()},
                }
                for name in self.datasets
            },
            "router_accuracy": None if accuracy is None else round(accuracy, digits),
        }


def evaluate_held_out(
    run_dir: Path, data_dir: Path, train: tuple[DatasetConfig, ...], test: tuple[DatasetConfig, ...]
) -> HeldOut:
    """The checkpoint of a run on the test sets; the baselines know the training sets, which are read once."""
    return evaluate_run(run_dir, open_scenes(data_dir, train, test))


def open_scenes(data_dir: Path, train: tuple[DatasetConfig, ...], test: tuple[DatasetConfig, ...]) -> Scenes:
    """The test sets beside the baselines; both tuples name the same data sets in the same order."""
    layout = _layout(test, data_dir)
    seen = _source(tuple(replace(dataset, augment=AugmentConfig()) for dataset in train), data_dir, layout)
    source = _source(test, data_dir, layout)
    statistics = _statistics(seen, layout)
    medians = [s.median_map_m() for s in statistics]
    constants = [np.full_like(m, s.best_constant_m()) for m, s in zip(medians, statistics, strict=True)]
    by_baseline = {
        name: list(evaluate_source(depth_of_domain(depths_m), source, layout, BATCH_SIZE))
        for name, depths_m in zip(BASELINES, (constants, medians), strict=True)
    }
    return Scenes(layout, source, by_baseline)


def evaluate_run(run_dir: Path, scenes: Scenes) -> HeldOut:
    """The checkpoint of a run on the test sets."""
    model = zoe_jax.load(run_dir)
    if model.config.routing == "label":
        network = _labelled_network(model, scenes)
    else:
        network = model_network(model.config, model.params)
    return HeldOut(model, network, scenes, list(evaluate_source(network, scenes.source, scenes.layout, BATCH_SIZE)))


def _layout(datasets: tuple[DatasetConfig, ...], data_dir: Path) -> ZoeDepthConfig:
    readers = [PreparedReader(dataset.name, dataset.split, str(data_dir)) for dataset in datasets]
    head = MetricHeadConfig(
        domains=tuple(reader.metadata.domain for reader in readers),
        min_depth_m=tuple(reader.metadata.min_depth_m for reader in readers),
        max_depth_m=tuple(reader.metadata.max_depth_m for reader in readers),
    )
    return ZoeDepthConfig(head=head, routing="label")


def _labelled_network(model: DepthModel, scenes: Scenes) -> Network:
    """The model under jit, each image by the head that has the name of its data set."""
    heads = np.array([model.config.domains.index(name) for name in scenes.datasets], np.int32)

    @jax.jit
    def run(params: Params, images: Array, domain: Array) -> tuple[Array, Array]:
        out = forward(model.config, params, network_images(model.config, images), domain)
        assert out.metric_depth is not None
        return out.metric_depth, out.domain

    return lambda batch: run(model.params, batch["image"], heads[np.asarray(batch["domain"])])


def _source(datasets: tuple[DatasetConfig, ...], data_dir: Path, layout: ZoeDepthConfig) -> DataSource:
    data = open_data(DataConfig(train=datasets, validation=datasets, data_dir=str(data_dir)), layout, seed=0)
    assert data.validation is not None  # it is named
    return data.validation


def _statistics(source: DataSource, layout: ZoeDepthConfig) -> list[TrainingDepths]:
    assert layout.head is not None
    statistics = [
        TrainingDepths(*limits) for limits in zip(layout.head.min_depth_m, layout.head.max_depth_m, strict=True)
    ]
    for batch in source.validation_batches(BATCH_SIZE, np.arange(BATCH_SIZE)):
        arrays = jax.tree.map(np.asarray, dict(batch.arrays))
        for row in np.flatnonzero(arrays["example_mask"]):
            statistics[arrays["domain"][row]].add(arrays["depth_m"][row], arrays["valid_mask"][row])
    return statistics
