"""The depth metrics of the paper, per image, and their mean over a data set.

A data set's number is the unweighted mean over its images of the per-image number, as in the original
(compute_errors and RunningAverageDict in zoedepth/utils/misc.py); also for RMSE, which is therefore not a root over the
pixels of the data set.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class DepthMetrics(NamedTuple):
    """One value of each metric an image; the arrays have whatever shape the images have."""

    delta1: Float[Array, "..."]
    """Share of pixels with max(prediction / truth, truth / prediction) strictly below 1.25."""
    delta2: Float[Array, "..."]
    """The same below 1.25^2."""
    delta3: Float[Array, "..."]
    """The same below 1.25^3."""
    abs_rel: Float[Array, "..."]
    """Mean of |prediction - truth| / truth (REL in the paper)."""
    sq_rel: Float[Array, "..."]
    """Mean of (prediction - truth)^2 / truth, in metres."""
    rmse: Float[Array, "..."]
    """Root of the mean squared error, in metres."""
    rmse_log: Float[Array, "..."]
    """Root of the mean squared error of natural logarithms."""
    log10: Float[Array, "..."]
    """Mean absolute error of decimal logarithms."""
    silog: Float[Array, "..."]
    """100 times the standard deviation of ln(prediction) - ln(truth)."""


def depth_metrics(
    prediction_m: Float[Array, "b h w"], truth_m: Float[Array, "b h w"], valid_mask: Bool[Array, "b h w"]
) -> DepthMetrics:
    """Every metric of every image over its valid pixels (compute_errors in zoedepth/utils/misc.py).

    An image without a valid pixel gets nan. A prediction of 0 m gives infinite `rmse_log` and `log10` and nan `silog`,
    and counts as wrong in the deltas, as in the original. The variance under `silog` is summed around the mean, so that
    a prediction off by one factor everywhere gives 0, where the original's difference of two sums may give nan.
    Computed in the wider of the two types, at least float32. Invalid pixels may hold anything, nan included.

    Args:
        prediction_m: depth in metres at the truth's size, already clipped to the range of evaluation.
        truth_m: depth in metres.
        valid_mask: the pixels that count.

    Returns:
        Values of shape [b].
    """
    dtype = jnp.promote_types(jnp.result_type(prediction_m, truth_m), jnp.float32)
    prediction = jnp.where(valid_mask, prediction_m.astype(dtype), 1)
    truth = jnp.where(valid_mask, truth_m.astype(dtype), 1)
    count = jnp.sum(valid_mask, axis=(1, 2)).astype(dtype)

    def mean(values: Float[Array, "b h w"]) -> Float[Array, "b"]:
        return jnp.sum(jnp.where(valid_mask, values, 0), axis=(1, 2)) / count

    def share(condition: Bool[Array, "b h w"]) -> Float[Array, "b"]:
        return jnp.sum(condition & valid_mask, axis=(1, 2)).astype(dtype) / count

    ratio = jnp.maximum(prediction / truth, truth / prediction)
    error = prediction - truth
    log_error = jnp.log(prediction) - jnp.log(truth)
    mean_log_error = mean(log_error)[:, None, None]
    return DepthMetrics(
        delta1=share(ratio < 1.25),
        delta2=share(ratio < 1.25**2),
        delta3=share(ratio < 1.25**3),
        abs_rel=mean(jnp.abs(error) / truth),
        sq_rel=mean(error**2 / truth),
        rmse=jnp.sqrt(mean(error**2)),
        rmse_log=jnp.sqrt(mean(log_error**2)),
        log10=mean(jnp.abs(jnp.log10(prediction) - jnp.log10(truth))),
        silog=100.0 * jnp.sqrt(mean((log_error - mean_log_error) ** 2)),
    )


class MetricSums(NamedTuple):
    """What a mean over images needs: sums that add up over batches, hosts and devices in any order.

    A plain tree of scalars: two of them merge with `jax.tree.map(jnp.add, a, b)`, those of all devices with
    `jax.lax.psum(sums, axis_name)`, those of all hosts by adding what
    `jax.experimental.multihost_utils.process_allgather` returns.
    """

    totals: DepthMetrics
    """Sum of each metric over the images that count."""
    images: Int[Array, ""]
    """Images that count: real ones with at least one valid pixel."""
    empty_images: Int[Array, ""]
    """Real images without a valid pixel, which have no metrics and do not count."""


def batch_sums(
    metrics: DepthMetrics, valid_mask: Bool[Array, "b h w"], example_mask: Bool[Array, "b"] | None = None
) -> MetricSums:
    """The sums over the images of one batch; rows that pad the batch leave no trace in them.

    Args:
        metrics: what `depth_metrics` returned.
        valid_mask: the mask it was given.
        example_mask: False for rows that pad the batch; None means that all are real.
    """
    non_empty = jnp.any(valid_mask, axis=(1, 2))
    real = jnp.ones_like(non_empty) if example_mask is None else example_mask
    counted = real & non_empty
    totals = jax.tree.map(lambda values: jnp.sum(jnp.where(counted, values, 0)), metrics)
    return MetricSums(totals, jnp.sum(counted, dtype=jnp.int32), jnp.sum(real & ~non_empty, dtype=jnp.int32))


def mean_over_images(sums: MetricSums) -> DepthMetrics:
    """The data set's numbers: each sum over the number of images that count; nan where there is none.

    The original lets one image without valid pixels turn every mean into nan; here such images are left out, and their
    number stands in `sums.empty_images`. Infinite and nan values of other images are kept.
    """
    return jax.tree.map(lambda total: total / sums.images, sums.totals)
