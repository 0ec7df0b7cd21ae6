"""Hugging Face folders: exact round trips, what config.json decides, and what it may not say."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.same import assert_same_tensors
from tests.synthetic import MODEL_REFERENCE, VARIANTS, tiny_config, tiny_tensors
from zoe_jax import config as configs
from zoe_jax.convert.checkpoint import read_checkpoint, verify, write_checkpoint
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.families.huggingface import apply_config_json, config_json
from zoe_jax.convert.safetensors_file import read_safetensors, write_safetensors
from zoe_jax.convert.torch_file import write_torch

MAX_SHARD_BYTES = 1 << 20


def stored_config_json(variant: str) -> dict[str, Any]:
    """What transformers wrote beside the reference's tensors."""
    return json.loads((MODEL_REFERENCE / "hf" / f"tiny_config_{variant}.json").read_text(encoding="utf-8"))


def folder_of(
    path: Path, variant: str, changes: Mapping[str, Any] | None = None, max_shard_bytes: int = 5 << 30
) -> Path:
    write_safetensors(path, tiny_tensors(variant, "huggingface"), max_shard_bytes=max_shard_bytes)
    (path / "config.json").write_text(json.dumps(stored_config_json(variant) | dict(changes or {})))
    return path


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("max_shard_bytes", [5 << 30, MAX_SHARD_BYTES], ids=["whole", "sharded"])
def test_round_trip_is_exact(tmp_path: Path, variant: str, max_shard_bytes: int) -> None:
    source = folder_of(tmp_path / "in", variant, max_shard_bytes=max_shard_bytes)
    assert (source / "model.safetensors.index.json").exists() == (max_shard_bytes == MAX_SHARD_BYTES)
    write_checkpoint(read_checkpoint(source), tmp_path / "ours", "orbax")
    ours = read_checkpoint(tmp_path / "ours")
    write_checkpoint(ours, tmp_path / "out", "huggingface")
    assert_same_tensors(read_safetensors(tmp_path / "out"), tiny_tensors(variant, "huggingface"))
    assert verify(ours, tmp_path / "out", "huggingface") == len(tiny_tensors(variant, "huggingface"))
    assert read_checkpoint(tmp_path / "out").config == ours.config


@pytest.mark.parametrize("variant", VARIANTS)
def test_config_json_is_what_transformers_writes(variant: str) -> None:
    theirs, config = stored_config_json(variant), tiny_config(variant)
    ours = config_json(apply_config_json(config, theirs, "config.json"))
    backbone, their_backbone = ours.pop("backbone_config"), theirs.pop("backbone_config")
    assert backbone.pop("layer_norm_eps") == 1e-6  # the original's, where transformers' conversion left 1e-12
    assert {key: their_backbone[key] for key in backbone} == backbone
    if variant != "NK":  # the name of a single head plays no part, and is kitti here for K
        ours["bin_configurations"][0]["name"] = theirs["bin_configurations"][0]["name"]
    assert ours.pop("architectures") == ["ZoeDepthForDepthEstimation"]
    assert {key: theirs[key] for key in ours} == ours


@pytest.mark.parametrize("variant", VARIANTS)
def test_from_the_original_the_unused_residual_is_translated(tmp_path: Path, variant: str) -> None:
    theirs = tiny_tensors(variant)
    write_torch(tmp_path / "in.pt", theirs)
    checkpoint = read_checkpoint(tmp_path / "in.pt")
    write_checkpoint(checkpoint, tmp_path / "out", "huggingface")
    written = read_safetensors(tmp_path / "out")
    assert written.keys() == tiny_tensors(variant, "huggingface").keys()
    for conv in (1, 2):
        for leaf in ("weight", "bias"):
            np.testing.assert_array_equal(
                written[f"neck.fusion_stage.layers.0.residual_layer1.convolution{conv}.{leaf}"],
                theirs[f"core.core.scratch.refinenet4.resConfUnit1.conv{conv}.{leaf}"],
            )
    # and the model is the same one: q, k and v of the first block, which the original keeps in one matrix
    prefix = "backbone.encoder.layer.0.attention.attention"
    qkv = np.concatenate([written[f"{prefix}.{part}.weight"] for part in ("query", "key", "value")])
    np.testing.assert_array_equal(qkv, theirs["core.core.pretrained.model.blocks.0.attn.qkv.weight"])
    assert read_checkpoint(tmp_path / "out").config == checkpoint.config


def test_the_range_of_k_is_the_files_own_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = read_checkpoint(folder_of(tmp_path / "k", "K")).config
    assert config == tiny_config("K", max_depth_m=10.0)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.name == "zoe_jax.convert.checkpoint"
    for words in (str(tmp_path / "k"), "max_depth 10.0 m", "80.0 m", "overrides={'max_depth_m': 80.0}"):
        assert words in record.getMessage()


@pytest.mark.parametrize("name", ["max_depth_m", "head.max_depth_m"])
def test_an_override_of_the_range_silences_the_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    assert read_checkpoint(folder_of(tmp_path / "k", "K"), overrides={name: 80.0}).config == tiny_config("K")
    assert not caplog.records


@pytest.mark.parametrize("variant", ["N", "NK"])
def test_the_other_ranges_are_the_papers(tmp_path: Path, caplog: pytest.LogCaptureFixture, variant: str) -> None:
    assert read_checkpoint(folder_of(tmp_path / "hf", variant)).config == tiny_config(variant)
    assert not caplog.records


