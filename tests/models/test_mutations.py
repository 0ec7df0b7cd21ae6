"""The parity tests can tell: each of the mistakes that implementers make fails the comparison that they pass."""

import functools

import jax
import jax.numpy as jnp
import pytest

from tests.models.parity import assert_depth_equals
from tests.synthetic import QUICK_TO_COMPILE, golden, pixels, tiny_config, tiny_params
from zoe_jax.models import dpt, metric_head
from zoe_jax.models.encoders import beit
from zoe_jax.models.zoedepth import forward
from zoe_jax.ops.resize import resize_bilinear_align_corners

CASES = {"N": "tiny/N_rect64x96", "K": "tiny/K80_rect64x96"}


def run(variant, **overrides):
    # traced anew, so that a patched function is seen
    network = jax.jit(functools.partial(forward, tiny_config(variant, **overrides)), compiler_options=QUICK_TO_COMPILE)
    return network(tiny_params(variant), pixels(golden(CASES[variant])["image_uint8"])).metric_depth


def assert_fails(variant, **overrides):
    depth_m = run(variant, **overrides)
    with pytest.raises(AssertionError, match="relative error"):
        assert_depth_equals(variant, depth_m, golden(CASES[variant])["metric_depth"])


def test_tanh_gelu(monkeypatch):
    for module in (beit, dpt, metric_head):
        monkeypatch.setattr(module, "gelu", functools.partial(jax.nn.gelu, approximate=True))
    assert_fails("N")


@pytest.mark.parametrize("variant", ["N", "K"])
def test_layer_norm_epsilon(variant):
    assert_fails(variant, layer_norm_epsilon=1e-5)


def test_alpha_of_the_released_configuration():
    assert_fails("N", attractor_alpha=1000.0)


def test_sum_of_the_paper():
    assert_fails("N", attractor_kind="sum")


def test_aligned_corners_in_the_position_table(monkeypatch):
    def aligned(table, window, grid):
        side, size = 2 * window - 1, (2 * grid[0] - 1, 2 * grid[1] - 1)
        offsets = resize_bilinear_align_corners(table[:-3].reshape(side, side, -1), size)
        return jnp.moveaxis(offsets, -1, 0), table[-3:].T

    monkeypatch.setattr(beit, "resize_position_table", aligned)
    assert_fails("N")
