"""The metric bins module: bin centres that attractors move, and a log-binomial distribution over them.

Section 3.2 of the paper; ZoeDepth and ZoeDepthNK in zoedepth/models/zoedepth*/ of the original. Layers named
`attractor_1` .. `attractor_4` and `projector_1` .. `projector_4` go from 1/16 to 1/2 of the image.
"""

import typing
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from zoe_jax.config import MetricHeadConfig
from zoe_jax.models.dpt import DecoderOutput
from zoe_jax.models.layers import DomainDense, DomainMlp, Mlp, per_image_product, record
from zoe_jax.ops import bins
from zoe_jax.ops.activations import gelu, softmax
from zoe_jax.ops.log_binomial import log_binomial, log_binomial_mean, mode_and_temperature
from zoe_jax.ops.resize import resize_bilinear_align_corners


class MetricOutput(typing.NamedTuple):
    """Depth in metres and the distribution it is the mean of."""

    metric_depth: Float[Array, "b h w"]
    bin_centers: Float[Array, "b h w bins"]
    bin_probabilities: Float[Array, "b h w bins"]


class BinDistribution(nn.Module):
    """Features of every pixel to a distribution over the bins (ConditionalLogBinomial), or to a plain softmax."""

    config: MetricHeadConfig
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "b h w c"],
        embedding: Float[Array, "b half_h half_w e"],
        centers: Float[Array, "b h w bins"],
        domain: Int[Array, "b"],
    ) -> tuple[Float[Array, "b h w"], Float[Array, "b h w bins"]]:
        """The mean of the bin centres and the probabilities it is taken with.

        Conditioned on the embedding of the bins, upsampled to the size of `features`.
        """
        c = self.config
        channels = features.shape[-1]
        total = channels + embedding.shape[-1]
        stacked: dict[str, Any] = {"n_domains": len(c.domains), "dtype": self.dtype, "param_dtype": self.param_dtype}
        kernel, bias = DomainDense(total, total // c.bottleneck_factor, name="fc1", **stacked)(domain)
        # a product commutes with the resize: taking it first saves three quarters of the work
        hidden = resize_bilinear_align_corners(per_image_product(embedding, kernel[:, channels:]), _size(features))
        hidden = gelu(hidden + per_image_product(features, kernel[:, :channels]) + bias)
        outputs = 4 if c.probabilities == "log_binomial" else c.n_bins
        kernel, bias = DomainDense(hidden.shape[-1], outputs, name="fc2", **stacked)(domain)
        activations = _at_least_float32(per_image_product(hidden, kernel) + bias)
        if c.probabilities == "softmax":
            probabilities = softmax(activations)
            return bins.expected_depth(probabilities, centers), probabilities
        activations = jax.nn.softplus(activations)
        mode, temperature = mode_and_temperature(activations, c.min_temperature, c.max_temperature)
        record(self, "activations", activations)
        record(self, "mode", mode)
        record(self, "temperature", temperature)
        return log_binomial_mean(mode, temperature, centers), log_binomial(mode, temperature, c.n_bins)


class MetricHead(nn.Module):
    """Decoder features to metres, each image with the parameters of its domain."""

    config: MetricHeadConfig
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(
        self, decoded: DecoderOutput, bottleneck: Float[Array, "b coarse_h coarse_w c"], domain: Int[Array, "b"]
    ) -> MetricOutput:
        """`bottleneck` is the decoder's through the 1x1 convolution that the router shares."""
        c = self.config
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        stacked: dict[str, Any] = {"n_domains": len(c.domains), **dtypes}
        normed_seeds = c.bin_centers_type in ("normed", "hybrid1")
        normed_attractors = c.bin_centers_type in ("normed", "hybrid2")
        min_depth_m, max_depth_m = (_per_image(depths, domain) for depths in (c.min_depth_m, c.max_depth_m))

        seed_logits = DomainMlp(c.seed_hidden, c.n_bins, name="seed_bins", **stacked)(bottleneck, domain)
        seed_logits = _at_least_float32(seed_logits)
        if normed_seeds:
            centers = bins.seed_bin_centers_normed(seed_logits, min_depth_m, max_depth_m)
        else:
            centers = jax.nn.softplus(seed_logits)
        record(self, "seed_bins", centers)
        if normed_attractors:
            centers = (centers - min_depth_m) / (max_depth_m - min_depth_m)

        projector: dict[str, Any] = {"hidden": c.projector_hidden, "features": c.bin_embedding_channels, **dtypes}
        embedding = Mlp(name="seed_projector", **projector)(bottleneck)
        record(self, "seed_projector", embedding)
        for i, (features, n_attractors) in enumerate(zip(decoded.fusions, c.n_attractors, strict=True), 1):
            size = _size(features)
            projected = Mlp(name=f"projector_{i}", **projector)(features)
            record(self, f"projector_{i}", projected)
            n_channels = 2 * n_attractors if normed_attractors else n_attractors
            attractor_mlp = DomainMlp(c.attractor_hidden, n_channels, name=f"attractor_{i}", **stacked)
            points = attractor_mlp(projected + resize_bilinear_align_corners(embedding, size), domain)
            points = _at_least_float32(points)
            if normed_attractors:
                # the original computes a normalisation of channel pairs and overwrites it: every other channel is left
                points = (jax.nn.relu(points) + bins.MIN_BIN_WIDTH)[..., ::2]
            else:
                points = jax.nn.softplus(points)
            record(self, f"attractor_points_{i}", points)
            centers = bins.attract(
                resize_bilinear_align_corners(centers, size),
                points,
                attractor_type=c.attractor_type,
                attractor_kind=c.attractor_kind,
                alpha=c.attractor_alpha,
                gamma=c.attractor_gamma,
            )
            record(self, f"attracted_centers_{i}", centers)
            embedding = projected
        if normed_attractors:
            centers = bins.bounded_bin_centers(centers, min_depth_m, max_depth_m)

        pixels = decoded.head
        if c.condition_on_relative_depth:
            pixels = jnp.concatenate([pixels, decoded.relative_depth[..., None]], axis=-1)
        centers = resize_bilinear_align_corners(centers, _size(pixels))
        distribution = BinDistribution(c, name=c.probabilities, **dtypes)
        depth, probabilities = distribution(pixels, embedding, centers, domain)
        return MetricOutput(depth, centers, probabilities)


def mix(outputs: Sequence[MetricOutput], weights: Float[Array, "b domains"]) -> MetricOutput:
    """One distribution over the bins of all heads, each head's share weighted; the depth is its mean too.

    Args:
        outputs: what each head says of all images.
        weights: of each head, adding up to 1.
    """
    shares = [weight[:, None, None] for weight in weights.T]
    return MetricOutput(
        jnp.asarray(sum(s * out.metric_depth for s, out in zip(shares, outputs, strict=True))),
        jnp.concatenate([out.bin_centers for out in outputs], axis=-1),
        jnp.concatenate(
            [s[..., None] * out.bin_probabilities for s, out in zip(shares, outputs, strict=True)], axis=-1
        ),
    )


def _at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _size(x: Float[Array, "b h w c"]) -> tuple[int, int]:
    return x.shape[1], x.shape[2]


def _per_image(depths_m: tuple[float, ...], domain: Int[Array, "b"]) -> float | Float[Array, "b 1 1 1"]:
    if len(depths_m) == 1:
        return depths_m[0]
    return jnp.asarray(depths_m)[domain][:, None, None, None]
