"""What a training run carries from step to step: one plain tree, to be donated, sharded and saved."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.models.zoedepth import Params
from zoe_jax.train.objective import ObjectiveConfig, training_rules
from zoe_jax.train.optimizer import OptimizerConfig, OptimizerState, make_optimizer


class TrainState(NamedTuple):
    """A run between two steps. With the configuration, the random key and the data it decides all that follows."""

    params: Params
    opt_state: OptimizerState
    ema: Params | None
    """Moving average of the parameters; None where `OptimizerConfig.ema_decay` is None."""
    nonfinite_in_a_row: Int[Array, ""]
    """Steps since the last one that was accepted."""
    nonfinite_total: Int[Array, ""]
    """Steps of the whole run whose loss or gradient was not finite, and which changed no parameter."""

    @property
    def step(self) -> Int[Array, ""] | Int[np.ndarray, ""]:
        """Steps so far, refused ones included; of NumPy where the state was fetched to the host."""
        return self.opt_state.step


def init_state(
    model: ZoeDepthConfig, objective: ObjectiveConfig, optimizer: OptimizerConfig, params: Params
) -> TrainState:
    """The state before the first step; a pure function, fit for `jax.jit` with shardings and for `jax.eval_shape`.

    Outside of jit the state holds `params` themselves: the first step, which donates the state, takes them away.

    Args:
        model: the architecture.
        objective: with `model` it says which parameters never take part, and so have no moments.
        optimizer: whether there is a moving average, and what is frozen.
        params: initial parameters.
    """
    transform = make_optimizer(optimizer, total_steps=1, rules=training_rules(model, objective, optimizer))
    opt_state: Any = transform.init(params)
    return TrainState(
        params=params,
        opt_state=opt_state,
        ema=None if optimizer.ema_decay is None else jax.tree.map(jnp.copy, params),
        nonfinite_in_a_row=jnp.int32(0),
        nonfinite_total=jnp.int32(0),
    )
