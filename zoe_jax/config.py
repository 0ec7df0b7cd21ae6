"""What a ZoeDepth model is: frozen, JSON-able dataclasses, the presets, and overrides by field name.

Constants are those of the paper (arXiv 2302.12288) and of the released configurations
(zoedepth/models/zoedepth/config_zoedepth*.json of the original), corrected where the released code ignores them.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import UnionType
from typing import Any, Literal

from zoe_jax.errors import ZoeJaxError

BinCentersType = Literal["softplus", "normed", "hybrid1", "hybrid2"]
Routing = Literal["image", "batch", "label", "mixture"]
FloatType = Literal["float32", "bfloat16", "float64"]


class ConfigError(ZoeJaxError):
    """A configuration names a field that does not exist, or gives it a value that cannot be."""


@dataclass(frozen=True)
class BeitConfig:
    """A BEiT encoder with one relative-position table a block, as MiDaS 3.1 uses it."""

    kind: Literal["beit"] = "beit"
    image_size: int = 384
    """Side in pixels of the square images of pre-training; it fixes the size of the position tables."""
    patch_size: int = 16
    width: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_ratio: int = 4
    taps: tuple[int, int, int, int] = (5, 11, 17, 23)
    """Blocks (from 0) whose outputs the decoder reads; the last tap is the last block."""
    stem: tuple[int, ...] = ()
    """Channels of 3x3 convolutions of stride 2 before the patches are cut; their maps from 1/4 of the image on join
    the decoder's. For small models: empty in every released one."""
    layer_norm_epsilon: float = 1e-6
    attention: Literal["einsum", "fused"] = "einsum"
    """`fused` selects `jax.nn.dot_product_attention`: faster on some accelerators, three times slower on CPU."""
    remat: Literal["none", "dots", "full"] = "none"
    """What a block recomputes in the backward pass: nothing, all but matrix products, or everything."""

    @property
    def window(self) -> int:
        """Side of the patch grid of pre-training."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class DptConfig:
    """The DPT decoder: reassemble, fuse, and the head for relative depth (Ranftl et al. 2021)."""

    reassemble_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    fusion_channels: int = 256
    head_channels: tuple[int, int] = (128, 32)
    output_stride: Literal[1, 2, 4] = 1
    """Pixels of the image per pixel of the finest maps, heads included: at 2 and 4 the last resizes are left out, and
    depth is resized instead. 1 in every released model."""


@dataclass(frozen=True)
class MetricHeadConfig:
    """The metric bins module (section 3 of the paper); tuples `*_depth_m` have one entry a domain."""

    domains: tuple[str, ...] = ("nyu",)
    min_depth_m: tuple[float, ...] = (1e-3,)
    max_depth_m: tuple[float, ...] = (10.0,)
    bin_centers_type: BinCentersType = "softplus"
    """`softplus`: unbounded centres; `normed`: widths that fill the depth range; `hybrid1`: normed seeds with
    unbounded attractors; `hybrid2`: the reverse."""
    n_bins: int = 64
    bin_embedding_channels: int = 128
    seed_hidden: int = 256
    projector_hidden: int = 128
    attractor_hidden: int = 128
    n_attractors: tuple[int, int, int, int] = (16, 8, 4, 1)
    """Attractors at 1/16, 1/8, 1/4 and 1/2 of the image."""
    attractor_type: Literal["inverse", "exponential"] = "inverse"
    attractor_kind: Literal["mean", "sum"] = "mean"
    """The paper's equation 3 sums the shifts; the released weights were trained with their mean."""
    attractor_alpha: float = 300.0
    """The released configurations say 1000, but the original's layers never receive it."""
    attractor_gamma: int = 2
    condition_on_relative_depth: bool = True
    """Give the relative depth to the log-binomial as one more channel (N and K do, NK does not)."""
    bottleneck_factor: int = 2
    probabilities: Literal["log_binomial", "softmax"] = "log_binomial"
    """The distribution over bins: the paper's, ordered by construction, or a plain softmax as in LocalBins."""
    min_temperature: float = 0.0212
    max_temperature: float = 50.0


@dataclass(frozen=True)
class RouterConfig:
    """The classifier that sends an image to the head of its domain (section 3.3 of the paper)."""

    width: int = 128
    depth: int = 4
    heads: int = 4
    mlp_width: int = 1024
    dropout_rate: float = 0.1


