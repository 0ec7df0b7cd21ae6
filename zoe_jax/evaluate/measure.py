"""Under jit: a batch through the network, and its depth against the truth."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.evaluate.alignment import depth_from_disparity
from zoe_jax.evaluate.metrics import DepthMetrics, depth_metrics
from zoe_jax.evaluate.rules import Rule
from zoe_jax.evaluate.validity import prediction_for_evaluation
from zoe_jax.input.summary import DEPTH_EDGES_M
from zoe_jax.models.zoedepth import Params, forward
from zoe_jax.ops.resize import resize_bilinear_align_corners
from zoe_jax.predict.protocols import Plan
from zoe_jax.predict.resize import Taps


class Predicted(NamedTuple):
    """What the network says of a batch, at network resolution."""

    depth: Float[Array, "b h w"]
    """Metres; of a model without metric heads its relative depth, which grows towards the camera."""
    domain: Int[Array, "b"]
    """The head of the upright image."""


@functools.partial(jax.jit, static_argnames=("config", "flip"))
def predict(
    params: Params,
    images: Float[Array, "b h w 3"],
    example_mask: Bool[Array, "b"],
    domain: Int[Array, "b"] | None,
    config: ZoeDepthConfig,
    flip: bool,
) -> Predicted:
    """The mean over an image and its mirror image, each routed for itself, as evaluate.py of the original does."""

    def view(images: Float[Array, "b h w 3"]) -> Predicted:
        out = forward(config, params, images, domain=domain, example_mask=example_mask)
        depth = out.relative_depth if out.metric_depth is None else out.metric_depth
        return Predicted(depth.astype(jnp.float32), out.domain)

    if not flip:
        return view(images)
    # a loop compiles the network once, and holds the activations of one view at a time
    depth, domains = jax.lax.map(view, jnp.stack([images, images[:, :, ::-1]]))
    return Predicted((depth[0] + depth[1][:, :, ::-1]) / 2, domains[0])


class Measured(NamedTuple):
    """One row an image."""

    metrics: DepthMetrics
    valid_pixels: Int[Array, "b"]
    nonfinite_pixels: Int[Array, "b"]
    abs_rel_sums: Float[Array, "b ranges"]
    """By true depth, between each two of DEPTH_EDGES_M."""
    pixels_by_depth: Int[Array, "b ranges"]


@functools.partial(jax.jit, static_argnames=("plan", "rule", "aligned"))
def measure(
    depth: Float[Array, "b h w"],
    truth_m: Float[Array, "b H W"],
    valid_mask: Bool[Array, "b H W"],
    plan: Plan,
    rule: Rule,
    aligned: bool,
) -> Measured:
    """Metrics at the truth's size.

    Args:
        depth: from `predict`.
        truth_m: metres.
        valid_mask: the pixels that count.
        plan: how the network's output goes back to the image's size, where the protocol has it so.
        rule: its range of depth bounds the prediction.
        aligned: `depth` is relative, and is first brought to the truth by a scale and a shift of its own an image.
    """
    at_truth = predicted_depth(depth, truth_m, valid_mask, plan, rule, aligned)
    relative_error = jnp.where(valid_mask, jnp.abs(at_truth - truth_m) / truth_m, 0)
    inner_edges = jnp.asarray(DEPTH_EDGES_M[1:-1], truth_m.dtype)
    ranges = jnp.searchsorted(inner_edges, truth_m, side="right").reshape(len(truth_m), -1)

    def by_depth(values: Num[Array, "b H W"]) -> Num[Array, "b ranges"]:
        add_up = functools.partial(jax.ops.segment_sum, num_segments=len(DEPTH_EDGES_M) - 1)
        return jax.vmap(add_up)(values.reshape(ranges.shape), ranges)

    return Measured(
        depth_metrics(at_truth, truth_m, valid_mask),
        jnp.sum(valid_mask, axis=(1, 2)),
        jnp.sum(~jnp.isfinite(depth), axis=(1, 2)),
        by_depth(relative_error),
        by_depth(valid_mask.astype(jnp.int32)),
    )


def predicted_depth(
    depth: Float[Array, "b h w"],
    truth_m: Float[Array, "b H W"],
    valid_mask: Bool[Array, "b H W"],
    plan: Plan,
    rule: Rule,
    aligned: bool,
) -> Float[Array, "b H W"]:
    """The prediction in metres at the truth's size, within the range of the rule."""
    height, width = truth_m.shape[1:]
    if plan.upsampling == "bicubic":
        depth = restored(plan, depth)
    if aligned:
        at_truth = resize_bilinear_align_corners(depth[..., None], (height, width))[..., 0]
        depth = depth_from_disparity(at_truth, truth_m, valid_mask, rule.max_depth_m)
    return prediction_for_evaluation(depth, (height, width), rule.min_depth_m, rule.max_depth_m)


def restored(plan: Plan, maps: Float[Array, "b h w"]) -> Float[Array, "b height width"]:
    """`Plan.restore` under jit."""
    rows, columns = plan.restoring_taps()
    return _along(_along(maps, rows, 1), columns, 2)


def _along(maps: Float[Array, "b h w"], taps: Taps, axis: int) -> Float[Array, "b H W"]:
    shape = [1, 1, 1]
    shape[axis] = -1
    weights = taps.weights.astype(np.float32)
    total: Any = 0
    for k in range(taps.indices.shape[1]):
        total = total + jnp.take(maps, taps.indices[:, k], axis) * weights[:, k].reshape(shape)
    return total
