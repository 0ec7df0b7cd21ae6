"""Learning rate and beta1 as functions of the step: the original's one-cycle, warm-up with cosine, constant."""

import math
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from zoe_jax.config import ConfigError


@dataclass(frozen=True)
class ScheduleConfig:
    """How learning rate and beta1 move over a run; the defaults are the paper's recipe.

    A field that the chosen kind does not read must keep its default: a warm-up asked of a one-cycle is an error.
    """

    kind: Literal["one_cycle", "warmup_cosine", "constant"] = "one_cycle"
    peak_fraction: float = 0.7
    """one_cycle: share of the run after which the rate is at its peak and beta1 at its lowest."""
    start_scale: float = 1.0
    """one_cycle: learning rate of the first step, relative to the peak; the original starts at the peak."""
    beta1_high: float = 0.95
    """one_cycle: beta1 of the first and of the last step."""
    beta1_low: float = 0.85
    """one_cycle: beta1 at the peak."""
    warmup_steps: int = 0
    """warmup_cosine: steps over which the rate rises linearly from 0; the first of them already moves."""
    end_scale: float = 1e-4
    """one_cycle, warmup_cosine: learning rate of the last step, relative to the peak."""
    beta1: float = 0.9
    """warmup_cosine, constant: beta1 of every step."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range or belongs to another kind."""
        _check(self)


_READ_BY_KIND = {
    "one_cycle": {"peak_fraction", "start_scale", "beta1_high", "beta1_low", "end_scale"},
    "warmup_cosine": {"warmup_steps", "end_scale", "beta1"},
    "constant": {"beta1"},
}


def _check(config: ScheduleConfig) -> None:
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in {"kind", *_READ_BY_KIND[config.kind]} and value != field.default:
            raise ConfigError(f"schedule kind {config.kind!r} does not use {field.name}, which is set to {value}")
    if not 0 < config.peak_fraction < 1:
        raise ConfigError(f"peak_fraction is {config.peak_fraction}; it must lie between 0 and 1")
    if config.warmup_steps < 0 or config.start_scale < 0 or config.end_scale < 0:
        raise ConfigError("warmup_steps, start_scale and end_scale of a schedule cannot be negative")
    for name in ("beta1", "beta1_high", "beta1_low"):
        if not 0 <= getattr(config, name) < 1:
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be at least 0 and below 1")


ONE_CYCLE = ScheduleConfig()
"""The schedule of every run of the paper."""


class ScheduleValues(NamedTuple):
    """What one step uses."""

    learning_rate_scale: Float[Array, "..."]
    """Multiplies the learning rate of every group."""
    beta1: Float[Array, "..."]


def schedule_values(config: ScheduleConfig, total_steps: int, step: Int[Array, "..."]) -> ScheduleValues:
    """Learning-rate scale and beta1 of the updates with 0-based index `step`; a pure function.

    `one_cycle` is what the original trains with (torch's OneCycleLR with three_phase=False, cosine, cycled momentum;
    zoedepth/trainers/base_trainer.py). Its two phases meet at the fractional step peak_fraction * total_steps - 1, and
    step total_steps - 1 is exactly at the end. optax.cosine_onecycle_schedule differs: its phases meet a step later and
    its last step is far from the end. Later steps keep the values of the last.

    Raises:
        ConfigError: `total_steps` is not positive, or the warm-up is not shorter than the run.
    """
    if total_steps < 1:
        raise ConfigError(f"a schedule over {total_steps} steps is empty: it needs at least 1")
    if config.warmup_steps >= total_steps:
        raise ConfigError(f"warmup_steps {config.warmup_steps} must be fewer than the run's {total_steps} steps")
    now = jnp.asarray(step, jnp.result_type(float))
    if config.kind == "one_cycle":
        return _one_cycle(config, total_steps, now)
    beta1 = jnp.full_like(now, config.beta1)
    if config.kind == "constant":
        return ScheduleValues(jnp.ones_like(now), beta1)
    rise = jnp.minimum((now + 1.0) / (config.warmup_steps + 1), 1.0)
    fall = _cosine(1.0, config.end_scale, _progress(now, config.warmup_steps, total_steps - 1))
    return ScheduleValues(jnp.where(now < config.warmup_steps, rise, fall), beta1)


def _one_cycle(config: ScheduleConfig, total_steps: int, now: Float[Array, "..."]) -> ScheduleValues:
    peak = config.peak_fraction * total_steps - 1.0
    up, down = _progress(now, 0.0, peak), _progress(now, peak, total_steps - 1)
    rising = now <= peak
    return ScheduleValues(
        jnp.where(rising, _cosine(config.start_scale, 1.0, up), _cosine(1.0, config.end_scale, down)),
        jnp.where(
            rising,
            _cosine(config.beta1_high, config.beta1_low, up),
            _cosine(config.beta1_low, config.beta1_high, down),
        ),
    )


def _progress(now: Float[Array, "..."], start: float, end: float) -> Float[Array, "..."]:
    """0 at `start`, 1 at `end`; a phase without length is over."""
    return jnp.clip((now - start) / (end - start), 0.0, 1.0) if end > start else jnp.ones_like(now)


def _cosine(start: float, end: float, progress: Float[Array, "..."]) -> Float[Array, "..."]:
    return end + (start - end) * 0.5 * (1.0 + jnp.cos(math.pi * progress))
