"""The whole model and its functional face: `init` and `forward`."""

import functools
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, UInt8

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.errors import ZoeJaxError
from zoe_jax.models.dpt import DptDecoder
from zoe_jax.models.encoders import make_encoder
from zoe_jax.models.initialization import initial_parameters
from zoe_jax.models.layers import Dense, record
from zoe_jax.models.metric_head import MetricHead, mix
from zoe_jax.models.router import Router, choose_domain
from zoe_jax.ops.resize import resize_bilinear_align_corners

SIZE_MULTIPLE = 32
"""Sides of the images at network size are multiples of this: the coarsest map of the decoder is at 1/32."""

Params = dict[str, Any]
"""Nested dictionaries of arrays; a path is the names joined by slashes."""


class ZoeDepthOutput(typing.NamedTuple):
    """What `forward` returns; the fields after `domain` only where `intermediates` are asked for."""

    metric_depth: Float[Array, "b h w"] | None
    """Metres, float32; None for a relative-depth model."""
    relative_depth: Float[Array, "b h w"]
    """Inverse depth up to scale and shift, never negative."""
    domain_logits: Float[Array, "b domains"] | None
    """None for a model without a router."""
    domain: Int[Array, "b"]
    """Index of the head that made each image's depth; of the likeliest one where heads were mixed."""
    bin_centers: Float[Array, "b H W bins"] | None = None
    """Metres, at the decoder's output stride, as the probabilities."""
    bin_probabilities: Float[Array, "b H W bins"] | None = None
    intermediates: dict[str, Array] | None = None


class ZoeDepth(nn.Module):
    """Encoder, decoder, metric head, router. Use `forward`, which checks its arguments."""

    config: ZoeDepthConfig

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        domain: Int[Array, "b"] | None,
        example_mask: Bool[Array, "b"] | None,
        train: bool,
    ) -> ZoeDepthOutput:
        """As `forward`, with bin centres and probabilities always present."""
        c = self.config
        # routing and seeds decide about metres: they are cheap and stay in full precision
        precise: dict[str, Any] = {"dtype": jnp.promote_types(c.dtype, jnp.float32).name, "param_dtype": c.param_dtype}
        dtypes: dict[str, Any] = {"dtype": c.dtype, "param_dtype": c.param_dtype}
        normalised = ((images - 0.5) / 0.5).astype(c.dtype)
        encoded = make_encoder(c.encoder, name="encoder", **dtypes)(normalised)
        decoded = DptDecoder(c.decoder, name="decoder", **dtypes)(encoded)
        relative_depth = self.at_image_size(decoded.relative_depth.astype(precise["dtype"]), images)
        if c.head is None:
            return ZoeDepthOutput(None, relative_depth, None, jnp.zeros(images.shape[0], jnp.int32))
        bottleneck = Dense(c.decoder.fusion_channels, name="bottleneck", **dtypes)(decoded.bottleneck)
        record(self, "bottleneck", bottleneck)
        domain_logits = mixture = None
        if c.router is not None:
            router = Router(c.router, len(c.head.domains), name="router", **precise)
            domain_logits = router(bottleneck, train)
            if domain is None:
                domain = choose_domain(domain_logits, c.routing, example_mask)
                mixture = jax.nn.softmax(domain_logits) if train and c.routing == "mixture" else None
        if domain is None:
            domain = jnp.zeros(images.shape[0], jnp.int32)
        head = MetricHead(c.head, name="metric_head", **dtypes)
        if mixture is None:
            metric = head(decoded, bottleneck, domain)
        else:
            every_domain = range(len(c.head.domains))
            metric = mix([head(decoded, bottleneck, jnp.full_like(domain, i)) for i in every_domain], mixture)
        return ZoeDepthOutput(
            self.at_image_size(metric.metric_depth, images),
            relative_depth,
            domain_logits,
            domain,
            metric.bin_centers,
            metric.bin_probabilities,
        )

    def at_image_size(self, depth: Float[Array, "b H W"], images: Float[Array, "b h w 3"]) -> Float[Array, "b h w"]:
        """Resized where the decoder's output stride is not 1."""
        _, height, width, _ = images.shape
        return resize_bilinear_align_corners(depth[..., None], (height, width))[..., 0]


def init(config: ZoeDepthConfig, rng: Array) -> Params:
    """Random parameters as nested dictionaries of arrays of type `config.param_dtype`."""
    return _init(config, rng)


@functools.partial(jax.jit, static_argnames="config")
def _init(config: ZoeDepthConfig, rng: Array) -> Params:
    return unflatten_dict(initial_parameters(config, parameter_shapes(config), rng), sep="/")


