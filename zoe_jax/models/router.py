"""The router: a small transformer over the bottleneck that names the domain of an image (section 3.3 of the paper).

PatchTransformerEncoder and mlp_classifier of ZoeDepthNK in the original.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from zoe_jax.config import RouterConfig, Routing
from zoe_jax.models.layers import LayerNorm, record
from zoe_jax.ops.activations import softmax

LAYER_NORM_EPSILON = 1e-5


def sinusoidal_positions(length: int, width: int) -> np.ndarray:
    """Sines in the first half of the channels, cosines in the second: float32 [length, width], as the original's."""
    frequencies = np.exp(np.arange(0, width, 2, dtype=np.float32) * np.float32(-np.log(10000.0) / width))
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


class RouterLayer(nn.Module):
    """A post-norm transformer layer, the default of torch.nn.TransformerEncoderLayer; a body for `nn.scan`."""

    config: RouterConfig
    dtype: str
    param_dtype: str
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], _: None = None) -> tuple[Float[Array, "b n c"], None]:
        """Returns the tokens as the scan's carry."""
        c = self.config
        b, n, width = x.shape
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        norm1, norm2 = (LayerNorm(LAYER_NORM_EPSILON, name=name, **dtypes) for name in ("norm1", "norm2"))

        def dropout(y: Array) -> Array:
            return nn.Dropout(c.dropout_rate, deterministic=not self.train)(y)

        qkv = nn.Dense(3 * width, name="qkv", **dtypes)(x).reshape(b, n, 3, c.heads, width // c.heads)
        q, k, v = (qkv[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        scores = jnp.einsum("bhqd,bhkd->bhqk", q * (width // c.heads) ** -0.5, k)
        attended = jnp.einsum("bhqk,bhkd->bhqd", dropout(softmax(scores)), v)
        attended = attended.transpose(0, 2, 1, 3).reshape(b, n, width)
        x = norm1(x + dropout(nn.Dense(width, name="proj", **dtypes)(attended)))
        hidden = dropout(jax.nn.relu(nn.Dense(c.mlp_width, name="fc1", **dtypes)(x)))
        x = norm2(x + dropout(nn.Dense(width, name="fc2", **dtypes)(hidden)))
        record(self, "layer", x)
        return x, None


class Router(nn.Module):
    """Bottleneck to one logit a domain."""

    config: RouterConfig
    n_domains: int
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, bottleneck: Float[Array, "b h w c"], train: bool) -> Float[Array, "b domains"]:
        """Reads the token of zeros that leads the sequence of pixels, row-major."""
        c = self.config
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        b, h, w, _ = bottleneck.shape
        tokens = nn.Dense(c.width, name="embed", **dtypes)(bottleneck).reshape(b, h * w, c.width)
        record(self, "embed", tokens)
        tokens = jnp.pad(tokens, ((0, 0), (1, 0), (0, 0)))
        tokens = tokens + jnp.asarray(sinusoidal_positions(h * w + 1, c.width), tokens.dtype)
        layers = nn.scan(
            RouterLayer,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True, "dropout": True},
            length=c.depth,
        )
        tokens, _ = layers(c, train=train, name="layers", **dtypes)(tokens, None)
        hidden = jax.nn.relu(nn.Dense(c.width, name="fc1", **dtypes)(tokens[:, 0]))
        return nn.Dense(self.n_domains, name="fc2", **dtypes)(hidden)


def choose_domain(
    domain_logits: Float[Array, "b domains"], routing: Routing, example_mask: Bool[Array, "b"] | None
) -> Int[Array, "b"]:
    """Each image's own choice, or for `batch` one choice by the sum of the logits; a tie goes to the first domain.

    Rows where `example_mask` is False are padding: they never vote.
    """
    if routing == "batch":
        votes = domain_logits if example_mask is None else jnp.where(example_mask[:, None], domain_logits, 0.0)
        domain_logits = jnp.broadcast_to(jnp.sum(votes, axis=0), domain_logits.shape)
    return jnp.argmax(domain_logits, axis=-1).astype(jnp.int32)
