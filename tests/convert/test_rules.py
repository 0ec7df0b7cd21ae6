"""The conversion tables are total: nothing unmatched, nothing filled twice, and what does not fit is named."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.synthetic import manifest, tiny_config, tiny_tensors
from zoe_jax import config as configs
from zoe_jax.config import PRESETS
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.families import FAMILIES, MIDAS, OFFICIAL
from zoe_jax.convert.rules import (
    CONV,
    CONV_1X1,
    CONV_TRANSPOSE,
    DENSE,
    SAME,
    Family,
    Layout,
    Rule,
    beyond_pytorch,
    expand,
    patch_embedding,
)
from zoe_jax.convert.tensors import (
    detect,
    detect_family,
    first_difference,
    tensor_shapes,
    to_params,
    to_tensors,
)
from zoe_jax.models.zoedepth import parameter_shapes

METRIC = [name for name, config in PRESETS.items() if config.head is not None and not beyond_pytorch(config)]
RELATIVE = [name for name, config in PRESETS.items() if config.head is None]
TABLES = [(f, name) for f in ("official", "huggingface") for name in METRIC] + [("midas", name) for name in RELATIVE]
MANIFESTS = [
    *(("official", f"zoed_{v.lower()}", f"full/manifest_{v}") for v in ("N", "K", "NK")),
    *(("official", f"reference_{v.lower()}", f"tiny/manifest_{v}") for v in ("N", "K", "NK")),
    *(("huggingface", f"zoed_{v.lower()}", f"hf/manifest_{v}") for v in ("N", "K", "NK")),
    *(("huggingface", f"reference_{v.lower()}", f"hf/tiny_manifest_{v}") for v in ("N", "K", "NK")),
    *(("midas", name, f"midas/manifest_{name}") for name in ("dpt_beit_base_384", "dpt_beit_large_512")),
]


def without(tensors: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {n: tensor for n, tensor in tensors.items() if n != name}


@pytest.mark.parametrize(("family", "preset"), TABLES)
def test_every_parameter_is_filled_exactly_once(family: str, preset: str) -> None:
    config = configs.preset(preset)
    slots = FAMILIES[family].slots(config)
    assert len({slot.name for slot in slots}) == len(slots)
    shapes = parameter_shapes(config)
    assert {slot.path for slot in slots} == shapes.keys()
    regions: dict[str, set] = {path: set() for path in shapes}
    for slot in slots:
        # a region is a whole row of the leading axis, or one of n equal parts of it: two that differ are disjoint
        assert (slot.index, slot.part) not in regions[slot.path], slot
        regions[slot.path].add((slot.index, slot.part))
    for path, leaf in shapes.items():
        for index, part in regions[path]:
            assert len(index) <= 1
            assert not index or 0 <= index[0] < leaf.shape[0]
            assert part is None or (0 <= part[0] < part[1] and leaf.shape[-1] % part[1] == 0)
        assert len({(len(index), part and part[1]) for index, part in regions[path]}) == 1, path
        rows = {index: 1 / (part[1] if part else 1) for index, part in regions[path]}
        filled = sum(rows[index] * math.prod(leaf.shape[len(index) :]) for index, _ in regions[path])
        assert filled == pytest.approx(math.prod(leaf.shape), abs=0.5), path


@pytest.mark.parametrize(("family", "preset", "file"), MANIFESTS)
def test_tables_are_those_of_the_real_files(family: str, preset: str, file: str) -> None:
    table, config = FAMILIES[family], configs.preset(preset)
    stored = {entry["name"]: tuple(entry["shape"]) for entry in manifest(file)}
    used = tensor_shapes(table, config)
    assert used.items() <= stored.items()
    rest = stored.keys() - used.keys()
    assert all(table.why_unused(name) for name in rest)
    # what the writer adds for readers of the family is what their files hold, no more and no less
    constants = {name: value.shape for name, value in table.constants(config).items()}
    for name, shape in constants.items():
        # the tiny references have an ImageNet classifier of 10 classes
        assert stored[name] == shape or (preset.startswith("reference") and ".model.head." in name), name
    residual = {f"{table.first_residual.format(conv=c)}.{leaf}" for c in (1, 2) for leaf in ("weight", "bias")}
    assert rest == constants.keys() | residual


@pytest.mark.parametrize(
    ("layout", "torch_shape", "jax_shape"),
    [
        (SAME, (5,), (5,)),
        (DENSE, (5, 3), (3, 5)),
        (CONV, (5, 3, 2, 4), (2, 4, 3, 5)),
        (CONV_1X1, (5, 3, 1, 1), (3, 5)),
        (CONV_TRANSPOSE, (3, 5, 2, 4), (3, 2, 4, 5)),
        (patch_embedding(4), (5, 3, 4, 4), (48, 5)),
    ],
)
def test_layouts_invert(layout: Layout, torch_shape: tuple[int, ...], jax_shape: tuple[int, ...]) -> None:
    theirs = np.arange(math.prod(torch_shape), dtype=np.float32).reshape(torch_shape)
    ours = layout.to_jax(theirs)
    assert ours.shape == jax_shape
    np.testing.assert_array_equal(layout.to_torch(ours), theirs)


def test_placeholders_run_over_stages_and_domains() -> None:
    config = tiny_config("NK")
    blocks = [(slot.name, slot.path, slot.index) for slot in expand(Rule("b{block}", "s_{stage}"), config)]
    assert blocks == [(f"b{i}", f"s_{i}", (0,)) for i in range(4)]
    uneven = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, depth=5, taps=(0, 2, 3, 4)))
    assert [(s.path, s.index) for s in expand(Rule("b{block}", "s_{stage}"), uneven)][1:3] == [
        ("s_1", (0,)),
        ("s_1", (1,)),
    ]
    seeds = [(slot.name, slot.index) for slot in expand(Rule("seed{plural}{head}", "seeds"), config)]
    assert seeds == [("seeds.nyu", (0,)), ("seeds.kitti", (1,))]
    assert [slot.name for slot in expand(Rule("seed{plural}{head}", "seeds"), tiny_config("N"))] == ["seed"]


@pytest.mark.parametrize("family", ["official", "huggingface"])
@pytest.mark.parametrize("variant", ["N", "K", "NK"])
def test_there_and_back_is_exact(family: str, variant: str) -> None:
    tensors, config = tiny_tensors(variant, family), tiny_config(variant)
    found, preset = detect(tensors, "file")
    assert (found.name, preset) == (family, f"reference_{variant.lower()}")
    assert detect_family(tensors, config, "file") is found
    params, unused = to_params(tensors, found, config, "file")
    assert {path: leaf.shape for path, leaf in flatten_dict(params, sep="/").items()} == {
        path: leaf.shape for path, leaf in parameter_shapes(config).items()
    }
    back = dict(to_tensors(params, unused, family, found, config))
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        np.testing.assert_array_equal(back[name], tensor)


def misfits() -> dict[str, tuple[Callable[[dict], dict], str]]:
    token, bias = "core.core.pretrained.model.cls_token", "core.core.scratch.output_conv.0.bias"
    return {
        "missing": (lambda t: without(t, token), f"1 tensors missing, first {token}"),
        "extra": (lambda t: t | {"stray": t[token]}, "1 tensors unknown, first stray"),
        "renamed": (
            lambda t: without(t, token) | {"stray": t[token]},
            f"1 tensors missing, first {token}; 1 tensors unknown, first stray",
        ),
        "mis-shaped": (lambda t: t | {token: t[token][..., :-1]}, rf"{token} has shape \(1, 1, 63\) instead of"),
        "transposed": (lambda t: t | {bias: t[bias][:, None]}, rf"{bias} has shape \(16, 1\) instead of \(16,\)"),
        "the other family": (
            lambda t: dict(tiny_tensors("N", "huggingface")),
            "193 tensors unknown, first backbone.embeddings.cls_token",
        ),
    }


@pytest.mark.parametrize("kind", misfits())
def test_what_does_not_fit_is_named(kind: str) -> None:
    change, message = misfits()[kind]
    tensors = change(dict(tiny_tensors("N")))
    with pytest.raises(CheckpointError, match=message) as refusal:
        to_params(tensors, OFFICIAL, tiny_config("N"), "some.pt")
    assert str(refusal.value).startswith("some.pt: does not fit the configuration as official: ")
    assert str(refusal.value).isprintable()


def test_integers_are_no_parameters() -> None:
    token = "core.core.pretrained.model.cls_token"
    tensors = dict(tiny_tensors("N")) | {token: np.zeros((1, 1, 64), np.int64)}
    with pytest.raises(CheckpointError, match=f"file: tensor '{token}' is int64; it should be a float"):
        to_params(tensors, OFFICIAL, tiny_config("N"), "file")


def test_unused_tensors_may_be_absent() -> None:
    config = tiny_config("NK")
    used = tensor_shapes(OFFICIAL, config)
    assert len(used) < len(tiny_tensors("NK"))
    only = {name: tensor for name, tensor in tiny_tensors("NK").items() if name in used}
    assert first_difference(only, OFFICIAL, config) is None
    assert to_params(only, OFFICIAL, config, "file")[1] == {}


def test_unknown_models_get_the_closest_candidates() -> None:
    token = "core.core.pretrained.model.cls_token"
    with pytest.raises(CheckpointError) as refusal:
        detect(without(tiny_tensors("K"), token), "some.pt")
    message = str(refusal.value)
    assert message.startswith("some.pt: is no known model; the closest are official ")
    for words in (f"official reference_k (1 tensors missing, first {token});", "name a preset and overrides"):
        assert words in message
    assert message.count("official ") == 3  # N, K and NK: all other presets are further away


def test_unknown_sizes_are_told_by_their_shapes() -> None:
    seeds = "seed_bin_regressor._net.0.weight"
    tensors = dict(tiny_tensors("N"))
    tensors[seeds] = tensors[seeds][:-1]
    with pytest.raises(CheckpointError, match=rf"official reference_n \({seeds} has shape \(255, 32, 1, 1\) instead"):
        detect(tensors, "some.pt")


def test_ambiguous_files_list_what_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "double", tiny_config("N", n_bins=64, max_depth_m=20.0))
    with pytest.raises(CheckpointError, match=r"fits several presets, reference_n, double; name one with preset="):
        detect(tiny_tensors("N"), "some.pt")


def test_the_closest_family_of_a_named_preset_is_told() -> None:
    token = "backbone.embeddings.cls_token"
    with pytest.raises(CheckpointError, match=f"as huggingface: 1 tensors missing, first {token}"):
        detect_family(without(tiny_tensors("N", "huggingface"), token), tiny_config("N"), "folder")


def test_a_table_that_is_not_total_cannot_be_used() -> None:
    config = tiny_config("N")
    broken = dataclasses.replace(
        OFFICIAL, rules=lambda config: [rule for rule in OFFICIAL.rules(config) if rule.path != "bottleneck/bias"]
    )
    tensors = {name: tensor for name, tensor in tiny_tensors("N").items() if name != "conv2.bias"}
    with pytest.raises(AssertionError, match="the official table fills 0 of 32 numbers of bottleneck/bias"):
        to_params(tensors, broken, config, "file")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_reasons_are_for_whole_names(family: Family) -> None:
    residual = f"{family.first_residual.format(conv=1)}.weight"
    assert "no skip" in (family.why_unused(residual) or "")
    assert family.why_unused(f"{residual}.more") is None
    assert family.why_unused(f"more.{residual}") is None
    assert MIDAS.why_unused("core.core.pretrained.model.head.weight") is None
