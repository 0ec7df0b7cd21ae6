"""The original's `.pt` layout and MiDaS's: what comes in goes out again to the bit, and how the gaps are filled."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.same import assert_same_tensors
from tests.synthetic import VARIANTS, tiny_tensors
from zoe_jax import config as configs
from zoe_jax.convert.checkpoint import read_checkpoint, verify, write_checkpoint
from zoe_jax.convert.families import OFFICIAL
from zoe_jax.convert.families.official import relative_position_index
from zoe_jax.convert.torch_file import TorchFile, read_torch, write_torch

INDEX = "relative_position_index"


def through_ours(folder: Path, tensors: Mapping[str, np.ndarray], **layout: str) -> TorchFile:
    """Written as `.pt`, converted to our folder, and from there to `.pt` again."""
    write_torch(folder / "in.pt", tensors, **layout)
    write_checkpoint(read_checkpoint(folder / "in.pt"), folder / "ours", "orbax")
    write_checkpoint(read_checkpoint(folder / "ours"), folder / "out.pt", "official")
    return read_torch(folder / "out.pt")


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip_is_exact(tmp_path: Path, variant: str) -> None:
    back = through_ours(tmp_path, tiny_tensors(variant))
    assert (back.wrapper, back.prefix) == ("model", "")
    assert_same_tensors(back.tensors, tiny_tensors(variant))


@pytest.mark.parametrize(("wrapper", "prefix"), [("", ""), ("", "module."), ("model", "module."), ("state_dict", "")])
def test_wrapper_and_prefix_come_back(tmp_path: Path, wrapper: str, prefix: str) -> None:
    back = through_ours(tmp_path, tiny_tensors("N"), wrapper=wrapper, prefix=prefix)
    assert (back.wrapper, back.prefix) == (wrapper, prefix)
    assert_same_tensors(back.tensors, tiny_tensors("N"))


def test_a_release_of_timm_that_saves_no_index_buffers(tmp_path: Path) -> None:
    without = {name: tensor for name, tensor in tiny_tensors("NK").items() if tensor.dtype != np.int64}
    assert len(without) == len(tiny_tensors("NK")) - 4 - 2  # one a block, one a head
    assert_same_tensors(through_ours(tmp_path, without).tensors, without)


def test_buffers_come_back_as_they_were_and_not_as_they_should_be(tmp_path: Path) -> None:
    changed = {name: tensor + 7 if INDEX in name else tensor for name, tensor in tiny_tensors("N").items()}
    assert sum(INDEX in name for name in changed) == 4
    assert_same_tensors(through_ours(tmp_path, changed).tensors, changed)


def test_a_file_in_bfloat16_stays_so(tmp_path: Path) -> None:
    bfloat16 = configs.override(configs.preset("reference_n"), {"param_dtype": "bfloat16"})
    half = {n: t.astype("bfloat16") if t.dtype == np.float32 else t for n, t in tiny_tensors("N").items()}
    write_torch(tmp_path / "in.pt", half)
    assert read_checkpoint(tmp_path / "in.pt").config == bfloat16
    assert_same_tensors(through_ours(tmp_path, half).tensors, half)


def test_a_file_of_both_types_loses_nothing(tmp_path: Path) -> None:
    norms = {n: t.astype("bfloat16") if "norm" in n else t for n, t in tiny_tensors("N").items()}
    write_torch(tmp_path / "in.pt", norms)
    read = read_checkpoint(tmp_path / "in.pt")
    assert read.config.param_dtype == "float32"
    write_checkpoint(read, tmp_path / "out.pt", "official")
    wide = {n: t.astype(np.float32) if OFFICIAL.why_unused(n) is None else t for n, t in norms.items()}
    assert_same_tensors(read_torch(tmp_path / "out.pt").tensors, wide)


@pytest.mark.parametrize("variant", VARIANTS)
def test_from_hugging_face_named_rules_fill_the_rest(
    tmp_path: Path, variant: str, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = tiny_tensors(variant, "huggingface")
    write_torch(tmp_path / "in.pt", theirs)  # the family is known by its names, whatever holds them
    checkpoint = read_checkpoint(tmp_path / "in.pt")
    assert checkpoint.origin.family == "huggingface"
    with caplog.at_level(logging.INFO, logger="zoe_jax"):
        write_checkpoint(checkpoint, tmp_path / "out.pt", "official")
    assert "filled by the rules of the official family" in caplog.text
    written = read_torch(tmp_path / "out.pt").tensors
    model = "core.core.pretrained.model"
    assert written.keys() == tiny_tensors(variant).keys()  # all that the original's strict loader asks for
    assert (written[f"{model}.fc_norm.weight"] == 1).all()
    for name in ("fc_norm.bias", "head.weight", "head.bias"):
        assert not written[f"{model}.{name}"].any()
    for name, tensor in tiny_tensors(variant).items():  # constants of the architecture, as in a file of the original
        if INDEX in name or "log_binomial_transform" in name:
            assert_same_tensors({name: written[name]}, {name: tensor})
    for conv in (1, 2):
        for leaf in ("weight", "bias"):
            np.testing.assert_array_equal(
                written[f"core.core.scratch.refinenet4.resConfUnit1.conv{conv}.{leaf}"],
                theirs[f"neck.fusion_stage.layers.0.residual_layer1.convolution{conv}.{leaf}"],
            )
    assert verify(checkpoint, tmp_path / "out.pt", "official") == len(written)


@pytest.mark.parametrize("window", [(2, 2), (3, 3)])
def test_the_index_buffer_is_the_offset_between_tokens(window: tuple[int, int]) -> None:
    rows, columns = window
    index = relative_position_index(rows)
    n_offsets = (2 * rows - 1) * (2 * columns - 1)
    assert index.dtype == np.int64
    assert index[0, 0] == n_offsets + 2
    assert (index[0, 1:] == n_offsets).all()
    assert (index[1:, 0] == n_offsets + 1).all()
    tokens = [(y, x) for y in range(rows) for x in range(columns)]
    for i, (y, x) in enumerate(tokens):
        for j, (other_y, other_x) in enumerate(tokens):
            offset = (y - other_y + rows - 1) * (2 * columns - 1) + x - other_x + columns - 1
            assert index[1 + i, 1 + j] == offset


def midas() -> dict[str, np.ndarray]:
    """The core of the tiny N as MiDaS itself names it."""
    core = "core.core."
    return {name.removeprefix(core): tensor for name, tensor in tiny_tensors("N").items() if name.startswith(core)}


def test_midas_round_trip_is_exact(tmp_path: Path) -> None:
    write_torch(tmp_path / "in.pt", midas(), wrapper="")
    checkpoint = read_checkpoint(tmp_path / "in.pt", "reference_n", {"head": None})
    assert checkpoint.origin.family == "midas"
    assert checkpoint.config.domains == ()
    assert checkpoint.params.keys() == {"encoder", "decoder"}
    write_checkpoint(checkpoint, tmp_path / "ours", "orbax")
    assert verify(checkpoint, tmp_path / "ours", "orbax") == len(midas())
    write_checkpoint(read_checkpoint(tmp_path / "ours"), tmp_path / "out.pt", "official")
    back = read_torch(tmp_path / "out.pt")
    assert back.wrapper == ""
    assert_same_tensors(back.tensors, midas())


def test_a_relative_model_without_a_past_is_written_as_midas(tmp_path: Path) -> None:
    write_torch(tmp_path / "in.pt", midas())
    checkpoint = read_checkpoint(tmp_path / "in.pt", "reference_n", {"head": None})
    trained = type(checkpoint)(checkpoint.config, checkpoint.params, {}, type(checkpoint.origin)())
    write_checkpoint(trained, tmp_path / "out.pt", "official")
    written = read_torch(tmp_path / "out.pt").tensors
    assert written.keys() == midas().keys()
    assert not written["scratch.refinenet4.resConfUnit1.conv1.weight"].any()


def test_a_file_in_float64_stays_so_where_jax_has_it(tmp_path: Path, x64: None) -> None:
    wide = {n: t.astype(np.float64) if t.dtype == np.float32 else t for n, t in tiny_tensors("N").items()}
    write_torch(tmp_path / "in.pt", wide)
    checkpoint = read_checkpoint(tmp_path / "in.pt")
    assert checkpoint.config.param_dtype == "float64"
    write_checkpoint(checkpoint, tmp_path / "out.pt", "official")
    assert_same_tensors(read_torch(tmp_path / "out.pt").tensors, wide)


def test_a_file_in_float64_becomes_float32_where_jax_has_no_other(tmp_path: Path) -> None:
    write_torch(tmp_path / "in.pt", {n: t.astype(np.float64) for n, t in midas().items() if t.dtype == np.float32})
    assert read_checkpoint(tmp_path / "in.pt", "reference_n", {"head": None}).config.param_dtype == "float32"
