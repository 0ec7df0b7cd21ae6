"""The released `.pt` files of isl-org/ZoeDepth: names of timm's BEiT, MiDaS's DPT and ZoeDepth's heads."""

from collections.abc import Iterator

import numpy as np

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.convert.rules import (
    CONV,
    CONV_1X1,
    CONV_TRANSPOSE,
    DENSE,
    SAME,
    Family,
    Rule,
    norm,
    patch_embedding,
    with_bias,
)

_MODEL = "core.core.pretrained.model"
_BLOCK, _STAGE = f"{_MODEL}.blocks.{{block}}", "encoder/stage_{stage}"
_REASSEMBLE = "core.core.pretrained.act_postprocess"
_SCRATCH = "core.core.scratch"
_LAYER = "patch_transformer.transformer_encoder.layers.{layer}"
_FIRST_RESIDUAL = f"{_SCRATCH}.refinenet4.resConfUnit1"


def rules(config: ZoeDepthConfig) -> Iterator[Rule]:
    """Every tensor that a model of `config` uses."""
    yield from _encoder(config)
    yield from _decoder()
    if config.head is not None:
        yield from _metric_head()
    if config.router is not None:
        yield from _router()


def _encoder(config: ZoeDepthConfig) -> Iterator[Rule]:
    yield Rule(f"{_MODEL}.cls_token", "encoder/cls_token")
    embedding = patch_embedding(config.encoder.patch_size)
    yield from with_bias(f"{_MODEL}.patch_embed.proj", "encoder/patch_embed", embedding)
    yield Rule(f"{_BLOCK}.gamma_1", f"{_STAGE}/gamma_1")
    yield Rule(f"{_BLOCK}.gamma_2", f"{_STAGE}/gamma_2")
    yield from norm(f"{_BLOCK}.norm1", f"{_STAGE}/norm1")
    yield from norm(f"{_BLOCK}.norm2", f"{_STAGE}/norm2")
    yield Rule(f"{_BLOCK}.attn.qkv.weight", f"{_STAGE}/attention/qkv", DENSE)
    for name in ("q_bias", "v_bias", "relative_position_bias_table"):
        yield Rule(f"{_BLOCK}.attn.{name}", f"{_STAGE}/attention/{name}")
    yield from with_bias(f"{_BLOCK}.attn.proj", f"{_STAGE}/attention/proj", DENSE)
    yield from with_bias(f"{_BLOCK}.mlp.fc1", f"{_STAGE}/mlp/fc1", DENSE)
    yield from with_bias(f"{_BLOCK}.mlp.fc2", f"{_STAGE}/mlp/fc2", DENSE)


def _decoder() -> Iterator[Rule]:
    yield from with_bias(f"{_REASSEMBLE}{{tap}}.0.project.0", "decoder/reassemble_{tap}/readout", DENSE)
    yield from with_bias(f"{_REASSEMBLE}{{tap}}.3", "decoder/reassemble_{tap}/project", CONV_1X1)
    for tap, layout in ((1, CONV_TRANSPOSE), (2, CONV_TRANSPOSE), (4, CONV)):
        yield from with_bias(f"{_REASSEMBLE}{tap}.4", f"decoder/reassemble_{tap}/resize", layout)
    yield Rule(f"{_SCRATCH}.layer{{tap}}_rn.weight", "decoder/layer_{tap}_rn/kernel", CONV)
    yield from with_bias(f"{_SCRATCH}.refinenet{{fusion}}.out_conv", "decoder/fusion_{fusion}/out_conv", CONV_1X1)
    for i in (4, 3, 2, 1):
        for unit in (2,) if i == 4 else (1, 2):
            for conv in (1, 2):
                name = f"{_SCRATCH}.refinenet{i}.resConfUnit{unit}.conv{conv}"
                yield from with_bias(name, f"decoder/fusion_{i}/residual_{unit}/conv{conv}", CONV)
    yield from with_bias(f"{_SCRATCH}.output_conv.0", "decoder/head/conv1", CONV)
    yield from with_bias(f"{_SCRATCH}.output_conv.2", "decoder/head/conv2", CONV)
    yield from with_bias(f"{_SCRATCH}.output_conv.4", "decoder/head/conv3", CONV_1X1)


