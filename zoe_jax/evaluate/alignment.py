"""Relative depth brought to metres by the truth itself, so that models without a metric head can be compared."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def scale_and_shift(
    prediction: Float[Array, "b h w"], target: Float[Array, "b h w"], valid_mask: Bool[Array, "b h w"]
) -> tuple[Float[Array, "b"], Float[Array, "b"]]:
    """Of every image the s and t of least sum of (s prediction + t - target)^2 over its valid pixels.

    Equation 4 of Ranftl et al. 2020 (arXiv 1907.01341). Solved around the means, so that nothing cancels. A constant
    prediction has no scale: s is 0 and t the mean of the target. Without a valid pixel both are 0.
    """
    count = jnp.maximum(jnp.sum(valid_mask, axis=(1, 2)), 1)

    def mean(values: Float[Array, "b h w"]) -> Float[Array, "b"]:
        return jnp.sum(jnp.where(valid_mask, values, 0), axis=(1, 2)) / count

    mean_prediction, mean_target = mean(prediction), mean(target)
    centred = prediction - mean_prediction[:, None, None]
    variance = mean(centred**2)
    covariance = mean(centred * (target - mean_target[:, None, None]))
    # a millionth of the mean is what rounding makes of a constant
    varies = variance > (1e-6 * mean_prediction) ** 2
    scale = jnp.where(varies, covariance / jnp.where(varies, variance, 1), 0)
    return scale, mean_target - scale * mean_prediction


def depth_from_disparity(
    relative_depth: Float[Array, "b h w"],
    truth_m: Float[Array, "b h w"],
    valid_mask: Bool[Array, "b h w"],
    max_depth_m: float,
) -> Float[Array, "b h w"]:
    """Depth in metres of a model that predicts disparity up to scale and shift, as MiDaS and its family do.

    Scale and shift are fitted to 1 / truth; what then lies beyond `max_depth_m`, or behind the camera, becomes
    `max_depth_m`.

    Args:
        relative_depth: grows towards the camera, at the truth's size.
        truth_m: metres.
        valid_mask: the pixels to fit to.
        max_depth_m: the greatest depth evaluated.
    """
    disparity = 1 / jnp.where(valid_mask, truth_m, 1)
    scale, shift = (x[:, None, None] for x in scale_and_shift(relative_depth, disparity, valid_mask))
    return 1 / jnp.maximum(scale * relative_depth + shift, 1 / max_depth_m)
