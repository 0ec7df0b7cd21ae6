"""Every image of a source through a model, or a baseline, to its metrics."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.evaluate.metrics import DepthMetrics, depth_metrics
from zoe_jax.evaluate.validity import prediction_for_evaluation
from zoe_jax.input.source import Batch, DataSource
from zoe_jax.models.zoedepth import Params, forward, network_images

Network = Callable[[Batch], tuple[Float[Array, "b h w"], Int[Array, "b"]]]
"""A batch to depth in metres and to the domain whose head made it."""


class ImageResult(NamedTuple):
    """What came out for one image."""

    id: str
    domain: int
    """The label."""
    routed: int
    """The domain whose head made the depth."""
    metrics: DepthMetrics
    """Numbers; nan where the image has no valid pixel."""


def model_network(config: ZoeDepthConfig, params: Params) -> Network:
    """The model under jit, each image by the head of the router's choice; images are resized to the network's size."""

    @jax.jit
    def run(params: Params, images: Array) -> tuple[Array, Array]:
        out = forward(config, params, network_images(config, images))
        assert out.metric_depth is not None
        return out.metric_depth, out.domain

    return lambda batch: run(params, batch["image"])


def depth_of_domain(depths_m: Sequence[Float[np.ndarray, "h w"]]) -> Network:
    """A baseline: one depth map a domain, whatever the image shows."""
    maps = jnp.stack([jnp.asarray(depth_m) for depth_m in depths_m])
    return lambda batch: (maps[batch["domain"]], jnp.asarray(batch["domain"]))


def evaluate_source(
    network: Network, source: DataSource, config: ZoeDepthConfig, batch_size: int = 16
) -> Iterator[ImageResult]:
    """The metrics of every image over its valid pixels, at the size of its truth.

    Predictions are clipped to the depth range of the image's domain in `config`.
    """
    assert config.head is not None
    ranges = np.array([config.head.min_depth_m, config.head.max_depth_m], np.float32)
    for batch in source.validation_batches(batch_size, np.arange(batch_size)):
        arrays = batch.arrays
        depth_m, routed = network(arrays)
        low, high = (jnp.asarray(limit)[:, None, None] for limit in ranges[:, np.asarray(arrays["domain"])])
        metrics = _metrics(depth_m, arrays["depth_m"], arrays["valid_mask"], low, high)
        by_image = zip(*(np.asarray(values).tolist() for values in metrics), strict=True)
        labels = (np.asarray(indices).tolist() for indices in (arrays["domain"], routed))
        for name, domain, choice, values, real in zip(
            batch.ids, *labels, by_image, np.asarray(arrays["example_mask"]), strict=True
        ):
            if real:
                yield ImageResult(name, domain, choice, DepthMetrics(*values))


def mean_metrics(results: Sequence[ImageResult]) -> DepthMetrics:
    """The mean over images, those without a valid pixel left out."""
    values = np.array([result.metrics for result in results])
    values = values[~np.isnan(values[:, DepthMetrics._fields.index("abs_rel")])]
    return DepthMetrics(*values.mean(0).tolist())


@jax.jit
def _metrics(depth_m: Array, truth_m: Array, valid_mask: Array, low: Array, high: Array) -> DepthMetrics:
    _, height, width = truth_m.shape
    prediction = prediction_for_evaluation(depth_m, (height, width), low, high)
    return depth_metrics(prediction, truth_m, valid_mask)
