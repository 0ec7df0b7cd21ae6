"""GELU, softmax and standardisation, each with the derivative that keeps least for the backward pass.

Left to itself, differentiation keeps an array of every step: three for a GELU, two for a softmax (JAX has a rule for
it, `jax_softmax_custom_jvp`, that is off unless asked for), two for a standardisation. Here it is one for each. These
arrays are the largest of a training step: attention weights and the hidden layer of every block.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_jvp
def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The exact (erf) GELU of the original: x F(x), F being the normal distribution."""
    return jax.nn.gelu(x, approximate=False)


@gelu.defjvp
def _gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    distribution = 0.5 * jax.lax.erfc(-x * 0.5**0.5)
    density = jnp.exp(-0.5 * x * x) * (2 * jnp.pi) ** -0.5
    return gelu(x), (distribution + x * density) * dx


@jax.custom_jvp
def softmax(x: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """Softmax along the last axis."""
    return jax.nn.softmax(x)


@softmax.defjvp
def _softmax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    y = softmax(x)
    return y, y * (dx - jnp.sum(y * dx, axis=-1, keepdims=True))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def standardize(x: Float[Array, "... c"], epsilon: float) -> Float[Array, "... c"]:
    """Mean 0 and variance 1 along the last axis, `epsilon` being added to the variance: a layer norm's first half."""
    return _standardize(x, epsilon)[0]


@standardize.defjvp
def _standardize_jvp(epsilon: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    y, inverse_deviation = _standardize(x, epsilon)
    centered = dx - jnp.mean(dx, axis=-1, keepdims=True)
    return y, inverse_deviation * (centered - y * jnp.mean(y * dx, axis=-1, keepdims=True))


def _standardize(x: Float[Array, "... c"], epsilon: float) -> tuple[Float[Array, "... c"], Float[Array, "... 1"]]:
    centered = x - jnp.mean(x, axis=-1, keepdims=True)
    # not E[x^2] - E[x]^2, which loses digits that the references keep
    inverse_deviation = jax.lax.rsqrt(jnp.mean(centered * centered, axis=-1, keepdims=True) + epsilon)
    return centered * inverse_deviation, inverse_deviation
