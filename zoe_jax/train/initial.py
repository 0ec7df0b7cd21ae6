"""The state in which a new run begins: random, or taken from a checkpoint, as a whole or in part."""

import functools
import logging
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from zoe_jax.config import ConfigError
from zoe_jax.convert.checkpoint import Checkpoint, read_checkpoint, read_encoder
from zoe_jax.convert.source import resolve_source
from zoe_jax.input.placement import put
from zoe_jax.models.zoedepth import init, parameter_shapes
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.sharding import Shardings
from zoe_jax.train.state import TrainState, init_state

log = logging.getLogger(__name__)

PARTS = {"model": ("",), "relative": ("encoder/", "decoder/"), "encoder": ("encoder/",)}
"""Beginnings of the paths that each `Experiment.init_part` takes."""


def state_shapes(experiment: Experiment) -> TrainState:
    """Shape and type of everything in a state; nothing is allocated."""
    return jax.eval_shape(lambda: _begin(experiment, jax.random.key(0), {}))


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
    taken = {}
    if experiment.init is not None:
        path, model = resolve_source(experiment.init), experiment.model
        alone = experiment.init_part == "encoder"
        checkpoint = read_encoder(path, model) if alone else read_checkpoint(path, param_dtype=model.param_dtype)
        where = flatten_dict(shardings.state.params, sep="/")
        taken = {path: put(param, where[path]) for path, param in take_part(checkpoint, experiment).items()}
    # random numbers that nothing reads are not computed
    begin = jax.jit(functools.partial(_begin, experiment), out_shardings=shardings.state, donate_argnums=1)
    return begin(rng, taken)


def take_part(checkpoint: Checkpoint, experiment: Experiment) -> dict[str, Any]:
    """The parameters of the part that the experiment asks of a checkpoint, by path.

    Raises:
        ConfigError: the checkpoint lacks a parameter of this part, or has it in another shape.
    """
    ours = parameter_shapes(experiment.model)
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
    return {path: theirs[path] for path in taken}


def _begin(experiment: Experiment, rng: jax.Array, taken: dict[str, jax.Array]) -> TrainState:
    """A state of random parameters but for those that are given by path."""
    params = flatten_dict(init(experiment.model, rng), sep="/") | taken
    return init_state(experiment.model, experiment.objective, experiment.optimizer, unflatten_dict(params, sep="/"))
