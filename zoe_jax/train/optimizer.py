"""The optimiser as the original runs it: torch's clip, then AdamW with learning-rate groups and parameters left out.

optimizer = make_optimizer(config, total_steps, rules)
state = optimizer.init(params)
updates, state = optimizer.update(gradients, state, params, participates=participation(params, rules, routed))
params = optax.apply_updates(params, updates)
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from zoe_jax.config import ConfigError
from zoe_jax.train.participation import (
    Participates,
    ParticipationRules,
    along_leading_axis,
    gradient_norm,
    is_known,
    participation,
)
from zoe_jax.train.path_rules import assign, select
from zoe_jax.train.schedule import ONE_CYCLE, ScheduleConfig, schedule_values

CLIP_EPSILON = 1e-6
"""Added to the norm by torch.nn.utils.clip_grad_norm_."""


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and what surrounds it; the defaults are the paper's recipe for a single data set, without its groups."""

    learning_rate: float = 1.61e-4
    """Peak rate of the parameters that no group names."""
    weight_decay: float = 0.01
    """Decoupled, times the learning rate, on every parameter without exception."""
    b2: float = 0.999
    """beta2; beta1 belongs to the schedule."""
    eps: float = 1e-8
    clip_norm: float | None = 0.1
    """Greatest norm of all gradients together; None does not clip."""
    groups: tuple[tuple[str, float], ...] = ()
    """(pattern of whole parameter paths, factor on the learning rate); the first that matches wins."""
    freeze: tuple[str, ...] = ()
    """Patterns of parameters that stay as they are: they have no state and no part in the gradient norm."""
    skip_untouched: bool = True
    """Leave out of a step what took no part in it, as the original does; False gives it the gradient 0 instead."""
    ema_decay: float | None = None
    """What a step keeps of the moving average of the parameters; None keeps no average."""
    accumulation_steps: int = 1
    """Micro-batches in one update, which follows the gradient of the mean of their losses."""
    schedule: ScheduleConfig = ONE_CYCLE

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        _check(self)


def _check(config: OptimizerConfig) -> None:
    for name in ("learning_rate", "weight_decay"):
        if not getattr(config, name) >= 0:
            raise ConfigError(f"{name} is {getattr(config, name)}; it cannot be negative")
    for pattern, factor in config.groups:
        if not factor >= 0:
            raise ConfigError(f"the learning-rate factor of {pattern!r} is {factor}; it cannot be negative")
    if not config.eps > 0:
        raise ConfigError(f"eps is {config.eps}; it must be positive")
    if not 0 < config.b2 < 1:
        raise ConfigError(f"b2 is {config.b2}; it must lie between 0 and 1")
    if config.clip_norm is not None and not config.clip_norm > 0:
        raise ConfigError(f"clip_norm is {config.clip_norm}; it must be positive, or None for no clipping")
    if config.ema_decay is not None and not 0 <= config.ema_decay < 1:
        raise ConfigError(f"ema_decay is {config.ema_decay}; it must be at least 0 and below 1, or None for no average")
    if config.accumulation_steps < 1:
        raise ConfigError(f"accumulation_steps is {config.accumulation_steps}; it must be at least 1")


class OptimizerState(NamedTuple):
    """A plain tree; moments have the structure, the shapes and the shardings of the parameters.

    Where a parameter never takes part, None stands in `counts`, `first_moment` and `second_moment`.
    """

    step: Int[Array, ""]
    """Updates so far, refused ones included: the place in the schedule."""
    counts: PyTree
    """Updates in which each parameter took part: [], or [d] where it is stacked over d domains."""
    first_moment: PyTree
    second_moment: PyTree


def state_of(per_parameter: PyTree, state: OptimizerState, scalar: Any) -> OptimizerState:
    """A tree of the state's structure from one value a parameter: the shardings of the state from theirs.

    Args:
        per_parameter: for each parameter what its moments get.
        state: a state, or the shapes of one.
        scalar: what `step` and every count gets; counts are too small to be worth sharding.
    """

    def spread(moment: PyTree) -> PyTree:
        leaves, treedef = jax.tree.flatten(per_parameter)
        present = treedef.flatten_up_to(moment)
        return treedef.unflatten([None if m is None else x for x, m in zip(leaves, present, strict=True)])

    counts = jax.tree.map(lambda _: scalar, state.counts)
    return OptimizerState(scalar, counts, spread(state.first_moment), spread(state.second_moment))


