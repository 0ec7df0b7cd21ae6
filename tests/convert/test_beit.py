"""timm's BEiT by itself: its names, what is taken of it, and that it never passes for a whole model."""

from pathlib import Path

import jax
import numpy as np
import pytest

from tests.synthetic import tiny_beit_tensors, tiny_config, tiny_params, tiny_tensors
from zoe_jax import config as configs
from zoe_jax.convert.checkpoint import read_checkpoint, read_encoder
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.families.beit import BEIT
from zoe_jax.convert.inspection import inspect
from zoe_jax.convert.safetensors_file import write_safetensors
from zoe_jax.convert.tensors import tensor_shapes
from zoe_jax.convert.torch_file import write_torch


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_safetensors(tmp_path / "beit.safetensors", tiny_beit_tensors())
    return tmp_path / "beit.safetensors"


def test_names_and_shapes_are_those_of_timms_beit_large_at_384() -> None:
    shapes = tensor_shapes(BEIT, configs.preset("zoed_n"))
    assert len(shapes) == 3 + 24 * 16
    assert shapes["cls_token"] == (1, 1, 1024)
    assert shapes["patch_embed.proj.weight"] == (1024, 3, 16, 16)
    assert shapes["blocks.23.attn.qkv.weight"] == (3072, 1024)
    assert shapes["blocks.23.attn.relative_position_bias_table"] == (2212, 16)
    for name in ("fc_norm.weight", "norm.bias", "head.weight", "blocks.3.attn.relative_position_index"):
        assert BEIT.why_unused(name)
    assert BEIT.why_unused("blocks.3.attn.qkv.weight") is None


@pytest.mark.parametrize("overrides", [{}, {"probabilities": "softmax", "output_stride": 2}], ids=["ours", "beyond"])
def test_the_encoder_is_all_that_is_read(file: Path, overrides: dict) -> None:
    read = read_encoder(file, tiny_config("NK", param_dtype="bfloat16", **overrides))
    assert read.params.keys() == {"encoder"}
    expected = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), tiny_params("N")["encoder"])
    jax.tree.map(np.testing.assert_array_equal, read.params["encoder"], expected)


def test_a_whole_model_has_an_encoder_too(tmp_path: Path) -> None:
    write_torch(tmp_path / "n.pt", tiny_tensors("N"))
    read = read_encoder(tmp_path / "n.pt", tiny_config("NK"))
    jax.tree.map(np.testing.assert_array_equal, read.params["encoder"], tiny_params("N")["encoder"])


def test_another_beit_is_named(file: Path) -> None:
    table = r"relative_position_bias_table has shape \(\d+, 4\) instead of \(228, 4\)"
    with pytest.raises(CheckpointError, match=f"{file}: does not fit the configuration as beit: blocks.0.attn.{table}"):
        read_encoder(file, tiny_config("N", image_size=128))
    token = tiny_beit_tensors()["cls_token"]
    write_safetensors(file, {"cls_token": token, "pos_embed": token})
    with pytest.raises(CheckpointError, match=r"missing, first blocks\.0.* 1 tensors unknown, first pos_embed"):
        read_encoder(file, tiny_config("N"))


def test_it_is_no_whole_model(file: Path) -> None:
    message = f"{file}: is an encoder only; a training takes it with --init-part encoder"
    for read in (read_checkpoint, inspect):
        for preset in (None, "reference_n"):
            with pytest.raises(CheckpointError, match=message):
                read(file, preset)