@functools.lru_cache(maxsize=32)
def parameter_shapes(config: ZoeDepthConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of every parameter by path, without allocating one."""
    module = ZoeDepth(config)
    images = jax.ShapeDtypeStruct((1, SIZE_MULTIPLE, SIZE_MULTIPLE, 3), jnp.float32)
    domain = jax.ShapeDtypeStruct((1,), jnp.int32)
    variables: Any = jax.eval_shape(lambda x, d: module.init(jax.random.key(0), x, d, None, False), images, domain)
    shapes: Any = flatten_dict(variables["params"], sep="/")
    return shapes


def forward(
    config: ZoeDepthConfig,
    params: Params,
    images: Float[Array | np.ndarray, "b h w 3"],
    domain: Int[Array | np.ndarray, "b"] | Sequence[str] | str | None = None,
    example_mask: Bool[Array, "b"] | None = None,
    train: bool = False,
    rngs: dict[str, Array] | None = None,
    intermediates: bool = False,
) -> ZoeDepthOutput:
    """Images to depth: the function that is jitted, differentiated, sharded and exported.

    Args:
        config: the architecture; static under jit, as are `train` and `intermediates`.
        params: from `init` or a converted checkpoint.
        images: in [0, 1], at network size (sides are multiples of 32).
        domain: which head each image takes, by index or by name; it overrides the router, and `routing="label"`
            demands it.
        example_mask: False for rows that only fill up a batch: they do not vote in `routing="batch"`.
        train: dropout in the router; needs `rngs={"dropout": key}`.
        rngs: random keys by purpose.
        intermediates: also return bin centres, probabilities and every named intermediate.

    Raises:
        ValueError: images of another shape, a domain that does not exist, or none where one is needed.
    """
    _check_images(images)
    domain = domain_indices(config, domain, images.shape[0])
    applied: Any = ZoeDepth(config).apply(
        {"params": params},
        jnp.asarray(images),
        domain,
        example_mask,
        train,
        rngs=rngs,
        mutable=["intermediates"] if intermediates else False,
    )
    if not intermediates:
        return applied._replace(bin_centers=None, bin_probabilities=None)
    out, variables = applied
    return out._replace(intermediates=_named_intermediates(config, variables["intermediates"]))


class InputError(ZoeJaxError, ValueError):
    """Images or domains that the model cannot take."""


def network_images(
    config: ZoeDepthConfig, images: Float[Array, "b h w 3"] | UInt8[Array, "b h w 3"]
) -> Float[Array, "b H W 3"]:
    """The batch's images as the network takes them: in [0, 1], at `config.network_size`, in at least float32.

    Bytes are divided by 255 in float32 (torchvision's ToTensor); other sizes are squashed bilinearly with aligned
    corners, as the original's model does itself (PrepForMidas in zoedepth/models/base_models/midas.py).
    """
    if images.dtype == jnp.uint8:
        images = images.astype(jnp.float32) / jnp.float32(255)
    return resize_bilinear_align_corners(
        images.astype(jnp.promote_types(config.dtype, jnp.float32)), config.network_size
    )


def _check_images(images: Array | np.ndarray) -> None:
    if images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(f"images have shape {images.shape}; they must be [batch, height, width, 3]")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images are {images.dtype}; they must be floats in [0, 1]")
    height, width = images.shape[1:3]
    if not height or not width or height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
        raise InputError(f"images are {height}x{width} pixels; both sides must be multiples of {SIZE_MULTIPLE}")


def domain_indices(config: ZoeDepthConfig, domain: Any, batch: int) -> Int[Array, "b"] | None:
    """Domains given by name (one for all, or one an image) or index, as indices; None leaves the choice to the router.

    Raises:
        InputError: a domain that does not exist, not one for each image, or none where `routing` is `label`.
    """
    if domain is None:
        if config.routing == "label":
            raise InputError(f"routing is 'label': give the domain of each image, of {config.domains}")
        return None
    if isinstance(domain, str):
        domain = [domain] * batch
    if isinstance(domain, Sequence) and all(isinstance(name, str) for name in domain):
        for name in domain:
            if name not in config.domains:
                raise InputError(f"there is no domain {name!r} in this model; it has {config.domains}")
        domain = [config.domains.index(name) for name in domain]
    if np.shape(domain) != (batch,):
        raise InputError(f"domain has shape {np.shape(domain)}; it must be one for each of {batch} images")
    if not isinstance(domain, Tracer):
        indices = np.asarray(domain)
        if np.any((indices < 0) | (indices >= len(config.domains))):
            raise InputError(f"domain {indices} must lie in 0..{len(config.domains) - 1}: {config.domains}")
    return jnp.asarray(domain, jnp.int32)


def _named_intermediates(config: ZoeDepthConfig, sown: Mapping[str, Any]) -> dict[str, Array]:
    """Flat names: `patch_embed`, `block_00`.., `readout_1`.., `fusion_4`.., `attractor_points_1`.., `router_layer_0`..

    Where heads were mixed, theirs have a leading domain axis.
    """
    named: dict[str, Array] = {}
    first_block = np.concatenate([[0], np.array(config.encoder.taps[:-1]) + 1])
    recorded: dict[tuple[str, ...], Any] = flatten_dict(sown)
    for path, values in recorded.items():
        *parents, name = path
        # several only where heads were mixed
        value = values[0] if len(values) == 1 else jnp.stack(values)
        name = name.removeprefix("@")
        if match := re.fullmatch(r"stage_(\d)", parents[1] if len(parents) > 1 else ""):
            for i, layer in enumerate(value):
                named[f"{name}_{first_block[int(match[1])] + i:02d}"] = layer
        elif match := re.fullmatch(r"reassemble_(\d)", parents[-1] if parents else ""):
            named[f"{name}_{match[1]}"] = value
        elif name == "layer":
            named |= {f"router_layer_{i}": layer for i, layer in enumerate(value)}
        elif parents and parents[0] == "router":
            named[f"router_{name}"] = value
        else:
            named[name] = value
    return named