def make_optimizer(
    config: OptimizerConfig, total_steps: int, rules: ParticipationRules | None = None
) -> optax.GradientTransformationExtraArgs:
    """The optimiser as a pair of pure functions, `init(params)` and `update`.

    `update(gradients, state, params, *, participates=None, norm=None, accept=None)` takes, beside what optax gives it,

    - `participates`: the tree that `participation` makes; None means all but what `rules` exclude for good;
    - `norm`: `gradient_norm(gradients, participates)` where the caller has it already;
    - `accept`: a bool array []; False leaves parameters, moments and counts as they are, whatever the gradients hold,
      and advances only the place in the schedule.

    A parameter w that takes part, with clipped gradient g, rate r and count t (from 1), gets

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2
        w = w - r (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay w)

    where b1 is the schedule's present value, also in b1^t (torch.optim.AdamW under OneCycleLR with cycled momentum).
    Everything is computed and kept in the parameter's type, but at least float32.

    Args:
        config: the options; `freeze` and `skip_untouched` are in `rules` already.
        total_steps: length of the schedule, in updates.
        rules: from `participation_rules`: which parameters can stay out of a step; None means none.
    """
    rules = rules or ParticipationRules()

    def init(params: PyTree) -> OptimizerState:
        takes_part = participation(params, rules)
        stacked = select(rules.routed, params, purpose="routed parameters")

        def count(param: Array, stacked: bool, takes_part: bool) -> Array | None:
            return jnp.zeros(param.shape[:1] if stacked else (), jnp.int32) if takes_part else None

        def moment(param: Array, takes_part: bool) -> Array | None:
            return jnp.zeros_like(param, dtype=_state_dtype(param)) if takes_part else None

        return OptimizerState(
            jnp.int32(0),
            jax.tree.map(count, params, stacked, takes_part),
            jax.tree.map(moment, params, takes_part),
            jax.tree.map(moment, params, takes_part),
        )

    def update(
        updates: PyTree,  # optax's name for what are gradients here
        state: Any,
        params: PyTree | None = None,
        *,
        participates: PyTree | None = None,
        norm: Float[Array, ""] | None = None,
        accept: Bool[Array, ""] | None = None,
        **_: Any,
    ) -> tuple[PyTree, OptimizerState]:
        if params is None:
            raise ValueError("the optimiser needs the parameters, for their decay")
        if participates is None:
            participates = participation(params, rules)
        flat, treedef = jax.tree.flatten(params)
        gradients = treedef.flatten_up_to(updates)
        moments = [_Moments(*m) for m in zip(*(treedef.flatten_up_to(tree) for tree in state[1:]), strict=True)]
        masks = treedef.flatten_up_to(participates)
        masks = [False if m.count is None else mask for m, mask in zip(moments, masks, strict=True)]
        factors = treedef.flatten_up_to(assign(config.groups, params, 1.0, purpose="learning-rate groups"))

        now = schedule_values(config.schedule, total_steps, state.step)
        rate = config.learning_rate * now.learning_rate_scale
        clip = None
        if config.clip_norm is not None:
            norm = gradient_norm(gradients, masks) if norm is None else norm
            clip = jnp.minimum(1.0, config.clip_norm / (norm + CLIP_EPSILON))

        def leaf(param: Array, gradient: Array, old: _Moments, mask: Participates, factor: float):
            if is_known(mask, False):
                return jnp.zeros_like(param), old
            if accept is not None:
                mask = jnp.logical_and(mask, accept)
            return _adamw(config, param, gradient, old, mask, clip, factor * rate, now.beta1)

        moves, moments = zip(*map(leaf, flat, gradients, moments, masks, factors), strict=True)
        counts, first, second = map(treedef.unflatten, zip(*moments, strict=True))
        return treedef.unflatten(moves), OptimizerState(state.step + 1, counts, first, second)

    return optax.GradientTransformationExtraArgs(init, update)


class _Moments(NamedTuple):
    """What the optimiser knows of one parameter."""

    count: Any
    first: Any
    second: Any


def _adamw(
    config: OptimizerConfig,
    param: Array,
    gradient: Array,
    old: _Moments,
    mask: Participates,
    clip: Any,
    rate: Array,
    beta1: Array,
) -> tuple[Array, _Moments]:
    """The move of one parameter and its new moments; nothing moves and nothing changes where `mask` is False."""
    dtype = old.first.dtype
    rate, beta1 = rate.astype(dtype), beta1.astype(dtype)

    def where_masked(chosen: Array, otherwise: Array) -> Array:
        # counts and moments alike have the domain axis, if any, in front
        known = is_known(mask, True)
        return chosen if known else jnp.where(along_leading_axis(jnp.asarray(mask), chosen), chosen, otherwise)

    g = gradient.astype(dtype)
    if clip is not None:
        g = g * clip.astype(dtype)
    new = _Moments(
        where_masked(old.count + 1, old.count),
        where_masked(beta1 * old.first + (1 - beta1) * g, old.first),
        where_masked(config.b2 * old.second + (1 - config.b2) * jnp.square(g), old.second),
    )
    # the move is made of the masked moments, not of the bare ones: XLA then updates all three in place
    t = jnp.maximum(new.count, 1).astype(dtype)
    # 1 - b^t loses four digits in float32 where b^t is near 1
    first_correction = along_leading_axis(-jnp.expm1(t * jnp.log(beta1)), param)
    second_correction = along_leading_axis(-jnp.expm1(t * math.log(config.b2)), param)
    direction = new.first / first_correction / (jnp.sqrt(new.second / second_correction) + config.eps)
    move = -rate * (direction + config.weight_decay * param.astype(dtype))
    return where_masked(move, jnp.zeros_like(move)).astype(param.dtype), new


def _state_dtype(param: Array) -> Any:
    return jnp.promote_types(param.dtype, jnp.float32)
