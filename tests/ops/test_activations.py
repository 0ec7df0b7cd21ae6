"""GELU, softmax, standardisation: the library's values, derivatives of our own that keep little."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoe_jax.ops.activations import gelu, softmax, standardize

EPSILON = 1e-3
CASES = {
    "gelu": (gelu, lambda x: jax.nn.gelu(x, approximate=False)),
    "softmax": (softmax, jax.nn.softmax),
    "standardize": (lambda x: standardize(x, EPSILON), lambda x: jax.nn.standardize(x, epsilon=EPSILON)),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives_are_the_librarys(name):
    ours, plain = CASES[name]
    with jax.enable_x64(True):
        x = jax.random.uniform(jax.random.key(0), (40, 7), minval=-12.0, maxval=12.0)
        weights = jax.random.normal(jax.random.key(1), x.shape)
        np.testing.assert_allclose(ours(x), plain(x), rtol=1e-12, atol=1e-14)

        def second(f):
            return jax.grad(lambda x: jnp.vdot(jax.grad(lambda x: jnp.vdot(f(x), weights))(x), weights))

        for derivative in (jax.jacfwd, jax.jacrev, second):
            np.testing.assert_allclose(derivative(ours)(x), derivative(plain)(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_keeps_one_array(name):
    _, pull_back = jax.vjp(CASES[name][0], jnp.ones((3, 5)))
    kept = [leaf.shape for leaf in jax.tree.leaves(pull_back)]
    assert kept.count((3, 5)) == 1
    assert sum(np.prod(shape) for shape in kept) <= 3 * 5 + 3
