"""The functional face: what goes in, what comes out, under which transformations, and what is refused."""

import functools
import inspect
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.models.parity import assert_depth_equals, compiled, depth_errors
from tests.synthetic import QUICK_TO_COMPILE, VARIANTS, golden, pixels, tiny_config, tiny_params
from zoe_jax.models.encoders import make_encoder
from zoe_jax.models.zoedepth import InputError, domain_indices, forward, init

RELATIVE = {"head": None}


def images_of(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(*shape, 3)), jnp.float32)


def quick_jit(function):
    return jax.jit(function, compiler_options=QUICK_TO_COMPILE)


@functools.cache
def relative_network():
    return quick_jit(functools.partial(forward, tiny_config("N", **RELATIVE)))


@functools.cache
def tap_and_gradient(**overrides):
    """The last tap of the encoder, and the gradient of a function of all."""
    config = tiny_config("N", **overrides)
    encoder = make_encoder(config.encoder, config.dtype, config.param_dtype, name="encoder")

    def loss(params, x):
        taps = encoder.apply({"params": params}, x).taps
        return sum((tap**2).mean() for tap in taps), taps[-1]

    return quick_jit(jax.value_and_grad(loss, has_aux=True))


@pytest.fixture(scope="module")
def relative_params():
    return {part: tiny_params("N")[part] for part in ("encoder", "decoder")}


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (96, 32), (160, 224)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_multiple_of_32(variant, size):
    config = tiny_config(variant)
    images = jax.ShapeDtypeStruct((3, *size, 3), jnp.float32)
    out = jax.eval_shape(functools.partial(forward, config), tiny_params(variant), images)
    assert out.metric_depth.shape == out.relative_depth.shape == (3, *size)
    assert out.metric_depth.dtype == out.relative_depth.dtype == jnp.float32
    assert (out.domain.shape, out.domain.dtype) == ((3,), jnp.int32)
    assert (out.domain_logits is None) == (variant != "NK")
    assert out.bin_centers is out.bin_probabilities is out.intermediates is None


def test_the_smallest_image_whose_coarsest_map_is_one_pixel():
    out = compiled(tiny_config("N"))(tiny_params("N"), images_of(1, 32, 32))
    assert out.bin_centers.shape == out.bin_probabilities.shape == (1, 32, 32, 64)
    assert np.all(np.isfinite(out.metric_depth))
    assert np.all(out.metric_depth > 0)


def test_init_makes_the_documented_tree():
    tree = jax.eval_shape(lambda: init(tiny_config("NK"), jax.random.key(0)))
    shapes = {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}
    assert shapes == {path: leaf.shape for path, leaf in flatten_dict(tiny_params("NK"), sep="/").items()}
    assert shapes["encoder/patch_embed/kernel"] == (16 * 16 * 3, 64)
    assert shapes["encoder/cls_token"] == (1, 1, 64)
    # a leading axis of layers in the encoder and the router, of domains in the heads
    assert shapes["encoder/stage_3/attention/qkv"] == (1, 64, 192)
    assert shapes["router/layers/fc1/kernel"] == (4, 128, 1024)
    assert shapes["metric_head/attractor_4/fc2/kernel"] == (2, 128, 16)
    assert shapes["metric_head/log_binomial/fc1/kernel"] == (2, 160, 40)
    assert shapes["metric_head/projector_1/fc1/kernel"] == (32, 64)
    assert shapes["bottleneck/kernel"] == (32, 32)
    assert "decoder/fusion_4/residual_1/conv1/kernel" not in shapes


def test_without_a_head_the_depth_is_relative(relative_params):
    out = relative_network()(relative_params, pixels(golden("tiny/N_rect64x96")["image_uint8"]))
    assert out.metric_depth is None
    np.testing.assert_allclose(out.relative_depth, golden("tiny/N_rect64x96")["rel_depth"], rtol=1e-5)


def test_a_batch_is_its_images(relative_params):
    images = images_of(3, 32, 64)
    together = relative_network()(relative_params, images).relative_depth
    for i in range(3):
        alone = relative_network()(relative_params, images[i : i + 1]).relative_depth[0]
        # another batch size is another order of the sums
        np.testing.assert_allclose(together[i], alone, rtol=2e-5)


def test_vmap_is_a_batch(relative_params):
    config = tiny_config("N", **RELATIVE)
    images = images_of(3, 1, 32, 64)
    mapped = quick_jit(jax.vmap(lambda x: forward(config, relative_params, x).relative_depth))(images)
    flat = relative_network()(relative_params, images[:, 0]).relative_depth
    np.testing.assert_allclose(mapped[:, 0], flat, rtol=2e-5)


def test_pmap_is_a_batch():
    script = """
import functools, jax, numpy as np
from tests.synthetic import tiny_config, tiny_params
from zoe_jax import forward

config, params = tiny_config("NK"), tiny_params("NK")
images = jax.random.uniform(jax.random.key(1), (2, 2, 32, 32, 3))
network = functools.partial(forward, config)
mapped = jax.pmap(network, in_axes=(None, 0))(params, images)
assert len(mapped.metric_depth.sharding.device_set) == jax.device_count() == 2
whole = jax.jit(network)(params, images.reshape(4, 32, 32, 3))
np.testing.assert_array_equal(mapped.domain.reshape(4), whole.domain)
np.testing.assert_allclose(mapped.metric_depth.reshape(4, 32, 32), whole.metric_depth, rtol=1e-4)
"""
    environment = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    finished = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("overrides", [{"attention": "fused"}, {"remat": "dots"}, {"remat": "full"}])
