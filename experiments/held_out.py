"""A trained model on scenes it has not seen, beside predictions that look at no image."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

import zoe_jax
from zoe_jax.config import ZoeDepthConfig
from zoe_jax.depth_model import DepthModel
from zoe_jax.evaluate.baselines import TrainingDepths
from zoe_jax.evaluate.metrics import DepthMetrics
from zoe_jax.evaluate.runner import ImageResult, Network, depth_of_domain, evaluate_source, mean_metrics, model_network
from zoe_jax.input.config import AugmentConfig, DataConfig, DatasetConfig
from zoe_jax.input.run_data import open_data
from zoe_jax.input.source import DataSource

BATCH_SIZE = 40
METRICS = ("delta1", "abs_rel", "rmse")
BASELINES = ("best constant", "per-pixel median")


@dataclass(frozen=True)
class HeldOut:
    """What came out for every image; `predictors` are the model and the baselines."""

    model: DepthModel
    network: Network
    """The model as it was run, compiled for batches of BATCH_SIZE."""
    source: DataSource
    """The scenes."""
    by_predictor: dict[str, list[ImageResult]]

    @property
    def domains(self) -> tuple[str, ...]:
        """Of the model, in the order of its heads."""
        return self.model.config.domains

    def metrics(self, predictor: str, domain: str) -> DepthMetrics:
        """Means over the images of a domain."""
        index = self.domains.index(domain)
        return mean_metrics([result for result in self.by_predictor[predictor] if result.domain == index])

    def best_baseline(self, domain: str) -> dict[str, float]:
        """For each metric the number of the baseline that is better in it."""
        both = [self.metrics(name, domain)._asdict() for name in BASELINES]
        return {name: (max if name == "delta1" else min)(values[name] for values in both) for name in METRICS}

    def confusion(self) -> np.ndarray:
        """Images by label (rows) and by the router's choice (columns)."""
        counts = np.zeros((len(self.domains),) * 2, int)
        for result in self.by_predictor["model"]:
            counts[result.domain, result.routed] += 1
        return counts

    @property
    def router_accuracy(self) -> float:
        """Share of the images that went to the head of their own domain."""
        counts = self.confusion()
        return float(np.trace(counts) / counts.sum())

    def results(self) -> dict[str, Any]:
        """As in `results.json`."""
        return {
            "domains": {
                domain: {
                    "model": {name: round(getattr(self.metrics("model", domain), name), 4) for name in METRICS},
                    "best_baseline": {name: round(value, 4) for name, value in self.best_baseline(domain).items()},
                }
                for domain in self.domains
            },
            "router_accuracy": round(self.router_accuracy, 4),
        }


def evaluate_held_out(
    run_dir: Path, data_dir: Path, train: tuple[DatasetConfig, ...], test: tuple[DatasetConfig, ...]
) -> HeldOut:
    """The checkpoint of a run on the test sets; the baselines know the training sets, which are read once."""
    model = zoe_jax.load(run_dir)
    seen = _source(tuple(replace(dataset, augment=AugmentConfig()) for dataset in train), data_dir, model.config)
    source = _source(test, data_dir, model.config)
    statistics = _statistics(seen, model.config)
    height, width = model.config.network_size
    constants = [np.full((height, width), s.best_constant_m(), np.float32) for s in statistics]
    networks = {
        "model": model_network(model.config, model.params),
        "best constant": depth_of_domain(constants),
        "per-pixel median": depth_of_domain([s.median_map_m() for s in statistics]),
    }
    by_predictor = {
        name: list(evaluate_source(network, source, model.config, BATCH_SIZE)) for name, network in networks.items()
    }
    return HeldOut(model, networks["model"], source, by_predictor)


def _source(datasets: tuple[DatasetConfig, ...], data_dir: Path, model: ZoeDepthConfig) -> DataSource:
    data = open_data(DataConfig(train=datasets, validation=datasets, data_dir=str(data_dir)), model, seed=0)
    assert data.validation is not None  # it is named
    return data.validation


def _statistics(source: DataSource, config: ZoeDepthConfig) -> list[TrainingDepths]:
    assert config.head is not None
    statistics = [
        TrainingDepths(*limits) for limits in zip(config.head.min_depth_m, config.head.max_depth_m, strict=True)
    ]
    for batch in source.validation_batches(BATCH_SIZE, np.arange(BATCH_SIZE)):
        arrays = jax.tree.map(np.asarray, dict(batch.arrays))
        for row in np.flatnonzero(arrays["example_mask"]):
            statistics[arrays["domain"][row]].add(arrays["depth_m"][row], arrays["valid_mask"][row])
    return statistics