@dataclass(frozen=True)
class ZoeDepthConfig:
    """A whole model. Without `head` it is a relative-depth model."""

    encoder: BeitConfig = BeitConfig()
    decoder: DptConfig = DptConfig()
    head: MetricHeadConfig | None = MetricHeadConfig()
    router: RouterConfig | None = None
    routing: Routing = "image"
    """`image`: each image by the router's own choice; `batch`: one vote a batch, as the original does (wrong for
    mixed batches); `label`: the caller names the domain; `mixture`: as `image`, but in training every image goes
    through every head, weighted by the router's probabilities, so that it learns without labels."""
    initialization: Literal["original", "from_scratch"] = "original"
    """Of parameters that no checkpoint gives: as the original's layers, which were put on a trained encoder; or such
    that a whole model learns from nothing (`zoe_jax.models.initialization`)."""
    network_size: tuple[int, int] = (384, 512)
    """Height and width, in pixels, of training and evaluation, and the target of inference."""
    dtype: FloatType = "float32"
    """Type of computation; bins, softmax and depth stay float32."""
    param_dtype: FloatType = "float32"

    def __post_init__(self) -> None:
        """Raises ConfigError where two fields contradict each other."""
        _check(self)

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the metric heads; empty for a relative-depth model."""
        return self.head.domains if self.head else ()


def _check(config: ZoeDepthConfig) -> None:
    encoder, head = config.encoder, config.head
    if encoder.taps[-1] != encoder.depth - 1 or list(encoder.taps) != sorted(set(encoder.taps)):
        raise ConfigError(f"taps {encoder.taps} must rise and end at the last block, {encoder.depth - 1}")
    if encoder.width % encoder.heads:
        raise ConfigError(f"width {encoder.width} is not a multiple of heads {encoder.heads}")
    if encoder.patch_size % 2 ** len(encoder.stem):
        raise ConfigError(f"patch_size {encoder.patch_size} is not a multiple of the stem's {2 ** len(encoder.stem)}")
    if any(side <= 0 or side % (2 * encoder.patch_size) for side in config.network_size):
        raise ConfigError(f"network_size {config.network_size} must be multiples of {2 * encoder.patch_size}")
    if config.router and (head is None or len(head.domains) < 2):
        raise ConfigError("a router needs a head with at least two domains")
    if config.routing == "mixture" and config.router is None:
        raise ConfigError("routing='mixture' needs a router")
    if head is None:
        return
    for name in ("min_depth_m", "max_depth_m"):
        if len(getattr(head, name)) != len(head.domains):
            raise ConfigError(f"{name} {getattr(head, name)} must have one entry for each domain {head.domains}")
    for domain, low, high in zip(head.domains, head.min_depth_m, head.max_depth_m, strict=True):
        if not 0 <= low < high:
            raise ConfigError(f"depth range {low}..{high} m of domain {domain} must satisfy 0 <= min < max")
    if len(head.domains) > 1 and config.router is None and config.routing != "label":
        raise ConfigError(f"{len(head.domains)} domains without a router need routing='label'")


BEIT_LARGE_512 = BeitConfig(image_size=512)
BEIT_BASE_384 = BeitConfig(width=768, depth=12, heads=12, taps=(2, 5, 8, 11))
DPT_BASE = DptConfig(reassemble_channels=(96, 192, 384, 768))

_HEAD_K = MetricHeadConfig(domains=("kitti",), max_depth_m=(80.0,), bin_centers_type="normed")
_HEAD_NK = MetricHeadConfig(
    domains=("nyu", "kitti"),
    min_depth_m=(1e-3, 1e-3),
    max_depth_m=(10.0, 80.0),
    seed_hidden=64,
    projector_hidden=64,
    n_attractors=(16, 16, 16, 16),
    condition_on_relative_depth=False,
    bottleneck_factor=4,
)
_REFERENCE = ZoeDepthConfig(
    encoder=BeitConfig(image_size=64, width=64, depth=4, heads=4, taps=(0, 1, 2, 3)),
    decoder=DptConfig(reassemble_channels=(32, 64, 96, 96), fusion_channels=32, head_channels=(16, 32)),
    network_size=(64, 96),
)

# For the most steps in a few minutes on a CPU. In small batches each operation and each parameter takes time, not only
# each product; beside the stem's convolutions more than 4 blocks teach it nothing.
_TINY_NK = ZoeDepthConfig(
    encoder=BeitConfig(image_size=96, width=192, depth=4, heads=6, taps=(0, 1, 2, 3), stem=(16, 48, 96, 192)),
    decoder=DptConfig(
        reassemble_channels=(48, 96, 96, 96), fusion_channels=48, head_channels=(32, 32), output_stride=4
    ),
    head=MetricHeadConfig(
        domains=("rooms", "roads"),
        min_depth_m=(1e-3, 1e-3),
        max_depth_m=(10.0, 80.0),
        bin_embedding_channels=64,
        seed_hidden=64,
        projector_hidden=64,
        attractor_hidden=64,
        n_attractors=(8, 4, 2, 1),
        condition_on_relative_depth=False,
    ),
    router=RouterConfig(width=64, depth=2, heads=4, mlp_width=128),
    initialization="from_scratch",
    network_size=(64, 96),
)

PRESETS: dict[str, ZoeDepthConfig] = {
    "zoed_n": ZoeDepthConfig(),
    "zoed_k": ZoeDepthConfig(head=_HEAD_K, network_size=(384, 768)),
    "zoed_nk": ZoeDepthConfig(head=_HEAD_NK, router=RouterConfig()),
    "dpt_beit_large_512": ZoeDepthConfig(encoder=BEIT_LARGE_512, head=None, network_size=(512, 512)),
    "dpt_beit_large_384": ZoeDepthConfig(head=None, network_size=(384, 384)),
    "dpt_beit_base_384": ZoeDepthConfig(encoder=BEIT_BASE_384, decoder=DPT_BASE, head=None, network_size=(384, 384)),
    "zoed_tiny_nk": _TINY_NK,
    "reference_n": _REFERENCE,
    "reference_k": replace(_REFERENCE, head=_HEAD_K),
    "reference_nk": replace(_REFERENCE, head=_HEAD_NK, router=RouterConfig()),
}


def preset(name: str) -> ZoeDepthConfig:
    """The released models (`zoed_n`, `_k`, `_nk`), MiDaS 3.1's relative ones (`dpt_beit_*`), and small ones.

    `zoed_tiny_nk` learns in minutes on a CPU (64x96 pixels); `reference_*` are those of the tests.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def override(config: ZoeDepthConfig, overrides: Mapping[str, Any]) -> ZoeDepthConfig:
    """A copy with other field values, each named alone (`max_depth_m`) or with its place (`head.max_depth_m`).

    A number given for a field that has one entry a domain holds for every domain.

    Raises:
        ConfigError: no such field, a name that stands in several places, or a value of the wrong type.
    """
    tree = to_dict(config)
    places = {path: section for section in ("encoder", "decoder", "head", "router") for path in tree[section] or ()}
    for name, value in overrides.items():
        *section, leaf = name.split(".")
        if not section and leaf not in tree:
            found = [part for part in ("encoder", "decoder", "head", "router") if leaf in (tree[part] or ())]
            if len(found) > 1:
                raise ConfigError(f"field {name!r} is in {' and '.join(found)}: write {found[0]}.{leaf}")
            section = found
        node = tree.get(section[0]) if section else tree
        if len(section) > 1 or not isinstance(node, dict) or leaf not in node:
            known = sorted({*tree, *places})
            raise ConfigError(f"there is no field {name!r} in this configuration; there are {', '.join(known)}")
        if leaf in ("min_depth_m", "max_depth_m") and isinstance(value, int | float) and not isinstance(value, bool):
            value = (float(value),) * len(config.domains)
        node[leaf] = value
    return from_dict(tree)


