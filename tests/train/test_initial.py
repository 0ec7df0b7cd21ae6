"""A run that begins with a released checkpoint: a relative-depth `.pt` as MiDaS ships it, a metric `.pt`."""

import logging
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import zoe_jax
from zoe_jax.config import PRESETS, ZoeDepthConfig, preset
from zoe_jax.convert.checkpoint import Checkpoint, write_checkpoint
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.initial import initial_state, state_shapes
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


def test_a_metric_pt_gives_the_whole_model(tmp_path: Path) -> None:
    theirs = released(tmp_path / "zoed.pt", METRIC)
    state = begun(Experiment("begun", model=METRIC, init=str(tmp_path / "zoed.pt")))
    for path, value in flatten_dict(state.params, sep="/").items():
        np.testing.assert_array_equal(value, theirs[path])
    assert int(state.step) == 0
