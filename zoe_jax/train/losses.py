"""The losses of the paper's recipe as plain functions; every one is finite where a batch has nothing to learn from.

Depths are [b, h, w] in metres. All statistics run over the whole array that a function is given: under jit with a
sharded batch that is the global batch. Computed in at least float32.

Where the original stops a run, a gradient of exactly 0 stands here: no valid pixel (the original raises), one valid
pixel as far as the variance goes (its unbiased variance is nan), a perfect prediction (sqrt has no slope at 0).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoe_jax.ops.resize import resize_bilinear_align_corners

SILOG_BETA = 0.15
"""Weight of the squared mean (zoedepth/trainers/loss.py): the lambda of the paper's equation is 1 - 0.15."""
SILOG_SCALE = 10.0
LOG_EPSILON = 1e-7
"""Added to depths before the logarithm (`alpha` in zoedepth/trainers/loss.py)."""
SLOPE_EPSILON = 1e-10
"""Added to the horizontal difference under the arctangent (`grad` in zoedepth/trainers/loss.py)."""


def silog_loss(
    prediction_m: Float[Array, "b h w"],
    truth_m: Float[Array, "b H W"],
    valid_mask: Bool[Array, "b H W"] | None = None,
) -> Float[Array, ""]:
    """Scale-invariant logarithmic error: 10 sqrt(var(g) + 0.15 mean(g)^2), g = ln(prediction) - ln(truth).

    Mean and unbiased variance are taken over the valid pixels of all images together (equation 5 of the paper;
    SILogLoss in zoedepth/trainers/loss.py). The prediction is first resized to the truth's size.

    Without a valid pixel the loss is 0; with one it is 10 sqrt(0.15) |g|, the variance counting as 0; with prediction
    equal to truth it is 0. Gradients are finite in all three cases, and 0 in the first and the last. Invalid pixels may
    hold anything, nan included. A prediction of at most -1e-7 m at a valid pixel gives nan, as in the original.

    Args:
        prediction_m: depth in metres, at any size.
        truth_m: depth in metres.
        valid_mask: the pixels that count; None means all.
    """
    prediction, truth = resized_to_truth(prediction_m, truth_m)
    valid = _all_valid(truth) if valid_mask is None else valid_mask
    log_prediction, log_truth = (jnp.log(_where_valid(valid, d) + LOG_EPSILON) for d in (prediction, truth))
    log_ratio = log_prediction - log_truth
    count = jnp.sum(valid).astype(log_ratio.dtype)
    mean = jnp.sum(jnp.where(valid, log_ratio, 0)) / jnp.maximum(count, 1)
    # second pass: E[g^2] - E[g]^2 would cancel in float32 where all ratios are alike
    variance = jnp.sum(jnp.where(valid, log_ratio - mean, 0) ** 2) / jnp.maximum(count - 1, 1)
    return SILOG_SCALE * _sqrt(variance + SILOG_BETA * mean**2)


def gradient_loss(
    prediction_m: Float[Array, "b h w"],
    truth_m: Float[Array, "b H W"],
    valid_mask: Bool[Array, "b H W"] | None = None,
) -> Float[Array, ""]:
    """L1 distance of image gradients, by squared magnitude and by angle (GradL1Loss in zoedepth/trainers/loss.py).

    Differences are taken towards the left and the upper neighbour; dx^2 + dy^2 is compared without a root, and
    atan(dy / (dx + 1e-10)) in radians. A pixel counts where it and both neighbours are valid; the loss is 0 where none
    does. The prediction is first resized to the truth's size.

    As in the original, the angle's slope is about 1e10 where neighbours of the prediction are exactly equal.

    Args:
        prediction_m: depth in metres, at any size.
        truth_m: depth in metres.
        valid_mask: the pixels that count; None means all.
    """
    prediction, truth = resized_to_truth(prediction_m, truth_m)
    valid = _all_valid(truth) if valid_mask is None else valid_mask
    counted = valid[:, 1:, 1:] & valid[:, 1:, :-1] & valid[:, :-1, 1:]
    magnitude, angle = _image_gradient(_where_valid(valid, prediction))
    truth_magnitude, truth_angle = _image_gradient(_where_valid(valid, truth))
    distance = _abs(magnitude - truth_magnitude) + _abs(angle - truth_angle)
    return jnp.sum(jnp.where(counted, distance, 0)) / jnp.maximum(jnp.sum(counted), 1)


def router_loss(
    domain_logits: Float[Array, "b d"],
    label: Int[Array, "b"],
    example_mask: Bool[Array, "b"] | None = None,
) -> Float[Array, ""]:
    """Cross-entropy of the router's logits against each image's domain, the mean over the images that count.

    zoedepth/trainers/zoedepth_nk_trainer.py, which labels a whole batch by its first image; here every image has its
    own label. The loss is 0 where no image counts.

    Args:
        domain_logits: one row an image.
        label: index of each image's domain.
        example_mask: False for rows that pad the batch; None means that all count.
    """
    logits = domain_logits.astype(jnp.promote_types(domain_logits.dtype, jnp.float32))
    counted = jnp.ones(label.shape, bool) if example_mask is None else example_mask
    log_probabilities = jax.nn.log_softmax(jnp.where(counted[:, None], logits, 0))
    cross_entropy = -jnp.take_along_axis(log_probabilities, label[:, None], axis=1)[:, 0]
    return jnp.sum(jnp.where(counted, cross_entropy, 0)) / jnp.maximum(jnp.sum(counted), 1)


def resized_to_truth(
    prediction_m: Float[Array, "b h w"], truth_m: Float[Array, "b H W"]
) -> tuple[Float[Array, "b H W"], Float[Array, "b H W"]]:
    """Both depths at the truth's size, in one floating type of at least float32.

    Bilinear with aligned corners, without antialiasing also when shrinking, wherever height or width differ. The
    original compares widths only, and fails where they agree while the heights do not.
    """
    dtype = jnp.promote_types(jnp.result_type(prediction_m, truth_m), jnp.float32)
    prediction = prediction_m.astype(dtype)
    if prediction.shape != truth_m.shape:
        prediction = resize_bilinear_align_corners(prediction[..., None], (truth_m.shape[1], truth_m.shape[2]))[..., 0]
    return prediction, truth_m.astype(dtype)


def _all_valid(depth: Float[Array, "b h w"]) -> Bool[Array, "b h w"]:
    return jnp.ones(depth.shape, bool)


def _where_valid(valid: Bool[Array, "b h w"], depth: Float[Array, "b h w"]) -> Float[Array, "b h w"]:
    """Depth with 1 m in place of invalid pixels, before any function that has no value or slope there."""
    return jnp.where(valid, depth, 1)


def _image_gradient(depth: Float[Array, "b h w"]) -> tuple[Float[Array, "b y x"], Float[Array, "b y x"]]:
    dx = depth[:, 1:, 1:] - depth[:, 1:, :-1]
    dy = depth[:, 1:, 1:] - depth[:, :-1, 1:]
    return dx**2 + dy**2, jnp.arctan(dy / (dx + SLOPE_EPSILON))


def _abs(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The absolute value with slope 0 at 0, as in torch; the slope of `jnp.abs` is 1 there."""
    return x * jnp.sign(x)


def _sqrt(x: Float[Array, ""]) -> Float[Array, ""]:
    """The root of a non-negative number, with slope 0 instead of infinity at 0; nan stays nan."""
    at_zero = x == 0
    return jnp.where(at_zero, 0, jnp.sqrt(jnp.where(at_zero, 1, x)))
