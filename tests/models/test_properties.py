"""What holds for the metric head whatever its parameters: distributions, ranges, domains, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.models.parity import run
from tests.synthetic import QUICK_TO_COMPILE, golden, pixels, tiny_config
from zoe_jax.config import MetricHeadConfig
from zoe_jax.models.dpt import DecoderOutput
from zoe_jax.models.metric_head import MetricHead
from zoe_jax.models.zoedepth import forward, init

BIN_CENTERS_TYPES = ("softplus", "normed", "hybrid1", "hybrid2")
CASES = {"N": "tiny/N_rect64x96", "K": "tiny/K80_rect64x96", "NK": "tiny/NK_rect64x96_batch2"}
CHANNELS = 8


def head_config(**overrides):
    small = {
        "n_bins": 16,
        "bin_embedding_channels": 8,
        "seed_hidden": 8,
        "projector_hidden": 8,
        "attractor_hidden": 8,
        "n_attractors": (2, 1, 1, 1),
    }
    return MetricHeadConfig(**(small | overrides))


def decoder_output(batch=2, scale=1.0):
    """Random features of an image of 32x64 pixels, and the bottleneck."""
    rng = np.random.default_rng(0)

    def features(height, width):
        return jnp.asarray(scale * rng.normal(size=(batch, height, width, CHANNELS)), jnp.float32)

    fusions = tuple(features(2 * s, 4 * s) for s in (1, 2, 4, 8))
    relative_depth = jnp.asarray(scale * rng.uniform(size=(batch, 32, 64)), jnp.float32)
    return DecoderOutput(features(1, 2), fusions, features(32, 64), relative_depth)


@functools.cache
def head_params(config):
    """Random parameters without a compilation: normal kernels of unit gain, small biases."""
    head, decoded = MetricHead(config, "float32", "float32"), decoder_output()
    domain = jnp.zeros(2, jnp.int32)
    shapes = jax.eval_shape(head.init, jax.random.key(0), decoded, decoded.bottleneck, domain)["params"]
    rng = np.random.default_rng(0)
    flat = {
        path: rng.normal(size=leaf.shape) / (np.sqrt(leaf.shape[-2]) if path[-1] == "kernel" else 10)
        for path, leaf in flatten_dict(shapes).items()
    }
    return unflatten_dict({path: jnp.asarray(values, jnp.float32) for path, values in flat.items()})


def apply_head(config, params, decoded, domain):
    head = MetricHead(config, "float32", "float32")
    return head.apply({"params": params}, decoded, decoded.bottleneck, domain)


@functools.cache
def compiled_head(config):
    return jax.jit(functools.partial(apply_head, config), compiler_options=QUICK_TO_COMPILE)


@pytest.mark.parametrize("variant", CASES)
def test_every_pixel_has_a_distribution_with_one_peak(variant):
    _, out = run(variant, CASES[variant])
    probabilities = np.asarray(out.bin_probabilities, np.float64)
    assert probabilities.min() >= 0
    # 64 float32 numbers
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    rises = np.diff(probabilities, axis=-1) > 0
    # once it falls it never rises again, but for rounding
    risen_after_a_fall = rises & (np.minimum.accumulate(rises, axis=-1) == 0)
    assert np.diff(probabilities, axis=-1)[risen_after_a_fall].max(initial=0) <= 1e-7


@pytest.mark.parametrize("variant", CASES)
def test_depth_is_the_mean_of_the_centers(variant):
    _, out = run(variant, CASES[variant])
    mean = (np.asarray(out.bin_probabilities, np.float64) * out.bin_centers).sum(-1)
    np.testing.assert_allclose(out.metric_depth, mean, rtol=1e-5)


def test_bounded_centers_and_depth_lie_in_the_range():
    for overrides, max_depth_m in (({}, 80.0), ({"max_depth_m": 10.0}, 10.0)):
        _, out = run("K", "tiny/K_rect64x96", **overrides)
        centers = np.asarray(out.bin_centers)
        # an interpolation between two centres rounds once
        assert centers.min() >= 1e-3 * (1 - 1e-6)
        assert centers.max() <= max_depth_m * (1 + 1e-6)
        assert np.all(np.diff(centers, axis=-1) >= -1e-5 * max_depth_m)
        assert out.metric_depth.max() <= max_depth_m * (1 + 1e-5)


@pytest.mark.parametrize("variant", ["N", "NK"])
def test_new_centers_stay_between_the_old_ones_and_the_attractors(variant):
    _, out = run(variant, CASES[variant])
    named = {name: np.asarray(array) for name, array in out.intermediates.items()}
    before = named["seed_bins"]
    for n in range(1, 5):
        points, after = named[f"attractor_points_{n}"], named[f"attracted_centers_{n}"]
        # the centres are interpolated to the finer map first, so the hull is that of the whole map's
        low = np.minimum(before.min((1, 2))[:, None, None], points.min(-1, keepdims=True))
        high = np.maximum(before.max((1, 2))[:, None, None], points.max(-1, keepdims=True))
        assert np.all(after >= low - 1e-5)
        assert np.all(after <= high + 1e-5)
        before = after


@pytest.mark.parametrize("bin_centers_type", BIN_CENTERS_TYPES)
def test_a_domain_is_a_model_of_its_own(bin_centers_type):
    ranges = {"min_depth_m": (0.1, 1.0), "max_depth_m": (10.0, 80.0)}
    config = head_config(domains=("nyu", "kitti"), bin_centers_type=bin_centers_type, **ranges)
    params, decoded = head_params(config), decoder_output()
    both = compiled_head(config)(params, decoded, jnp.array([1, 0]))
    for image, domain in ((0, 1), (1, 0)):
        one_range = {name: (values[domain],) for name, values in ranges.items()}
        alone = head_config(domains=config.domains[domain : domain + 1], bin_centers_type=bin_centers_type, **one_range)
        # projectors are shared
        own = {
            path: leaf if "projector" in path[0] else leaf[domain : domain + 1]
            for path, leaf in flatten_dict(params).items()
        }
        expected = compiled_head(alone)(unflatten_dict(own), decoded, jnp.zeros(2, jnp.int32))
        np.testing.assert_allclose(both.metric_depth[image], expected.metric_depth[image], rtol=1e-4)
        if bin_centers_type in ("normed", "hybrid2"):
            low, high = one_range["min_depth_m"][0], one_range["max_depth_m"][0]
            assert low * (1 - 1e-6) <= both.bin_centers[image].min() <= both.bin_centers[image].max() <= high * 1.000001


@pytest.mark.parametrize(
    ("bin_centers_type", "attractors"),
    [*((kind, ("inverse", "mean")) for kind in BIN_CENTERS_TYPES), ("softplus", ("exponential", "sum"))],
)
def test_gradients_of_the_head_are_finite(bin_centers_type, attractors):
    attractor_type, attractor_kind = attractors
    config = head_config(
        bin_centers_type=bin_centers_type, attractor_type=attractor_type, attractor_kind=attractor_kind
    )

    def loss(params, decoded):
        return apply_head(config, params, decoded, jnp.zeros(2, jnp.int32)).metric_depth.mean()

    gradient = jax.jit(jax.grad(loss, (0, 1)), compiler_options=QUICK_TO_COMPILE)
    # ordinary features; none at all; and so large that modes and temperatures reach their bounds
    for scale in (1.0, 0.0, 1e3):
        leaves = jax.tree.leaves(gradient(head_params(config), decoder_output(scale=scale)))
        assert all(np.all(np.isfinite(leaf)) for leaf in leaves)
        assert sum(float(jnp.abs(leaf).sum()) for leaf in leaves) > 0


def test_gradients_of_the_whole_model_are_finite_and_reach_every_parameter():
    # fewer attractors are fewer terms to compile
    config = tiny_config("NK", n_attractors=(2, 1, 1, 1))
    params = init(config, jax.random.key(0))
    images = pixels(golden(CASES["NK"])["image_uint8"])

    def loss(params):
        out = forward(config, params, images, train=True, rngs={"dropout": jax.random.key(0)})
        # the metric depth of NK does not depend on the relative one, and the choice of a head has no gradient
        return (
            jnp.log(out.metric_depth).mean() + out.relative_depth.mean() + jax.nn.log_softmax(out.domain_logits)[0, 0]
        )

    gradient = jax.jit(jax.grad(loss), compiler_options=QUICK_TO_COMPILE)(params)
    for path, leaf in flatten_dict(gradient, sep="/").items():
        assert np.all(np.isfinite(leaf)), path
        assert np.any(leaf != 0), path