def _metric_head() -> Iterator[Rule]:
    yield from with_bias("conv2", "bottleneck", CONV_1X1)
    for name, path in (
        ("seed_bin_regressor{plural}{head}._net", "seed_bins"),
        ("seed_projector._net", "seed_projector"),
        ("projectors.{scale0}._net", "projector_{scale}"),
        ("attractors{head}.{scale0}._net", "attractor_{scale}"),
        ("conditional_log_binomial{head}.mlp", "log_binomial"),
    ):
        yield from with_bias(f"{name}.0", f"metric_head/{path}/fc1", CONV_1X1)
        yield from with_bias(f"{name}.2", f"metric_head/{path}/fc2", CONV_1X1)


def _router() -> Iterator[Rule]:
    yield from with_bias("patch_transformer.embedding_convPxP", "router/embed", CONV_1X1)
    yield Rule(f"{_LAYER}.self_attn.in_proj_weight", "router/layers/qkv/kernel", DENSE)
    yield Rule(f"{_LAYER}.self_attn.in_proj_bias", "router/layers/qkv/bias", SAME)
    yield from with_bias(f"{_LAYER}.self_attn.out_proj", "router/layers/proj", DENSE)
    yield from with_bias(f"{_LAYER}.linear1", "router/layers/fc1", DENSE)
    yield from with_bias(f"{_LAYER}.linear2", "router/layers/fc2", DENSE)
    yield from norm(f"{_LAYER}.norm1", "router/layers/norm1")
    yield from norm(f"{_LAYER}.norm2", "router/layers/norm2")
    yield from with_bias("mlp_classifier.0", "router/fc1", DENSE)
    yield from with_bias("mlp_classifier.2", "router/fc2", DENSE)


UNUSED = (
    (rf"{_MODEL}\.(fc_norm|norm)\.(weight|bias)", "final norm of BEiT, behind the last tap"),
    (rf"{_MODEL}\.head\.(weight|bias)", "ImageNet classifier of BEiT"),
    (rf"{_FIRST_RESIDUAL}\.conv[12]\.(weight|bias)", "residual unit of the coarsest fusion, which has no skip"),
    (rf"{_MODEL}\.blocks\.\d+\.attn\.relative_position_index", "index buffer of timm, computed for each patch grid"),
    (r"conditional_log_binomial(\.\w+)?\.log_binomial_transform\.(k_idx|K_minus_1)", "constants of the log-binomial"),
)

IMAGENET_CLASSES = 1000


def constants(config: ZoeDepthConfig) -> dict[str, np.ndarray]:
    """What the original's strict loader demands beyond the model, for parameters that came from elsewhere.

    The final norm is the identity and the ImageNet classifier zero; index buffers are computed.
    """
    width = config.encoder.width
    filled: dict[str, np.ndarray] = {
        f"{_MODEL}.fc_norm.weight": np.ones(width, np.float32),
        f"{_MODEL}.fc_norm.bias": np.zeros(width, np.float32),
        f"{_MODEL}.head.weight": np.zeros((IMAGENET_CLASSES, width), np.float32),
        f"{_MODEL}.head.bias": np.zeros(IMAGENET_CLASSES, np.float32),
    }
    index = relative_position_index(config.encoder.window)
    for block in range(config.encoder.depth):
        filled[f"{_MODEL}.blocks.{block}.attn.relative_position_index"] = index
    if config.head is not None:
        n_bins = config.head.n_bins
        for head in [""] if len(config.domains) == 1 else [f".{domain}" for domain in config.domains]:
            prefix = f"conditional_log_binomial{head}.log_binomial_transform"
            filled[f"{prefix}.k_idx"] = np.arange(n_bins, dtype=np.int64).reshape(1, -1, 1, 1)
            filled[f"{prefix}.K_minus_1"] = np.full((1, 1, 1, 1), n_bins - 1, np.float32)
    return filled


def relative_position_index(window: int) -> np.ndarray:
    """timm's buffer: for each pair (query, key) of tokens the row of the position table, int64 [n, n]."""
    y, x = (axis.ravel() for axis in np.mgrid[:window, :window])
    rows = (y[:, None] - y + window - 1) * (2 * window - 1) + (x[:, None] - x + window - 1)
    n_rows = (2 * window - 1) ** 2 + 3
    index = np.full((window**2 + 1, window**2 + 1), n_rows - 1, np.int64)
    index[0, 1:], index[1:, 0], index[1:, 1:] = n_rows - 3, n_rows - 2, rows
    return index


OFFICIAL = Family("official", rules, f"{_FIRST_RESIDUAL}.conv{{conv}}", UNUSED, constants)
