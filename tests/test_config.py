"""Configurations: what they say in JSON, how a field is named, and what may not be said."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pytest

from zoe_jax import config as configs
from zoe_jax.config import PRESETS, BeitConfig, ConfigError, ZoeDepthConfig, from_dict, override, to_dict


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name: str) -> None:
    config = configs.preset(name)
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)  # a list in place of a tuple would not hash, and jit needs it


def test_presets_are_the_released_models() -> None:
    n, k, nk = (configs.preset(f"zoed_{name}") for name in ("n", "k", "nk"))
    assert (n.domains, k.domains, nk.domains) == (("nyu",), ("kitti",), ("nyu", "kitti"))
    assert [config.head.max_depth_m for config in (n, k, nk) if config.head] == [(10.0,), (80.0,), (10.0, 80.0)]
    assert configs.preset("dpt_beit_large_512").domains == ()
    with pytest.raises(ConfigError, match="no preset 'zoed_x'; there are zoed_n, zoed_k"):
        configs.preset("zoed_x")


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("max_depth_m", (7.0,), "head.max_depth_m"),
        ("head.max_depth_m", [7.0], "head.max_depth_m"),
        ("network_size", [64, 32], "network_size"),
        ("encoder.width", 128, "encoder.width"),
        ("fusion_channels", 48, "decoder.fusion_channels"),
        ("dtype", "bfloat16", "dtype"),
        ("remat", "full", "encoder.remat"),
    ],
)
def test_fields_are_named_alone_or_with_their_place(name: str, value: Any, place: str) -> None:
    before = configs.preset("reference_n")
    changed = override(before, {name: value})
    *section, leaf = place.split(".")
    holder = getattr(changed, section[0]) if section else changed
    assert getattr(holder, leaf) == (tuple(value) if isinstance(value, list) else value)
    differing = {
        f"{part}.{field}".removeprefix(".")
        for part in ("", "encoder", "decoder", "head")
        for field, old in (to_dict(before)[part] if part else to_dict(before)).items()
        if not isinstance(old, dict) and (to_dict(changed)[part] if part else to_dict(changed))[field] != old
    }
    assert differing == {place}


def test_one_number_holds_for_every_domain() -> None:
    changed = override(configs.preset("zoed_nk"), {"max_depth_m": 20, "head.min_depth_m": 0.5})
    assert changed.head is not None
    assert changed.head.max_depth_m == (20.0, 20.0)
    assert changed.head.min_depth_m == (0.5, 0.5)


def test_several_overrides_are_checked_together() -> None:
    # neither of the two is possible alone
    changed = override(configs.preset("reference_n"), {"encoder.depth": 8, "taps": (1, 3, 5, 7)})
    assert changed.encoder.taps == (1, 3, 5, 7)
    assert override(configs.preset("zoed_n"), {"head": None}) == ZoeDepthConfig(head=None)


def test_nothing_overridden_is_the_same() -> None:
    assert override(configs.preset("zoed_nk"), {}) == configs.preset("zoed_nk")


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("zoed_nk", {"width": 64}, "field 'width' is in encoder and router: write encoder.width"),
        ("zoed_nk", {"depth": 2}, "field 'depth' is in encoder and router"),
        ("zoed_n", {"colour": 1}, "no field 'colour' in this configuration; there are .*max_depth_m"),
        ("zoed_n", {"head.colour": 1}, "no field 'head.colour'"),
        ("zoed_n", {"router.depth": 1}, "no field 'router.depth'"),
        ("zoed_n", {"nonsense.dtype": "bfloat16"}, "no field 'nonsense.dtype'"),
        ("zoed_n", {"head.head.n_bins": 1}, "no field 'head.head.n_bins'"),
        ("zoed_n", {"": 1}, "no field ''"),
        ("dpt_beit_large_384", {"max_depth_m": 10}, "no field 'max_depth_m'"),
        ("zoed_n", {"n_bins": 3.5}, r"MetricHeadConfig.n_bins is 3.5; it should be int"),
        ("zoed_n", {"n_bins": True}, r"MetricHeadConfig.n_bins is True; it should be int"),
        ("zoed_n", {"max_depth_m": "far"}, "MetricHeadConfig.max_depth_m is 'far'"),
        ("zoed_n", {"max_depth_m": True}, "MetricHeadConfig.max_depth_m is True"),
        ("zoed_n", {"network_size": [384]}, r"ZoeDepthConfig.network_size is \[384\]"),
        ("zoed_n", {"network_size": 384}, "ZoeDepthConfig.network_size is 384"),
        ("zoed_n", {"n_attractors": [1, 2, 3, "4"]}, "MetricHeadConfig.n_attractors is '4'; it should be int"),
        ("zoed_n", {"dtype": "float16"}, "ZoeDepthConfig.dtype is 'float16'; it can be 'float32', 'bfloat16'"),
        ("zoed_n", {"bin_centers_type": "banana"}, "it can be 'softplus', 'normed', 'hybrid1', 'hybrid2'"),
        ("zoed_n", {"encoder": "beit"}, "ZoeDepthConfig.encoder is 'beit'; it should be BeitConfig"),
    ],
)
def test_mistakes_are_named(preset: str, overrides: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(configs.preset(preset), overrides)


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("zoed_n", {"taps": (5, 11, 17, 22)}, r"taps \(5, 11, 17, 22\) must rise and end at the last block, 23"),
        ("zoed_n", {"taps": (11, 5, 17, 23)}, "must rise"),
        ("zoed_n", {"taps": (5, 5, 17, 23)}, "must rise"),
        ("zoed_n", {"encoder.heads": 15}, "width 1024 is not a multiple of heads 15"),
        ("zoed_n", {"network_size": (384, 500)}, r"network_size \(384, 500\) must be multiples of 32"),
        ("zoed_n", {"network_size": (0, 512)}, "must be multiples of 32"),
        ("zoed_n", {"network_size": (-32, 512)}, "must be multiples of 32"),
        ("zoed_n", {"router": {}}, "a router needs a head with at least two domains"),
        ("dpt_beit_large_384", {"router": {}}, "a router needs a head with at least two domains"),
        ("zoed_n", {"routing": "mixture"}, "routing='mixture' needs a router"),
        ("zoed_nk", {"max_depth_m": (10.0,)}, r"max_depth_m \(10.0,\) must have one entry for each domain"),
        ("zoed_nk", {"min_depth_m": ()}, r"min_depth_m \(\) must have one entry for each domain"),
        ("zoed_nk", {"domains": ("nyu", "kitti", "sun")}, "must have one entry for each domain"),
        ("zoed_nk", {"max_depth_m": (10.0, 1e-3)}, "depth range 0.001..0.001 m of domain kitti must satisfy"),
        ("zoed_n", {"min_depth_m": -1}, "depth range -1.0..10.0 m of domain nyu must satisfy 0 <= min < max"),
        ("zoed_n", {"max_depth_m": float("nan")}, "must satisfy 0 <= min < max"),
        ("zoed_nk", {"router": None}, "2 domains without a router need routing='label'"),
    ],
)
def test_contradictions_are_named(preset: str, overrides: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(configs.preset(preset), overrides)


def test_contradictions_are_found_without_overrides_too() -> None:
    with pytest.raises(ConfigError, match="is not a multiple of heads"):
        ZoeDepthConfig(encoder=BeitConfig(heads=7))
    with pytest.raises(ConfigError, match="routing='mixture' needs a router"):
        dataclasses.replace(configs.preset("zoed_n"), routing="mixture")


def test_two_domains_without_a_router_take_labels() -> None:
    changed = override(configs.preset("zoed_nk"), {"router": None, "routing": "label"})
    assert changed.router is None


def test_unknown_fields_of_a_file_are_named() -> None:
    tree = to_dict(configs.preset("zoed_n"))
    with pytest.raises(ConfigError, match="ZoeDepthConfig has no field 'colour'; it has decoder, dtype"):
        from_dict(tree | {"colour": "red"})
    with pytest.raises(ConfigError, match="BeitConfig has no field 'colour'; it has attention"):
        from_dict(tree | {"encoder": tree["encoder"] | {"colour": "red"}})
