"""The DPT decoder of MiDaS (Ranftl et al. 2021): reassemble four taps, fuse them coarse to fine, relative depth."""

import typing
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from zoe_jax.config import DptConfig
from zoe_jax.models.encoders.beit import EncoderOutput
from zoe_jax.models.layers import SHAPE_ONLY, Conv3x3, Dense, precise_product, record
from zoe_jax.ops.activations import gelu
from zoe_jax.ops.resize import resize_bilinear_align_corners

STRIDES = (4, 8, 16, 32)
"""Pixels of the image per pixel of each reassembled tap, for a patch of 16."""


class DecoderOutput(typing.NamedTuple):
    """What the metric head reads, coarse to fine, and the relative depth; no map is finer than the output stride."""

    bottleneck: Float[Array, "b h/32 w/32 c"]
    fusions: tuple[Float[Array, "b ? ? c"], ...]
    """At 1/16, 1/8, 1/4 and 1/2 of the image."""
    head: Float[Array, "b h w 32"]
    relative_depth: Float[Array, "b h w"]


class Reassemble(nn.Module):
    """Tokens of one tap to a map at its own stride: readout of the class token, projection, resampling."""

    features: int
    scale: float
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, tokens: Float[Array, "b n c"], grid: tuple[int, int]) -> Float[Array, "b H W d"]:
        """Sides become `scale` times the grid; scales above 1 by a transposed convolution without overlap."""
        dense: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        patches, class_token = tokens[:, 1:], tokens[:, :1]
        x = Readout(name="readout", **dense)(patches, class_token)
        record(self, "readout", x)
        x = Dense(self.features, name="project", **dense)(x).reshape(x.shape[0], *grid, self.features)
        if self.scale > 1:
            x = PatchTranspose(self.features, int(self.scale), name="resize", **dense)(x)
        elif self.scale < 1:
            x = Conv3x3(self.features, stride=int(1 / self.scale), name="resize", **dense)(x)
        record(self, "reassemble", x)
        return x


class Readout(nn.Module):
    """Gives every patch the class token: GELU(Linear(concat(patch, class token)))."""

    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, patches: Float[Array, "b n c"], class_token: Float[Array, "b 1 c"]) -> Float[Array, "b n c"]:
        """The class token's half of the product is the same for every patch, so it is computed once."""
        width = patches.shape[-1]
        kernel = self.param("kernel", SHAPE_ONLY, (2 * width, width), self.param_dtype)
        bias = self.param("bias", SHAPE_ONLY, (width,), self.param_dtype)
        return gelu(
            precise_product(patches, kernel[:width], self.dtype)
            + self.from_class_token(class_token, kernel[width:], bias)
        )

    def from_class_token(
        self, class_token: Float[Array, "b 1 c"], kernel: Float[Array, "c c"], bias: Float[Array, "c"]
    ) -> Float[Array, "b 1 c"]:
        """A method of its own because sharding pins the outputs of methods (`zoe_jax.train.sharding`)."""
        return precise_product(class_token, kernel, self.dtype) + bias


class PatchTranspose(nn.Module):
    """A transposed convolution whose kernel is as large as its stride: each pixel becomes a patch of its own."""

    features: int
    factor: int
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b H W d"]:
        """Sides grow by `factor`."""
        b, h, w, channels = x.shape
        f = self.factor
        kernel = self.param("kernel", SHAPE_ONLY, (channels, f, f, self.features), self.param_dtype)
        bias = self.param("bias", SHAPE_ONLY, (self.features,), self.param_dtype)
        factors = (x.astype(self.dtype), kernel.astype(self.dtype))
        sum_dtype = jnp.promote_types(self.dtype, jnp.float32)
        y = jnp.einsum("bhwc,cyxd->bhywxd", *factors, preferred_element_type=sum_dtype)
        return y.reshape(b, h * f, w * f, self.features) + bias.astype(y.dtype)


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    features: int
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Keeps the shape."""
        conv: dict[str, Any] = {"features": self.features, "dtype": self.dtype, "param_dtype": self.param_dtype}
        y = Conv3x3(name="conv1", **conv)(jax.nn.relu(x))
        return x + Conv3x3(name="conv2", **conv)(jax.nn.relu(y))


class Fusion(nn.Module):
    """Adds the skip connection to the coarser map, refines, and upsamples."""

    features: int
    upsample: bool
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(
        self, coarse: Float[Array, "b h w c"], skip: Float[Array, "b h w c"] | None
    ) -> Float[Array, "b H W c"]:
        """A map of twice the sides, if it upsamples. The first fusion has no skip, and so no `residual_1`."""
        unit: dict[str, Any] = {"features": self.features, "dtype": self.dtype, "param_dtype": self.param_dtype}
        x = coarse
        if skip is not None:
            x = x + ResidualUnit(name="residual_1", **unit)(skip)
        x = ResidualUnit(name="residual_2", **unit)(x)
        # the original resizes first; a 1x1 convolution commutes with it, at a quarter of the work
        x = Dense(self.features, dtype=self.dtype, param_dtype=self.param_dtype, name="out_conv")(x)
        return resize_bilinear_align_corners(x, (2 * x.shape[1], 2 * x.shape[2])) if self.upsample else x


class RelativeHead(nn.Module):
    """The last fusion to relative depth (inverse depth up to scale and shift), through the metric head's features."""

    channels: tuple[int, int]
    upsample: bool
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> tuple[Float[Array, "b H W d"], Float[Array, "b H W"]]:
        """Features and relative depth, never negative, both at twice the sides of `x` if it upsamples."""
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = Conv3x3(self.channels[0], name="conv1", **dtypes)(x)
        record(self, "head_conv1", x)
        if self.upsample:
            x = resize_bilinear_align_corners(x, (2 * x.shape[1], 2 * x.shape[2]))
        features = jax.nn.relu(Conv3x3(self.channels[1], name="conv2", **dtypes)(x))
        relative_depth = jax.nn.relu(Dense(1, name="conv3", **dtypes)(features))[..., 0]
        return features, relative_depth


class DptDecoder(nn.Module):
    """Four taps, and maps of a stem, to features at five scales."""

    config: DptConfig
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(self, encoded: EncoderOutput) -> DecoderOutput:
        """The grid has even sides; the image is 16 times as large."""
        c = self.config
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        skips = []
        for i, (tokens, channels, stride) in enumerate(
            zip(encoded.taps, c.reassemble_channels, STRIDES, strict=True), 1
        ):
            x = Reassemble(channels, 16 / stride, name=f"reassemble_{i}", **dtypes)(tokens, encoded.grid)
            if stride in encoded.stem:
                x = x + Dense(channels, name=f"stem_{i}", **dtypes)(encoded.stem[stride])
            skips.append(Conv3x3(c.fusion_channels, use_bias=False, name=f"layer_{i}_rn", **dtypes)(x))
            record(self, f"layer_{i}_rn", skips[-1])
        fusions = []
        x = skips[3]
        for i, skip in zip((4, 3, 2, 1), (None, skips[2], skips[1], skips[0]), strict=True):
            x = Fusion(c.fusion_channels, upsample=i > 1 or c.output_stride < 4, name=f"fusion_{i}", **dtypes)(x, skip)
            record(self, f"fusion_{i}", x)
            fusions.append(x)
        head = RelativeHead(c.head_channels, upsample=c.output_stride < 2, name="head", **dtypes)
        features, relative_depth = head(x)
        record(self, "head", features)
        return DecoderOutput(skips[3], tuple(fusions), features, relative_depth)
