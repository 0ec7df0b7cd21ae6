"""The binomial-ordered distribution over bins (section 3.2, equation 4 of the paper)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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
    k = jnp.arange(n_bins, dtype=mode.dtype)
    log_mode = jnp.log(jnp.clip(mode, PROBABILITY_EPSILON, 1.0))[..., None]
    log_complement = jnp.log(jnp.clip(1.0 - mode, PROBABILITY_EPSILON, 1.0))[..., None]
    coefficients = jnp.asarray(log_binomial_coefficients(n_bins, mode.dtype.name))
    logits = coefficients + k * log_mode + (n_bins - 1 - k) * log_complement
    return jax.nn.softmax(logits / temperature[..., None], axis=-1)
