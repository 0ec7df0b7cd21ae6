"""The state in which a new run begins: random, or taken from a checkpoint, as a whole or in part."""

import functools
import logging
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from zoe_jax.config import ConfigError
from zoe_jax.convert.checkpoint import Checkpoint, read_checkpoint
from zoe_jax.convert.source import resolve_source
from zoe_jax.input.placement import put
from zoe_jax.models.zoedepth import Params, init
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.sharding import Shardings
from zoe_jax.train.state import TrainState, init_state

log = logging.getLogger(__name__)

PARTS = {"model": ("",), "relative": ("encoder/", "decoder/"), "encoder": ("encoder/",)}
"""Beginnings of the paths that each `Experiment.init_part` takes."""


def state_shapes(experiment: Experiment) -> TrainState:
    """Shape and type of everything in a state; nothing is allocated."""
    return jax.eval_shape(lambda: _random_state(experiment, jax.random.key(0)))


def initial_state(experiment: Experiment, rng: jax.Array, shardings: Shardings) -> TrainState:
    """The state before the first step, each device holding its own part of it.

    Args:
        experiment: names the checkpoint to begin with, if any.
        rng: of the random parameters.
        shardings: where the state is to lie.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: it lacks a parameter that was asked of it, or has it in another shape.
    """
    random_state = jax.jit(functools.partial(_random_state, experiment), out_shardings=shardings.state)
    state = random_state(rng)
    if experiment.init is None:
        return state
    checkpoint = read_checkpoint(resolve_source(experiment.init), param_dtype=experiment.model.param_dtype)
    params = put(take_part(state.params, checkpoint, experiment), shardings.state.params)
    begin = functools.partial(init_state, experiment.model, experiment.objective, experiment.optimizer)
    return jax.jit(begin, out_shardings=shardings.state, donate_argnums=0)(params)


def take_part(params: Params, checkpoint: Checkpoint, experiment: Experiment) -> Params:
    """The parameters with those of a checkpoint in the place of the part that the experiment asks for.

    Raises:
        ConfigError: the checkpoint lacks a parameter of this part, or has it in another shape.
    """
    ours: dict[str, Any] = flatten_dict(params, sep="/")
    theirs: dict[str, Any] = flatten_dict(checkpoint.params, sep="/")
    taken = [path for path in ours if path.startswith(PARTS[experiment.init_part])]
    for path in taken:
        if path not in theirs:
            raise ConfigError(
                f"{experiment.init} has no parameter {path}, which init_part {experiment.init_part!r} needs: "
                "take a smaller part, or a checkpoint of the same architecture"
            )
        if theirs[path].shape != ours[path].shape:
            raise ConfigError(
                f"{experiment.init}: {path} has shape {theirs[path].shape} where this model has {ours[path].shape}: "
                "give the experiment the same architecture"
            )
    log.info("%d of %d parameters from %s (%s)", len(taken), len(ours), experiment.init, experiment.init_part)
    return unflatten_dict(ours | {path: theirs[path] for path in taken}, sep="/")


def _random_state(experiment: Experiment, rng: jax.Array) -> TrainState:
    params = init(experiment.model, rng)
    return init_state(experiment.model, experiment.objective, experiment.optimizer, params)