def test_a_single_file_is_read_with_the_config_beside_it_or_without(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "k", "K")
    assert read_checkpoint(folder / "model.safetensors").config == tiny_config("K", max_depth_m=10.0)
    (folder / "config.json").unlink()
    assert read_checkpoint(folder / "model.safetensors").config == tiny_config("K")


def test_the_name_of_an_index_stands_for_its_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "n", "N", max_shard_bytes=MAX_SHARD_BYTES)
    assert read_checkpoint(folder / "model.safetensors.index.json").config == tiny_config("N")


def test_a_named_preset_stands_above_config_json(tmp_path: Path) -> None:
    assert read_checkpoint(folder_of(tmp_path / "k", "K"), "reference_k").config == tiny_config("K")


NYU = {"name": "nyu", "n_bins": 64, "min_depth": 1e-3, "max_depth": 10.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "dpt"}, "config.json is of model_type 'dpt'; it should be 'zoedepth'"),
        ({"bin_configurations": [NYU, NYU | {"name": "kitti"}]}, "has 2 bin_configurations, the tensors have 1"),
        ({"bin_configurations": []}, "has 0 bin_configurations, the tensors have 1"),
        ({"bin_configurations": [{"name": "nyu"}]}, "config.json lacks or misstates 'n_bins'"),
        ({"bin_configurations": None}, "config.json lacks or misstates"),
        ({"bin_configurations": [NYU | {"max_depth": "far"}]}, "describes no model: .*max_depth_m.* is 'far'"),
        ({"bin_configurations": [NYU | {"max_depth": 0.0}]}, "depth range 0.001..0.0 m of domain nyu"),
        ({"bin_configurations": [NYU | {"n_bins": 32}]}, "does not fit the configuration as huggingface: .* has shape"),
        ({"bin_centers_type": "normed"}, "does not fit the configuration as huggingface: .* has shape"),
        ({"bin_centers_type": "banana"}, "describes no model: .*bin_centers_type is 'banana'; it can be 'softplus'"),
        ({"attractor_kind": "median"}, "describes no model: .*attractor_kind is 'median'"),
        ({"min_temp": None}, "describes no model: .*min_temperature is None"),
        ({"backbone_config": {"layer_norm_eps": "tiny"}}, "describes no model: .*layer_norm_epsilon is 'tiny'"),
        ({"backbone_config": "beit"}, "config.json lacks or misstates"),
    ],
)
def test_config_json_may_not_contradict(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = folder_of(tmp_path / "hf", "N", changes)
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_checkpoint(folder)
    assert str(refusal.value).startswith(str(folder))


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[]", "holds no JSON object"), ("\xff", "JSON")])
def test_config_json_must_be_json(tmp_path: Path, text: str, message: str) -> None:
    folder = folder_of(tmp_path / "hf", "N")
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_checkpoint(folder)
    assert str(refusal.value).startswith(str(folder / "config.json"))


def test_the_kind_of_bins_and_attractors_is_the_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "hf", "N", {"attractor_kind": "sum", "max_temp": 40.0})
    assert read_checkpoint(folder).config == tiny_config("N", attractor_kind="sum", max_temperature=40.0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"attractor_type": "exponential"}, "inverse attractors of alpha 300 and gamma 2 only"),
        ({"attractor_alpha": 1000.0}, "inverse attractors of alpha 300 and gamma 2 only"),
        ({"head": None}, "a relative-depth model has no Hugging Face ZoeDepth layout"),
    ],
)
def test_what_transformers_does_not_know_is_not_written(
    tmp_path: Path, overrides: dict[str, Any], message: str
) -> None:
    core = {n.removeprefix("core.core."): t for n, t in tiny_tensors("N").items() if n.startswith("core.core.")}
    write_torch(tmp_path / "in.pt", core if "head" in overrides else tiny_tensors("N"))
    checkpoint = read_checkpoint(tmp_path / "in.pt", "reference_n", overrides)
    with pytest.raises(CheckpointError, match=message):
        write_checkpoint(checkpoint, tmp_path / "out", "huggingface")
    assert not (tmp_path / "out").exists()


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "hf", "N", max_shard_bytes=MAX_SHARD_BYTES)
    first, second, *_ = sorted(folder.glob("model-*.safetensors"))
    both = read_safetensors(second) | {"twice": np.zeros(1, np.float32)}
    for shard, tensors in ((first, read_safetensors(first) | {"twice": np.zeros(1, np.float32)}), (second, both)):
        write_safetensors(shard, {name: np.array(tensor) for name, tensor in tensors.items()})
    with pytest.raises(CheckpointError, match="tensor 'twice' is in two shards"):
        read_checkpoint(folder)


def test_a_model_that_was_made_here_is_written_too(tmp_path: Path) -> None:
    write_torch(tmp_path / "in.pt", tiny_tensors("NK"))
    read = read_checkpoint(tmp_path / "in.pt", overrides={"max_depth_m": (20.0, 40.0), "layer_norm_epsilon": 1e-5})
    made = type(read)(read.config, read.params, {}, type(read.origin)())
    write_checkpoint(made, tmp_path / "out", "huggingface")
    assert verify(made, tmp_path / "out", "huggingface") == len(tiny_tensors("NK", "huggingface"))
    assert configs.to_dict(read_checkpoint(tmp_path / "out").config) == configs.to_dict(read.config)
