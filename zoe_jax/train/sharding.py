"""Where everything lies: a mesh of devices, path rules for the parameters, and arrays that span hosts.

The mesh has two axes. Rows of a batch are spread over both; parameters, moments and averages are split along `fsdp` and
repeated along `data`. So each device holds 1 / fsdp of the large parameters and gathers those of one block at a time.
"""

import contextlib
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from zoe_jax.config import ConfigError
from zoe_jax.train.optimizer import state_of
from zoe_jax.train.participation import STACKED_HEADS
from zoe_jax.train.path_rules import assign, paths
from zoe_jax.train.state import TrainState

DATA, FSDP = "data", "fsdp"

DEFAULT_RULES: tuple[tuple[str, int], ...] = (
    (r"encoder/.*/(kernel|qkv)", -1),
    (r"decoder/.*/kernel", -1),
)
"""Matrices of encoder and decoder by their output features: 99 % of the released models. The heads and the router are
small and gathered nowhere."""

STACKED = (r"encoder/stage_\d+/.*", r"router/layers/.*", STACKED_HEADS)
"""Parameters whose leading axis counts layers or domains."""


@dataclass(frozen=True)
class ShardingConfig:
    """The shape of the mesh and the rules for parameters."""

    data: int = -1
    """Devices along `data`; -1 means all that `fsdp` leaves."""
    fsdp: int = 1
    """Devices that share one copy of the parameters."""
    rules: tuple[tuple[str, int], ...] = DEFAULT_RULES
    """(pattern of whole parameter paths, axis to split, counted from the end as -1, -2, ...); the first match wins.
    What no rule matches, and what does not divide by `fsdp`, is repeated on every device."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a number of devices is out of range."""
        if self.fsdp < 1 or (self.data < 1 and self.data != -1):
            raise ConfigError(f"data is {self.data} and fsdp {self.fsdp}; they must be at least 1, or -1 for data")


class Shardings(typing.NamedTuple):
    """Where a step finds and leaves its arguments."""

    mesh: Mesh | AbstractMesh
    state: TrainState
    """A NamedSharding for every array of the state."""
    batch: NamedSharding
    """Of every array with a leading batch axis."""
    replicated: NamedSharding


def make_mesh(config: ShardingConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The devices of all hosts, or those given, as data x fsdp.

    Raises:
        ConfigError: the number of devices is not data x fsdp.
    """
    devices = jax.devices() if devices is None else devices
    data = len(devices) // config.fsdp if config.data == -1 else config.data
    if data * config.fsdp != len(devices):
        wanted = f"data {config.data} x fsdp {config.fsdp}"
        raise ConfigError(f"a mesh of {wanted} does not use {len(devices)} devices: make the product equal to it")
    # Linen's layers know nothing of explicit axes, which are jax.make_mesh's default
    return jax.make_mesh((data, config.fsdp), (DATA, FSDP), axis_types=(AxisType.Auto,) * 2, devices=devices)


def make_shardings(config: ShardingConfig, mesh: Mesh | AbstractMesh, state: TrainState) -> Shardings:
    """The shardings of a run.

    Args:
        config: the rules.
        mesh: from `make_mesh`, or an abstract one of devices that need not exist.
        state: a state, or its shapes: `jax.eval_shape(functools.partial(init_state, model, ...), params)`.

    Raises:
        PathRuleError: a rule is not a regular expression or decides no parameter.
        ConfigError: a rule splits an axis of layers or of domains, or one that does not exist.
    """
    params = parameter_shardings(config, mesh, state.params)
    replicated: Any = NamedSharding(mesh, PartitionSpec())
    tree = TrainState(
        params=params,
        opt_state=state_of(params, state.opt_state, replicated),
        ema=None if state.ema is None else params,
        nonfinite_in_a_row=replicated,
        nonfinite_total=replicated,
    )
    return Shardings(mesh, tree, NamedSharding(mesh, PartitionSpec((DATA, FSDP))), replicated)


def parameter_shardings(config: ShardingConfig, mesh: Mesh | AbstractMesh, params: PyTree) -> PyTree:
    """A NamedSharding for every parameter, or for anything that has a shape under the same path.

    Raises:
        PathRuleError: as `make_shardings`.
        ConfigError: as `make_shardings`.
    """
    axes = assign(config.rules, params, None, purpose="sharding rules")
    names = jax.tree.unflatten(jax.tree.structure(params), paths(params))

    def sharding(param: Any, axis: int | None, name: str) -> NamedSharding:
        if axis is None:
            return NamedSharding(mesh, PartitionSpec())
        _check_axis(name, param.shape, axis)
        if param.shape[axis] % mesh.shape[FSDP]:
            return NamedSharding(mesh, PartitionSpec())
        spec: list[str | None] = [None] * len(param.shape)
        spec[axis] = FSDP
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(sharding, params, axes, names)


def _check_axis(name: str, shape: tuple[int, ...], axis: int) -> None:
    if not -len(shape) <= axis < 0:
        raise ConfigError(
            f"a sharding rule splits axis {axis} of {name}, whose shape is {shape}: axes are counted from the end, "
            f"-1 to {-len(shape)}"
        )
    stacked = any(re.fullmatch(pattern, name) for pattern in STACKED)
    if stacked and axis == -len(shape):
        raise ConfigError(f"a sharding rule splits axis {axis} of {name}, which counts layers or domains: name another")


@contextlib.contextmanager
def rows_stay_apart(shardings: Shardings | None, batch_size: int) -> Iterator[None]:
    """While a model is traced in this context, the output of every module is pinned to the devices of its rows.

    Left alone, the compiler may split features as the parameters are split, and then gathers activations. With the rows
    pinned, what moves is the parameters: those of one block at a time inside the loop over blocks.

    Args:
        shardings: of the run; None pins nothing.
        batch_size: an output whose leading axis has this length is one of rows.
    """
    if shardings is None:
        yield
        return

    def pin(x: Any) -> Any:
        return jax.lax.with_sharding_constraint(x, shardings.batch) if jnp.shape(x)[:1] == (batch_size,) else x

    def pin_output(call: Callable[..., Any], args: Any, kwargs: Any, _: nn.module.InterceptorContext) -> Any:
        return jax.tree.map(pin, call(*args, **kwargs))

    with nn.intercept_methods(pin_output):
        yield
