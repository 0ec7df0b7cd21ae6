"""The binomial-ordered distribution over bins (section 3.2, equation 4 of the paper)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoe_jax.ops.activations import softmax
from zoe_jax.ops.bins import expected_depth

PROBABILITY_EPSILON = 1e-4
"""Keeps the mode and its complement off zero (LogBinomial in zoedepth/models/layers/dist_layers.py)."""
_STIRLING_EPSILON = 1e-7


@functools.cache
def log_binomial_coefficients(n_bins: int, dtype: str) -> np.ndarray:
    """ln C(n_bins - 1, k) for every k by Stirling's formula without its square-root terms, of type `dtype` [n_bins].

    The original's approximation is part of the model (its weights were trained with it), and so is its rounding: its
    bins are numbered by an integer buffer, so that k and k ln k are float32 whatever the rest is.
    """

    def log(x: Any) -> Any:
        # rounded correctly, as torch's; numpy's own float32 logarithm is off by one digit here and there
        return np.log(x.astype(np.float64)).astype(x.dtype)

    n = np.add(n_bins - 1, _STIRLING_EPSILON, dtype=dtype)
    k = np.arange(n_bins, dtype=np.float32) + np.float32(_STIRLING_EPSILON)
    rest = n - k.astype(dtype)
    return n * log(n) - (k * log(k)).astype(dtype) - rest * log(rest + n.dtype.type(_STIRLING_EPSILON))


def mode_and_temperature(
    activations: Float[Array, "*b 4"], min_temperature: float, max_temperature: float
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Mode in (0, 1) and temperature from four positive numbers: a ratio of the first two, one of the last two."""
    a = activations + PROBABILITY_EPSILON
    mode = a[..., 0] / (a[..., 0] + a[..., 1])
    temperature = a[..., 2] / (a[..., 2] + a[..., 3])
    return mode, (max_temperature - min_temperature) * temperature + min_temperature


def log_binomial(mode: Float[Array, "*b"], temperature: Float[Array, "*b"], n_bins: int) -> Float[Array, "*b {n_bins}"]:
    """Probabilities of `n_bins` ordered bins: softmax over k of ln Binomial(k; n_bins - 1, mode) / temperature."""
    return _probabilities(*_logarithms(mode), temperature, n_bins)


def log_binomial_mean(
    mode: Float[Array, "*b"], temperature: Float[Array, "*b"], bin_centers: Float[Array, "*b bins"]
) -> Float[Array, "*b"]:
    """`expected_depth` under `log_binomial`, in metres if the centres are.

    With p the probabilities, c the centres and d their mean, the derivative of d by the logit of bin k is
    w_k = p_k (c_k - d), and the w_k of a pixel add up to 0. What differentiation has to keep of the distribution is
    therefore p and two sums a pixel, of w_k times k and times the coefficient of k, where it would otherwise keep
    every step from the logits to the mean, each with as many numbers as there are pixels and bins.
    """
    return _mean(*_logarithms(mode), temperature, bin_centers)


@jax.custom_jvp
def _mean(
    log_mode: Float[Array, "*b"],
    log_complement: Float[Array, "*b"],
    temperature: Float[Array, "*b"],
    bin_centers: Float[Array, "*b bins"],
) -> Float[Array, "*b"]:
    n_bins = bin_centers.shape[-1]
    return expected_depth(_probabilities(log_mode, log_complement, temperature, n_bins), bin_centers)


@_mean.defjvp
def _mean_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    log_mode, log_complement, temperature, bin_centers = primals
    d_log_mode, d_log_complement, d_temperature, d_bin_centers = tangents
    n_bins = bin_centers.shape[-1]
    probabilities = _probabilities(log_mode, log_complement, temperature, n_bins)
    mean = expected_depth(probabilities, bin_centers)
    by_logit = probabilities * (bin_centers - mean[..., None])
    coefficients = log_binomial_coefficients(n_bins, mean.dtype.name)
    factors = np.stack([np.arange(n_bins, dtype=coefficients.dtype), coefficients], axis=-1)
    sums = jnp.einsum("...n,nj->...j", by_logit, factors, precision=jax.lax.Precision.HIGHEST)
    by_log_odds = sums[..., 0]
    by_inverse_temperature = sums[..., 1] + by_log_odds * (log_mode - log_complement)
    return mean, (
        by_log_odds / temperature * (d_log_mode - d_log_complement)
        - by_inverse_temperature / temperature**2 * d_temperature
        + expected_depth(probabilities, d_bin_centers)
    )


def _logarithms(mode: Float[Array, "*b"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Of the mode and of its complement."""
    return (
        jnp.log(jnp.clip(mode, PROBABILITY_EPSILON, 1.0)),
        jnp.log(jnp.clip(1.0 - mode, PROBABILITY_EPSILON, 1.0)),
    )


def _probabilities(
    log_mode: Float[Array, "*b"], log_complement: Float[Array, "*b"], temperature: Float[Array, "*b"], n_bins: int
) -> Float[Array, "*b {n_bins}"]:
    k = jnp.arange(n_bins, dtype=log_mode.dtype)
    coefficients = jnp.asarray(log_binomial_coefficients(n_bins, log_mode.dtype.name))
    logits = coefficients + k * log_mode[..., None] + (n_bins - 1 - k) * log_complement[..., None]
    return softmax(logits / temperature[..., None])
