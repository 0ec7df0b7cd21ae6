"""Layers that several modules share: dense ones, also with a domain axis, 3x3 convolution, layer norm, perceptrons."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from zoe_jax.ops.activations import standardize

SHAPE_ONLY = nn.initializers.zeros
"""For `param`: the modules declare shapes, `initialization.py` gives the values."""


def record(module: nn.Module, name: str, value: Array) -> None:
    """Keeps an intermediate under a name of its own if the caller of `apply` asks for intermediates."""
    # the mark keeps it apart from a sub-module of the same name
    module.sow("intermediates", f"@{name}", value)


class Dense(nn.Module):
    """x @ kernel + bias: the factors in `dtype`, sum and result in at least float32.

    What lies between two products (residual stream, activations, layer scale) is thereby rounded once, where it
    becomes a factor: in bfloat16 each rounding of the stream itself costs about 0.4 % of the depth.
    """

    features: int
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
        """Keeps all but the last axis."""
        kernel = self.param("kernel", SHAPE_ONLY, (x.shape[-1], self.features), self.param_dtype)
        bias = self.param("bias", SHAPE_ONLY, (self.features,), self.param_dtype)
        y = precise_product(x, kernel, self.dtype)
        return y + bias.astype(y.dtype)


def precise_product(x: Float[Array, "*b c"], kernel: Float[Array, "c d"], dtype: Any) -> Float[Array, "*b d"]:
    """x @ kernel with factors of type `dtype`, summed up and returned in at least float32."""
    sum_dtype = jnp.promote_types(dtype, jnp.float32)
    return jnp.matmul(x.astype(dtype), kernel.astype(dtype), preferred_element_type=sum_dtype)


class Conv3x3(nn.Module):
    """A 3x3 convolution over [b, h, w, c] with a border of one zero, as every one of DPT."""

    features: int
    dtype: str
    param_dtype: str
    stride: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b H W d"]:
        """Sides shrink by `stride`."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", SHAPE_ONLY, shape, self.param_dtype)
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(self.stride, self.stride),
            padding=((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        y = y.astype(jnp.promote_types(self.dtype, jnp.float32))
        if self.use_bias:
            y = y + self.param("bias", SHAPE_ONLY, (self.features,), self.param_dtype).astype(y.dtype)
        return y


class LayerNorm(nn.Module):
    """Standardised along the last axis in at least float32, scaled and shifted, and returned in `dtype`."""

    epsilon: float
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Keeps the shape."""
        scale, bias = (self.param(name, SHAPE_ONLY, x.shape[-1:], self.param_dtype) for name in ("scale", "bias"))
        y = standardize(x.astype(jnp.promote_types(x.dtype, jnp.float32)), self.epsilon)
        return (y * scale + bias).astype(self.dtype)


class DomainDense(nn.Module):
    """Parameters of one dense layer a domain, stacked along their leading axis; each image takes its own."""

    in_features: int
    features: int
    n_domains: int
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, domain: Int[Array, "b"]) -> tuple[Float[Array, "k c d"], Float[Array, "k 1 1 d"]]:
        """Kernel and bias for each image, or, where there is one domain only, for all images (k = 1)."""
        kernel = self.param("kernel", SHAPE_ONLY, (self.n_domains, self.in_features, self.features), self.param_dtype)
        bias = self.param("bias", SHAPE_ONLY, (self.n_domains, self.features), self.param_dtype)
        kernel, bias = kernel.astype(self.dtype), bias.astype(self.dtype)
        if self.n_domains > 1:
            kernel, bias = kernel[domain], bias[domain]
        return kernel, bias[:, None, None]


def per_image_product(x: Float[Array, "b h w c"], kernel: Float[Array, "k c d"]) -> Float[Array, "b h w d"]:
    """x @ kernel with a kernel an image, or one for all; sums as in `precise_product`."""
    if kernel.shape[0] == 1:
        return precise_product(x, kernel[0], kernel.dtype)
    sum_dtype = jnp.promote_types(kernel.dtype, jnp.float32)
    return jnp.einsum("bhwc,bcd->bhwd", x.astype(kernel.dtype), kernel, preferred_element_type=sum_dtype)


class DomainMlp(nn.Module):
    """1x1 convolution, ReLU, 1x1 convolution, with one set of parameters a domain."""

    hidden: int
    features: int
    n_domains: int
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], domain: Int[Array, "b"]) -> Float[Array, "b h w d"]:
        """Keeps height and width."""
        stacked: dict[str, Any] = {"n_domains": self.n_domains, "dtype": self.dtype, "param_dtype": self.param_dtype}
        kernel, bias = DomainDense(x.shape[-1], self.hidden, name="fc1", **stacked)(domain)
        hidden = jax.nn.relu(per_image_product(x, kernel) + bias)
        kernel, bias = DomainDense(self.hidden, self.features, name="fc2", **stacked)(domain)
        return per_image_product(hidden, kernel) + bias


class Mlp(nn.Module):
    """1x1 convolution, ReLU, 1x1 convolution, shared by all domains."""

    hidden: int
    features: int
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
        """Keeps all but the last axis."""
        hidden = Dense(self.hidden, dtype=self.dtype, param_dtype=self.param_dtype, name="fc1")(x)
        return Dense(self.features, dtype=self.dtype, param_dtype=self.param_dtype, name="fc2")(jax.nn.relu(hidden))
