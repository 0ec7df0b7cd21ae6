"""What a run would be, from shapes alone: parameters, memory, which rule decides what, and the data."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from zoe_jax.input.placement import local_rows
from zoe_jax.input.run_data import open_data
from zoe_jax.input.source import DataError, RunData
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.initial import state_shapes
from zoe_jax.train.objective import training_rules
from zoe_jax.train.participation import participation
from zoe_jax.train.path_rules import explain, paths, select
from zoe_jax.train.sharding import Shardings, make_mesh, make_shardings

MIB = 2**20


def describe_run(experiment: Experiment, data: RunData | None = None) -> str:
    """A report on a run that is not begun; no parameter is allocated, and missing data is only mentioned.

    Args:
        experiment: what would be trained, on the devices that are here.
        data: the data; by default what the experiment names.

    Raises:
        ConfigError: the experiment contradicts itself, or does not fit these devices.
        PathRuleError: a rule matches no parameter.
    """
    shapes = state_shapes(experiment)
    shardings = make_shardings(experiment.sharding, make_mesh(experiment.sharding), shapes)
    rows = local_rows(shardings.batch, experiment.batch_size)
    sections = {
        experiment.name: _length(experiment, data, len(rows)),
        "parameters": _parameters(shapes.params),
        "memory per device, without activations": _memory(experiment, shapes, shardings),
        "learning rates": _learning_rates(experiment, shapes.params),
        "sharding": _sharding(experiment, shapes.params, shardings),
        "participation": _participation(experiment, shapes.params),
    }
    return "\n".join(f"{title}\n" + "".join(f"  {line}\n" for line in lines) for title, lines in sections.items())


def _length(experiment: Experiment, data: RunData | None, rows: int) -> Iterator[str]:
    try:
        data = data or open_data(experiment.data, experiment.model, experiment.seed)
    except DataError as error:
        yield f"data: {error}"
    else:
        for name, source in zip(("training", "validation"), data, strict=True):
            yield f"{name} data: {'; '.join(source.describe()) if source else 'none'}"
    if experiment.steps is None and data is None:
        yield f"length: {experiment.epochs} epochs of the data"
    else:
        yield f"length: {experiment.total_steps(data.train.n_examples if data else 0)} steps"
    micro = experiment.batch_size // experiment.optimizer.accumulation_steps
    yield f"batch: {experiment.batch_size} examples, {rows} on this host, {micro} in a micro-batch"


def _parameters(params: PyTree) -> Iterator[str]:
    for part in params:
        yield f"{part}: {_count(jax.tree.leaves(params[part])):,}"
    yield f"all: {_count(jax.tree.leaves(params)):,}"


def _memory(experiment: Experiment, shapes: Any, shardings: Shardings) -> Iterator[str]:
    where = shardings.state
    state = {
        "parameters": (shapes.params, where.params),
        "moments and counts": (shapes.opt_state, where.opt_state),
        "moving average": (shapes.ema, where.ema),
    }
    sizes = {name: _bytes_per_device(tree, sharding) for name, (tree, sharding) in state.items()}
    sizes["gradients"] = sizes["parameters"]
    height, width = experiment.model.network_size
    # image as bytes; depth and its mask at network size, which the data may exceed
    sizes["batch"] = experiment.batch_size * height * width * (3 + 4 + 1) // shardings.batch.num_devices
    for name, size in sizes.items():
        if size:
            yield f"{name}: {size / MIB:,.1f} MiB"
    yield f"all: {sum(sizes.values()) / MIB:,.1f} MiB"


def _learning_rates(experiment: Experiment, params: PyTree) -> Iterator[str]:
    optimizer = experiment.optimizer
    decided = explain(optimizer.groups, params, purpose="learning-rate groups")
    factors = dict(optimizer.groups)
    for pattern, names in decided.items():
        rate = optimizer.learning_rate * factors.get(pattern or "", 1.0)
        yield f"{rate:.4g}: {pattern or 'all else'} ({_parameters_in(names, params)})"
    frozen = select(optimizer.freeze, params, purpose="frozen parameters")
    if names := [name for name, chosen in zip(paths(params), jax.tree.leaves(frozen), strict=True) if chosen]:
        yield f"frozen: {', '.join(optimizer.freeze)} ({_parameters_in(names, params)})"


def _sharding(experiment: Experiment, params: PyTree, shardings: Shardings) -> Iterator[str]:
    yield "mesh: " + ", ".join(f"{axis} {size}" for axis, size in shardings.mesh.shape.items())
    axes = dict(experiment.sharding.rules)
    for pattern, names in explain(experiment.sharding.rules, params, purpose="sharding rules").items():
        what = "repeated on every device" if pattern is None else f"axis {axes[pattern]} over fsdp: {pattern}"
        yield f"{what} ({_parameters_in(names, params)})"


def _participation(experiment: Experiment, params: PyTree) -> Iterator[str]:
    rules = training_rules(experiment.model, experiment.objective, experiment.optimizer)
    participation(params, rules)  # raises where a rule matches nothing
    for pattern in rules.routed:
        yield f"by domain, {' or '.join(experiment.model.domains)}: {_matched(pattern, params)}"
    for pattern in rules.never:
        yield f"never: {_matched(pattern, params)}"
    if not rules.routed and not rules.never:
        yield "all parameters in every step"


def _matched(pattern: str, params: PyTree) -> str:
    chosen = jax.tree.leaves(select((pattern,), params, purpose="participation"))
    names = [name for name, matches in zip(paths(params), chosen, strict=True) if matches]
    return f"{pattern} ({_parameters_in(names, params)})"


def _parameters_in(names: Sequence[str], params: PyTree) -> str:
    leaves = dict(zip(paths(params), jax.tree.leaves(params), strict=True))
    return f"{len(names)} arrays, {_count(leaves[name] for name in names):,} numbers"


def _count(leaves: Iterable[Any]) -> int:
    return sum(math.prod(leaf.shape) for leaf in leaves)


def _bytes_per_device(tree: PyTree, shardings: PyTree) -> int:
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(shardings), strict=True)
    return sum(math.prod(s.shard_shape(x.shape)) * jnp.dtype(x.dtype).itemsize for x, s in pairs)
