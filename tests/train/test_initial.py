"""A run that begins with a released checkpoint: a relative-depth `.pt` as MiDaS ships it, a metric one, timm's BEiT."""

import logging
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import zoe_jax
from tests.same import assert_same_tree
from tests.synthetic import tiny_beit_tensors, tiny_params
from tests.train import tiny
from zoe_jax.config import PRESETS, ConfigError, ZoeDepthConfig, preset
from zoe_jax.convert.checkpoint import Checkpoint, write_checkpoint
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.convert.safetensors_file import write_safetensors
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.initial import initial_state, state_shapes, take_part
from zoe_jax.train.sharding import ShardingConfig, make_mesh, make_shardings
from zoe_jax.train.state import TrainState

METRIC = preset("reference_n")
RELATIVE = replace(METRIC, head=None)


def released(path: Path, config: ZoeDepthConfig, seed: int = 7) -> dict:
    params = zoe_jax.init(config, jax.random.key(seed))
    write_checkpoint(Checkpoint(config, params, {}, Origin()), path, "official")
    return flatten_dict(params, sep="/")


def begun(experiment: Experiment) -> TrainState:
    shardings = make_shardings(ShardingConfig(), make_mesh(ShardingConfig()), state_shapes(experiment))
    return initial_state(experiment, jax.random.key(0), shardings)


def test_a_relative_pt_gives_encoder_and_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(PRESETS, "reference_relative", RELATIVE)
    theirs = released(tmp_path / "midas.pt", RELATIVE)
    experiment = Experiment("begun", model=METRIC, init=str(tmp_path / "midas.pt"), init_part="relative")
    with caplog.at_level(logging.INFO):
        ours = flatten_dict(begun(experiment).params, sep="/")
    assert f"{len(theirs)} of {len(ours)} parameters" in caplog.text
    random = flatten_dict(zoe_jax.init(METRIC, jax.random.key(0)), sep="/")
    for path, value in ours.items():
        np.testing.assert_array_equal(value, theirs.get(path, random[path]))


def test_timms_beit_gives_the_encoder(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "beit.safetensors", tiny_beit_tensors())
    experiment = Experiment("begun", model=METRIC, init=str(tmp_path / "beit.safetensors"), init_part="encoder")
    ours = begun(experiment).params
    jax.tree.map(np.testing.assert_array_equal, ours["encoder"], tiny_params("N")["encoder"])
    random = zoe_jax.init(METRIC, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, ours | {"encoder": None}, random | {"encoder": None})
    with pytest.raises(CheckpointError, match="is an encoder only; a training takes it with --init-part encoder"):
        begun(replace(experiment, init_part="relative"))


def test_a_metric_pt_gives_the_whole_model(tmp_path: Path) -> None:
    theirs = released(tmp_path / "zoed.pt", METRIC)
    state = begun(Experiment("begun", model=METRIC, init=str(tmp_path / "zoed.pt")))
    for path, value in flatten_dict(state.params, sep="/").items():
        np.testing.assert_array_equal(value, theirs[path])
    assert int(state.step) == 0


@pytest.mark.parametrize(
    ("part", "parts"),
    [
        ("encoder", {"encoder"}),
        ("relative", {"encoder", "decoder"}),
        ("model", {"encoder", "decoder", "bottleneck", "metric_head", "router"}),
    ],
)
def test_what_each_part_takes(part: str, parts: set[str]) -> None:
    ours = tiny.cheap_init(tiny.MODEL_NK, jax.random.key(0))
    experiment = tiny.experiment_nk(init="run", init_part=part)
    taken = take_part(Checkpoint(tiny.MODEL_NK, ours, {}, Origin()), experiment)
    ours = flatten_dict(ours, sep="/")
    assert taken.keys() == {path for path in ours if path.split("/")[0] in parts}
    assert_same_tree(taken, {path: ours[path] for path in taken})


def test_a_start_that_does_not_fit_is_refused() -> None:
    params = tiny.cheap_init(tiny.MODEL_NK, jax.random.key(0))
    experiment = tiny.experiment_nk(init="run")
    for encoder, message in (
        ({"cls_token": jnp.zeros(3)}, r"run: encoder/cls_token has shape \(3,\) where this model has \(1, 1, 16\)"),
        ({"cls_token": {}}, "run has no parameter encoder/cls_token, which init_part 'model' needs"),
    ):
        checkpoint = Checkpoint(tiny.MODEL_NK, params | {"encoder": params["encoder"] | encoder}, {}, Origin())
        with pytest.raises(ConfigError, match=message):
            take_part(checkpoint, experiment)