def to_dict(config: Any) -> dict[str, Any]:
    """The dataclass as plain dictionaries, tuples, numbers and strings, fit for JSON."""
    return dataclasses.asdict(config)


def from_dict(tree: Mapping[str, Any], kind: type = ZoeDepthConfig) -> Any:
    """The inverse of `to_dict`; lists become tuples.

    Raises:
        ConfigError: an unknown field, or a value of the wrong type.
    """
    hints = typing.get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    for name in tree:
        if name not in known:
            raise ConfigError(f"{kind.__name__} has no field {name!r}; it has {', '.join(sorted(known))}")
    return kind(**{name: _coerce(hints[name], value, f"{kind.__name__}.{name}") for name, value in tree.items()})


def _coerce(hint: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is UnionType:
        if value is None and type(None) in arguments:
            return None
        return _coerce(next(a for a in arguments if a is not type(None)), value, place)
    if dataclasses.is_dataclass(hint):
        kind = typing.cast(type, hint)
        if isinstance(value, kind):
            return value
        if isinstance(value, Mapping):
            return from_dict(value, kind)
    elif origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{place} is {value!r}; it can be {', '.join(map(repr, arguments))}")
    elif origin is tuple:
        if isinstance(value, list | tuple):
            inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
            if len(inner) == len(value):
                return tuple(_coerce(i, v, place) for i, v in zip(inner, value, strict=True))
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif hint in (int, bool, str) and type(value) is hint:
        return value
    raise ConfigError(f"{place} is {value!r}; it should be {getattr(hint, '__name__', hint)}")
