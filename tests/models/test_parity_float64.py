"""In float64 the tiny models equal the original's float64 run: what float32 leaves open is rounding alone."""

import functools

import jax
import pytest

from tests.models.parity import errors
from tests.synthetic import QUICK_TO_COMPILE, golden, pixels, tiny_config, tiny_params
from zoe_jax.models.zoedepth import forward

# float64 carries 2e-16; measured: below 2e-12
EXACT = 1e-9
# the original adds its positional code in float32, so the router and its logits are good to 6e-8
AFTER_ROUTER = 1e-6
CASES = [("N", "N_64x96"), ("K", "K80_64x96"), ("NK", "NK_64x96_nyu"), ("NK", "NK_64x96_kitti")]


@functools.cache
def compiled(variant):
    config = tiny_config(variant, dtype="float64", param_dtype="float64")
    run = functools.partial(forward, config, intermediates=True)
    return config, jax.jit(run, compiler_options=QUICK_TO_COMPILE)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("variant", "case"), CASES, ids=[case for _, case in CASES])
def test_every_stored_array(variant, case):
    stored = golden(f"tiny_float64/{case}")
    config, network = compiled(variant)
    params = jax.tree.map(lambda leaf: leaf.astype("float64"), tiny_params(variant))
    out = network(params, pixels(stored["image_uint8"]).astype("float64"))
    assert out.metric_depth.dtype == "float64"
    wrong = {}
    for key in stored.keys() - {"image_uint8"}:
        largest, _ = errors(key, config, out, stored[key])
        if largest > (AFTER_ROUTER if key in ("router_out", "domain_logits") else EXACT):
            wrong[key] = f"{largest:.1e}"
    assert not wrong
