"""BEiT encoder with a relative-position table in every block (Bao et al. 2021, as MiDaS 3.1 runs it).

Blocks are stacked and scanned, one stack for each stretch between two taps: `stage_0` .. `stage_3`.
"""

import typing

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from zoe_jax.config import BeitConfig
from zoe_jax.models.layers import SHAPE_ONLY, Conv3x3, Dense, LayerNorm, precise_product, record
from zoe_jax.ops.activations import gelu, softmax
from zoe_jax.ops.relative_position import N_CLASS_TOKEN_ROWS, relative_position_bias, resize_position_table


class EncoderOutput(typing.NamedTuple):
    """What an encoder gives the decoder."""

    taps: list[Float[Array, "b n c"]]
    """Four, tokens in row-major order behind the class token."""
    grid: tuple[int, int]
    """Rows and columns of patches."""
    stem: dict[int, Float[Array, "b ? ? ?"]]
    """Maps of convolutions by their stride; empty where there are none."""


class Attention(nn.Module):
    """Self-attention over [b, n, width] tokens; query and value have a bias, key has none."""

    config: BeitConfig
    grid: tuple[int, int]
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        """Attends with the position bias added to the scores; softmax in at least float32."""
        heads, width = self.config.heads, self.config.width
        kernel = self.param("qkv", SHAPE_ONLY, (width, 3 * width), self.param_dtype)
        q_bias = self.param("q_bias", SHAPE_ONLY, (width,), self.param_dtype)
        v_bias = self.param("v_bias", SHAPE_ONLY, (width,), self.param_dtype)
        rows = (2 * self.config.window - 1) ** 2 + N_CLASS_TOKEN_ROWS
        table = self.param("relative_position_bias_table", SHAPE_ONLY, (rows, heads), self.param_dtype)
        bias = jnp.concatenate([q_bias, jnp.zeros_like(q_bias), v_bias])
        qkv = self.from_tokens(x, kernel, bias)
        # [b, heads, n, d] first: the products are slower straight over [b, n, heads, d]
        qkv = qkv.reshape(*x.shape[:2], 3, heads, width // heads)
        q, k, v = (qkv[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        position_bias = relative_position_bias(*resize_position_table(table, self.config.window, self.grid))
        record(self, "position_bias", position_bias)
        if self.config.attention == "fused":
            attended = fused_attention(q, k, v, position_bias)
        else:
            attended = einsum_attention(q, k, v, position_bias)
        attended = attended.transpose(0, 2, 1, 3).reshape(x.shape)
        return Dense(width, self.dtype, self.param_dtype, name="proj")(attended)

    def from_tokens(
        self, x: Float[Array, "b n c"], kernel: Float[Array, "c 3*c"], bias: Float[Array, "3*c"]
    ) -> Float[Array, "b n 3*c"]:
        """A method of its own because sharding pins the outputs of methods (`zoe_jax.train.sharding`)."""
        return (precise_product(x, kernel, self.dtype) + bias).astype(self.dtype)


def einsum_attention(
    q: Float[Array, "b heads n d"],
    k: Float[Array, "b heads n d"],
    v: Float[Array, "b heads n d"],
    bias: Float[Array, "heads n n"],
) -> Float[Array, "b heads n d"]:
    """Softmax(q k / sqrt(d) + bias) v, the scores in the type of `bias`."""
    scores = jnp.einsum("bhqd,bhkd->bhqk", q * q.shape[-1] ** -0.5, k, preferred_element_type=bias.dtype)
    weights = softmax(scores + bias)
    return jnp.einsum("bhqk,bhkd->bhqd", weights.astype(v.dtype), v)


def fused_attention(
    q: Float[Array, "b heads n d"],
    k: Float[Array, "b heads n d"],
    v: Float[Array, "b heads n d"],
    bias: Float[Array, "heads n n"],
) -> Float[Array, "b heads n d"]:
    """The same by `jax.nn.dot_product_attention`, which picks a fused kernel where the platform has one."""
    q, k, v = (t.transpose(0, 2, 1, 3) for t in (q, k, v))
    attended = jax.nn.dot_product_attention(q, k, v, bias=bias[None].astype(q.dtype))
    return attended.transpose(0, 2, 1, 3)


class Mlp(nn.Module):
    """Two dense layers with a GELU between."""

    hidden: int
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        """Keeps the width of `x`."""
        hidden = Dense(self.hidden, self.dtype, self.param_dtype, name="fc1")(x)
        return Dense(x.shape[-1], self.dtype, self.param_dtype, name="fc2")(gelu(hidden))


class Block(nn.Module):
    """Pre-norm transformer block with layer scale; a body for `nn.scan`."""

    config: BeitConfig
    grid: tuple[int, int]
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], _: None = None) -> tuple[Float[Array, "b n c"], None]:
        """Returns the tokens as the scan's carry, and no per-step output."""
        c = self.config
        scale = [
            self.param(name, SHAPE_ONLY, (c.width,), self.param_dtype).astype(x.dtype)
            for name in ("gamma_1", "gamma_2")
        ]
        norm1, norm2 = (
            LayerNorm(c.layer_norm_epsilon, self.dtype, self.param_dtype, name=name) for name in ("norm1", "norm2")
        )
        attention = Attention(c, self.grid, self.dtype, self.param_dtype, name="attention")
        mlp = Mlp(c.mlp_ratio * c.width, self.dtype, self.param_dtype, name="mlp")
        x = x + scale[0] * attention(norm1(x))
        x = x + scale[1] * mlp(norm2(x))
        record(self, "block", x)
        return x, None


_REMAT_POLICIES = {"dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable, "full": None}


class BeitEncoder(nn.Module):
    """Images to the raw outputs of four blocks, without BEiT's final norm, and to the maps of the stem."""

    config: BeitConfig
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> EncoderOutput:
        """`images` are normalised to [-1, 1] and have sides that are multiples of the patch size."""
        c = self.config
        b, h, w, _ = images.shape
        grid = (h // c.patch_size, w // c.patch_size)
        x, stem = images, {}
        for i, channels in enumerate(c.stem, 1):
            conv = Conv3x3(channels, self.dtype, self.param_dtype, stride=2, name=f"stem_{i}")
            stem[2**i] = x = gelu(conv(x))
        side = c.patch_size // 2 ** len(c.stem)
        patches = x.reshape(b, grid[0], side, grid[1], side, x.shape[-1])
        patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(b, grid[0] * grid[1], -1)
        tokens = Dense(c.width, self.dtype, self.param_dtype, name="patch_embed")(patches)
        record(self, "patch_embed", tokens)
        cls_token = self.param("cls_token", SHAPE_ONLY, (1, 1, c.width), self.param_dtype)
        x = jnp.concatenate([jnp.broadcast_to(cls_token.astype(tokens.dtype), (b, 1, c.width)), tokens], axis=1)

        block = Block
        if c.remat != "none":
            block = nn.remat(Block, policy=_REMAT_POLICIES[c.remat], prevent_cse=False)
        taps = []
        for stage, (start, end) in enumerate(zip((-1, *c.taps[:-1]), c.taps, strict=True)):
            blocks = nn.scan(
                block,
                variable_axes={"params": 0, "intermediates": 0},
                split_rngs={"params": True},
                length=end - start,
            )
            x, _ = blocks(c, grid, self.dtype, self.param_dtype, name=f"stage_{stage}")(x, None)
            taps.append(x)
        return EncoderOutput(taps, grid, stem)
