"""Initial values of all parameters, from one table of path rules; the modules declare shapes only.

Linen would draw each parameter from a threefry stream of its own: two hundred of them take 20 s to compile on a CPU.
Initial values need no cryptographic generator, so a counter hash draws them here; under jit with shardings every device
computes its own part.
"""

import math
import re
import zlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt32

from zoe_jax.config import MetricHeadConfig, ZoeDepthConfig

ENCODER_STD = 0.02
"""Of the matrices of BEiT and of its position tables."""
LAYER_SCALE = 0.1
"""Of BEiT-L and -B, before training."""
LAYER_SCALE_FROM_SCRATCH = 0.3
RESIDUAL_SCALE_FROM_SCRATCH = 0.2
"""Of the last convolution of each residual unit of the decoder, beside one that keeps the variance."""
STACKED = r"encoder/stage_\d/.*|router/layers/.*|metric_head/(seed_bins|attractor_\d|log_binomial|softmax)/.*"
"""Parameters with a leading axis that counts layers or domains."""


def initial_parameters(
    config: ZoeDepthConfig, shapes: Mapping[str, jax.ShapeDtypeStruct], rng: Array
) -> dict[str, Array]:
    """A value for every parameter by path; norms start as the identity and biases at zero.

    `original`: matrices of the encoder are uniform with standard deviation 0.02, all others uniform within
    1 / sqrt(fan_in), the default of the framework that the original's heads were drawn in; layer scale is 0.1, and
    every bin centre starts at ln 2 metres. Each layer of such a decoder takes a third of the signal away, so that on an
    untrained encoder depth differs in the fifth digit from pixel to pixel.

    `from_scratch`: matrices and convolutions keep the variance (LeCun et al. 1998), and seed centres that are not
    normed are spread over the domain's range. Residual branches start small beside what they are added to, those of the
    encoder by their layer scale, those of the decoder by their last convolution: the sum of many keeps its size, and
    the short paths learn first, which takes the tiny model off the plateau that its training starts on.
    """
    words = jax.random.key_data(rng).reshape(-1)
    from_scratch = config.initialization == "from_scratch"
    params = {path: _value(path, leaf, words, from_scratch) for path, leaf in shapes.items()}
    if from_scratch and config.head is not None and config.head.bin_centers_type in ("softplus", "hybrid2"):
        params[SEED_BIAS] = log_spaced_seed_bias(config.head).astype(shapes[SEED_BIAS].dtype)
    return params


SEED_BIAS = "metric_head/seed_bins/fc2/bias"


def log_spaced_seed_bias(head: MetricHeadConfig) -> Float[Array, "domains bins"]:
    """The bias under which softplus spreads the seed centres evenly in log depth, from a hundredth of the range up."""
    top = jnp.asarray(head.max_depth_m)[:, None]
    centers = top * 100.0 ** (jnp.linspace(0, 1, head.n_bins) - 1)
    return centers + jnp.log(-jnp.expm1(-centers))  # the inverse of softplus


def _value(path: str, leaf: jax.ShapeDtypeStruct, words: UInt32[Array, "w"], from_scratch: bool) -> Array:
    if re.fullmatch(r".*/norm\d/scale", path):
        return jnp.ones(leaf.shape, leaf.dtype)
    if re.fullmatch(r".*/gamma_\d", path):
        return jnp.full(leaf.shape, LAYER_SCALE_FROM_SCRATCH if from_scratch else LAYER_SCALE, leaf.dtype)
    if re.fullmatch(r".*bias", path):
        return jnp.zeros(leaf.shape, leaf.dtype)
    if re.fullmatch(r"encoder/(cls_token|.*/relative_position_bias_table)", path):
        bound = ENCODER_STD * math.sqrt(3)
    elif from_scratch:
        bound = math.sqrt(3 / _fan_in(path, leaf.shape))
        if re.fullmatch(r"decoder/fusion_\d/residual_\d/conv2/kernel", path):
            bound *= RESIDUAL_SCALE_FROM_SCRATCH
    else:
        bound = ENCODER_STD * math.sqrt(3) if path.startswith("encoder/") else 1 / math.sqrt(_fan_in(path, leaf.shape))
    return (bound * symmetric_uniform(words, zlib.crc32(path.encode()), leaf.shape)).astype(leaf.dtype)


def _fan_in(path: str, shape: tuple[int, ...]) -> int:
    if re.fullmatch(r"decoder/reassemble_[12]/resize/kernel", path):
        return shape[0]  # a transposed convolution without overlap: every output sees one pixel
    return math.prod(shape[1:-1] if re.fullmatch(STACKED, path) else shape[:-1])


def symmetric_uniform(words: UInt32[Array, "w"], stream: int, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Uniform in (-1, 1), float32: a hash of the element's index, the stream, and the words of a random key."""
    index = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(math.prod(shape[axis + 1 :]))
    state = _mix(index ^ jnp.uint32(stream))
    for i in range(words.shape[0]):
        state = _mix(state + words[i])
    return (state >> 8).astype(jnp.float32) * 2**-23 - (1 - 2**-24)


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """The finaliser of MurmurHash3 (Austin Appleby, public domain): every input bit reaches every output bit."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
