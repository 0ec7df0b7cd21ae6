"""Hugging Face's `ZoeDepthForDepthEstimation`: names of the published safetensors, and config.json.

The names are those of the files; transformers 5 renames the encoder's in memory, and back when it saves.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from zoe_jax import config as configs
from zoe_jax.config import ConfigError, MetricHeadConfig, ZoeDepthConfig
from zoe_jax.convert.errors import CheckpointError
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

_BLOCK, _STAGE = "backbone.encoder.layer.{block}", "encoder/stage_{stage}"
_REASSEMBLE = "neck.reassemble_stage"
_LAYER = "metric_head.patch_transformer.transformer_encoder.{layer}"
_FIRST_RESIDUAL = "neck.fusion_stage.layers.0.residual_layer1"
_DEFAULT_EPSILON = 1e-12  # of transformers' BEiT


def rules(config: ZoeDepthConfig) -> Iterator[Rule]:
    """Every tensor that a model of `config` uses."""
    yield from _encoder(config)
    yield from _decoder()
    yield from _metric_head()
    if config.router is not None:
        yield from _router()


def _encoder(config: ZoeDepthConfig) -> Iterator[Rule]:
    yield Rule("backbone.embeddings.cls_token", "encoder/cls_token")
    embedding = patch_embedding(config.encoder.patch_size)
    yield from with_bias("backbone.embeddings.patch_embeddings.projection", "encoder/patch_embed", embedding)
    yield Rule(f"{_BLOCK}.lambda_1", f"{_STAGE}/gamma_1")
    yield Rule(f"{_BLOCK}.lambda_2", f"{_STAGE}/gamma_2")
    yield from norm(f"{_BLOCK}.layernorm_before", f"{_STAGE}/norm1")
    yield from norm(f"{_BLOCK}.layernorm_after", f"{_STAGE}/norm2")
    attention = f"{_BLOCK}.attention.attention"
    for i, name in enumerate(("query", "key", "value")):
        yield Rule(f"{attention}.{name}.weight", f"{_STAGE}/attention/qkv", DENSE, part=(i, 3))
    yield Rule(f"{attention}.query.bias", f"{_STAGE}/attention/q_bias")
    yield Rule(f"{attention}.value.bias", f"{_STAGE}/attention/v_bias")
    table = "relative_position_bias_table"
    yield Rule(f"{attention}.relative_position_bias.{table}", f"{_STAGE}/attention/{table}")
    yield from with_bias(f"{_BLOCK}.attention.output.dense", f"{_STAGE}/attention/proj", DENSE)
    yield from with_bias(f"{_BLOCK}.intermediate.dense", f"{_STAGE}/mlp/fc1", DENSE)
    yield from with_bias(f"{_BLOCK}.output.dense", f"{_STAGE}/mlp/fc2", DENSE)


def _decoder() -> Iterator[Rule]:
    yield from with_bias(f"{_REASSEMBLE}.readout_projects.{{tap0}}.0", "decoder/reassemble_{tap}/readout", DENSE)
    yield from with_bias(f"{_REASSEMBLE}.layers.{{tap0}}.projection", "decoder/reassemble_{tap}/project", CONV_1X1)
    for tap, layout in ((1, CONV_TRANSPOSE), (2, CONV_TRANSPOSE), (4, CONV)):
        yield from with_bias(f"{_REASSEMBLE}.layers.{tap - 1}.resize", f"decoder/reassemble_{tap}/resize", layout)
    yield Rule("neck.convs.{tap0}.weight", "decoder/layer_{tap}_rn/kernel", CONV)
    fusion = "neck.fusion_stage.layers"
    yield from with_bias(f"{fusion}.{{fusion0}}.projection", "decoder/fusion_{fusion}/out_conv", CONV_1X1)
    for i in (4, 3, 2, 1):
        for unit in (2,) if i == 4 else (1, 2):
            for conv in (1, 2):
                name = f"{fusion}.{4 - i}.residual_layer{unit}.convolution{conv}"
                yield from with_bias(name, f"decoder/fusion_{i}/residual_{unit}/conv{conv}", CONV)
    yield from with_bias("relative_head.conv1", "decoder/head/conv1", CONV)
    yield from with_bias("relative_head.conv2", "decoder/head/conv2", CONV)
    yield from with_bias("relative_head.conv3", "decoder/head/conv3", CONV_1X1)


def _metric_head() -> Iterator[Rule]:
    yield from with_bias("metric_head.conv2", "bottleneck", CONV_1X1)
    for name, path in (
        ("seed_bin_regressor{plural}{head}.conv", "seed_bins"),
        ("seed_projector.conv", "seed_projector"),
        ("projectors.{scale0}.conv", "projector_{scale}"),
        ("attractors{head}.{scale0}.conv", "attractor_{scale}"),
    ):
        yield from with_bias(f"metric_head.{name}1", f"metric_head/{path}/fc1", CONV_1X1)
        yield from with_bias(f"metric_head.{name}2", f"metric_head/{path}/fc2", CONV_1X1)
    for layer, path in ((0, "fc1"), (2, "fc2")):
        name = f"metric_head.conditional_log_binomial{{head}}.mlp.{layer}"
        yield from with_bias(name, f"metric_head/log_binomial/{path}", CONV_1X1)


def _router() -> Iterator[Rule]:
    yield from with_bias("metric_head.patch_transformer.embedding_convPxP", "router/embed", CONV_1X1)
    for i, name in enumerate(("query", "key", "value")):
        yield Rule(f"{_LAYER}.self_attn.{name}.weight", "router/layers/qkv/kernel", DENSE, part=(i, 3))
        yield Rule(f"{_LAYER}.self_attn.{name}.bias", "router/layers/qkv/bias", SAME, part=(i, 3))
    yield from with_bias(f"{_LAYER}.self_attn.out_proj", "router/layers/proj", DENSE)
    yield from with_bias(f"{_LAYER}.linear1", "router/layers/fc1", DENSE)
    yield from with_bias(f"{_LAYER}.linear2", "router/layers/fc2", DENSE)
    yield from norm(f"{_LAYER}.norm1", "router/layers/norm1")
    yield from norm(f"{_LAYER}.norm2", "router/layers/norm2")
    yield from with_bias("metric_head.mlp_classifier.linear1", "router/fc1", DENSE)
    yield from with_bias("metric_head.mlp_classifier.linear2", "router/fc2", DENSE)


UNUSED = (
    (rf"{_FIRST_RESIDUAL}\.convolution[12]\.(weight|bias)", "residual unit of the coarsest fusion, which has no skip"),
)


HUGGINGFACE = Family("huggingface", rules, f"{_FIRST_RESIDUAL}.convolution{{conv}}", UNUSED)


def apply_config_json(config: ZoeDepthConfig, json_config: Mapping[str, Any], source: str) -> ZoeDepthConfig:
    """The preset with what a config.json says beyond shapes: depth ranges, domains, kind of bins and attractors.

    `attractor_alpha` and `attractor_gamma` are not taken: transformers, like the original, never uses them. Nor is a
    `layer_norm_eps` of 1e-12, BEiT's default there: the weights were trained with the original's 1e-6.

    Raises:
        CheckpointError: config.json is not of this model, or contradicts the shapes of the tensors.
    """
    if json_config.get("model_type") != "zoedepth":
        found = json_config.get("model_type")
        raise CheckpointError(f"config.json is of model_type {found!r}; it should be 'zoedepth'", file=source)
    if config.head is None:
        raise CheckpointError("a Hugging Face ZoeDepth always has a metric head", file=source)
    try:
        bins = json_config["bin_configurations"]
        told = {
            "head.domains": tuple(b["name"] for b in bins) if len(bins) > 1 else config.domains,
            "head.n_bins": bins[0]["n_bins"] if bins else 0,
            "head.min_depth_m": tuple(b["min_depth"] for b in bins),
            "head.max_depth_m": tuple(b["max_depth"] for b in bins),
            "head.bin_centers_type": json_config["bin_centers_type"],
            "head.attractor_kind": json_config["attractor_kind"],
            "head.min_temperature": json_config["min_temp"],
            "head.max_temperature": json_config["max_temp"],
        }
        epsilon = (json_config.get("backbone_config") or {}).get("layer_norm_eps", _DEFAULT_EPSILON)
        if epsilon != _DEFAULT_EPSILON:
            told["encoder.layer_norm_epsilon"] = epsilon
        uneven = any(b["n_bins"] != told["head.n_bins"] for b in bins)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"config.json lacks or misstates {error}", file=source) from None
    if len(bins) != len(config.domains):
        problem = f"config.json has {len(bins)} bin_configurations, the tensors have {len(config.domains)}"
        raise CheckpointError(problem, file=source)
    if uneven:
        raise CheckpointError("config.json has bin_configurations of unequal n_bins", file=source)
    try:
        return configs.override(config, told)
    except ConfigError as error:
        raise CheckpointError(f"config.json describes no model: {error}", file=source) from None


def config_json(config: ZoeDepthConfig) -> dict[str, Any]:
    """The config.json that `transformers` reads, for a model of this architecture.

    Raises:
        CheckpointError: transformers has no such model (no metric head, summed or exponential attractors aside).
    """
    head, router, encoder = config.head, config.router, config.encoder
    if head is None:
        raise CheckpointError("a relative-depth model has no Hugging Face ZoeDepth layout: --to official")
    if head.attractor_type != "inverse" or head.attractor_alpha != 300.0 or head.attractor_gamma != 2:
        raise CheckpointError("transformers knows inverse attractors of alpha 300 and gamma 2 only: --to official")
    return {
        "architectures": ["ZoeDepthForDepthEstimation"],
        "model_type": "zoedepth",
        "backbone_config": {
            "model_type": "beit",
            "image_size": encoder.image_size,
            "patch_size": encoder.patch_size,
            "hidden_size": encoder.width,
            "intermediate_size": encoder.mlp_ratio * encoder.width,
            "num_hidden_layers": encoder.depth,
            "num_attention_heads": encoder.heads,
            "layer_norm_eps": encoder.layer_norm_epsilon,
            "use_relative_position_bias": True,
            "use_absolute_position_embeddings": False,
            "reshape_hidden_states": False,
            "out_features": [f"stage{tap + 1}" for tap in encoder.taps],
            "out_indices": [tap + 1 for tap in encoder.taps],
            "stage_names": ["stem", *(f"stage{i + 1}" for i in range(encoder.depth))],
        },
        "backbone_hidden_size": encoder.width,
        "readout_type": "project",
        "reassemble_factors": [4, 2, 1, 0.5],
        "neck_hidden_sizes": list(config.decoder.reassemble_channels),
        "fusion_hidden_size": config.decoder.fusion_channels,
        "bottleneck_features": config.decoder.fusion_channels,
        "num_relative_features": config.decoder.head_channels[1],
        "add_projection": False,
        "use_batch_norm_in_fusion_residual": False,
        "use_bias_in_fusion_residual": None,
        "bin_centers_type": head.bin_centers_type,
        "bin_configurations": _bin_configurations(head),
        "bin_embedding_dim": head.bin_embedding_channels,
        "num_attractors": [16, 8, 4, 1] if router else list(head.n_attractors),
        "attractor_alpha": 1000,
        "attractor_gamma": 2,
        "attractor_kind": head.attractor_kind,
        "min_temp": head.min_temperature,
        "max_temp": head.max_temperature,
        "num_patch_transformer_layers": router.depth if router else None,
        "patch_transformer_hidden_size": router.width if router else None,
        "patch_transformer_intermediate_size": router.mlp_width if router else None,
        "patch_transformer_num_attention_heads": router.heads if router else None,
    }


def _bin_configurations(head: MetricHeadConfig) -> list[dict[str, Any]]:
    return [
        {"name": name, "n_bins": head.n_bins, "min_depth": low, "max_depth": high}
        for name, low, high in zip(head.domains, head.min_depth_m, head.max_depth_m, strict=True)
    ]