def test_variants_of_the_encoder_compute_the_same(relative_params, overrides):
    images, params = images_of(2, 32, 64), relative_params["encoder"]
    (_, tap), gradient = tap_and_gradient()(params, images)
    (_, other_tap), other_gradient = tap_and_gradient(**overrides)(params, images)
    np.testing.assert_allclose(other_tap, tap, atol=1e-5)
    others = flatten_dict(other_gradient, sep="/")
    for path, leaf in flatten_dict(gradient, sep="/").items():
        # sums in another order
        np.testing.assert_allclose(others[path], leaf, atol=2e-5 * float(jnp.abs(leaf).max()), err_msg=path)


def test_bfloat16_rounds_factors_and_keeps_the_rest_in_float32():
    stored = golden("tiny/N_rect64x96")
    out = compiled(tiny_config("N", dtype="bfloat16"))(tiny_params("N"), pixels(stored["image_uint8"]))
    arrays = {"metric_depth": out.metric_depth, "bin_centers": out.bin_centers} | out.intermediates
    assert {name for name, array in arrays.items() if array.dtype != jnp.float32} == set()
    _, mean = depth_errors(out.metric_depth, stored["metric_depth"])
    # measured 1e-3: bfloat16 has three digits; were nothing rounded, this would be 2e-7
    assert 1e-5 < mean <= 3e-3


def test_bfloat16_parameters():
    config = tiny_config("NK", param_dtype="bfloat16")
    params = jax.eval_shape(lambda: init(config, jax.random.key(0)))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    out = jax.eval_shape(functools.partial(forward, config, intermediates=True), params, images)
    # they are widened where they are used
    assert {array.dtype for array in out.intermediates.values()} == {jnp.dtype(jnp.float32)}


def test_domains_by_name_and_by_index():
    params, config = tiny_params("NK"), tiny_config("NK", routing="label")
    images = pixels(golden("tiny/NK_rect64x96_batch2")["image_uint8"])
    network = quick_jit(functools.partial(forward, config))
    by_index = network(params, images, jnp.array([1, 0]))
    assert by_index.domain.tolist() == [1, 0]
    np.testing.assert_allclose(by_index.domain_logits, golden("tiny/NK_rect64x96_batch2")["domain_logits"], rtol=1e-5)
    for names in (["kitti", "nyu"], ("kitti", "nyu")):
        assert domain_indices(config, names, 2).tolist() == [1, 0]
    assert domain_indices(config, "kitti", 2).tolist() == [1, 1]
    # a label outdoes the router: the images' own domains are the other ones
    own = network(params, images, jnp.array([0, 1]))
    assert_depth_equals("NK", own.metric_depth[0], golden("tiny/NK_rect64x96_nyu")["metric_depth"])
    assert depth_errors(by_index.metric_depth[0], golden("tiny/NK_rect64x96_nyu")["metric_depth"])[1] > 0.01


def test_twice_the_blocks_are_no_more_code():
    """The encoder's blocks are scanned, not unrolled: the time to compile does not grow with them."""

    def code(blocks_per_stage):
        taps = tuple(blocks_per_stage * stage - 1 for stage in (1, 2, 3, 4))
        config = tiny_config("N", **{"encoder.depth": 4 * blocks_per_stage, "encoder.taps": taps})
        params = jax.eval_shape(functools.partial(init, config), jax.random.key(0))
        return jax.jit(forward, static_argnums=0).lower(config, params, images_of(1, 64, 96)).as_text()

    six, twelve = code(6), code(12)
    for part in ("\n", "dot_general"):
        assert six.count(part) == twelve.count(part) > 0


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (np.zeros((64, 64, 3), np.float32), r"shape \(64, 64, 3\); they must be \[batch, height, width, 3\]"),
        (np.zeros((1, 64, 64, 4), np.float32), r"must be \[batch, height, width, 3\]"),
        (np.zeros((1, 3, 64, 64), np.float32), r"must be \[batch, height, width, 3\]"),
        (np.zeros((1, 64, 64, 3), np.uint8), r"uint8; they must be floats in \[0, 1\]"),
        (np.zeros((1, 64, 40, 3), np.float32), "64x40 pixels; both sides must be multiples of 32"),
        (np.zeros((1, 0, 64, 3), np.float32), "multiples of 32"),
    ],
)
def test_images_that_are_refused(images, complaint):
    # the tests' type checker would refuse some before the package does
    with pytest.raises(InputError, match=complaint):
        inspect.unwrap(forward)(tiny_config("N"), tiny_params("N"), images)


@pytest.mark.parametrize(
    ("domain", "complaint"),
    [
        ("paris", r"no domain 'paris' in this model; it has \('nyu', 'kitti'\)"),
        (["nyu", "paris"], "no domain 'paris'"),
        (["nyu"], "one for each of 2 images"),
        (np.array([0, 2]), "must lie in 0..1"),
        (np.array([-1, 0]), "must lie in 0..1"),
        (None, "give the domain of each image"),
    ],
)
def test_domains_that_are_refused(domain, complaint):
    with pytest.raises(InputError, match=complaint):
        forward(tiny_config("NK", routing="label"), tiny_params("NK"), images_of(2, 32, 32), domain)
