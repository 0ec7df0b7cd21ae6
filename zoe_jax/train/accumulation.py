"""Averages over time: gradients over the micro-batches of one update, parameters over updates."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

ValueAndGrad = Callable[[PyTree, PyTree, Int[Array, ""]], tuple[tuple[Float[Array, ""], Any], PyTree]]


def accumulate_gradients(
    value_and_grad: ValueAndGrad, params: PyTree, batch: PyTree, steps: int
) -> tuple[tuple[Float[Array, ""], Any], PyTree]:
    """Mean loss and gradient over `steps` micro-batches, one after the other, in the memory of one.

    The loss is the mean of the micro-batches' losses. It is not the loss of the whole batch where that is not itself a
    mean over images: SILog takes its statistics within each micro-batch.

    Micro-batch i holds the examples i, i + steps, i + 2 steps, ... of the batch, so that a batch sharded over devices
    is split on each device by itself, and no example moves.

    Args:
        value_and_grad: (params, micro-batch, its index) -> ((loss, auxiliary), gradients); random keys may fold the
            index in.
        params: what is differentiated.
        batch: arrays [b, ...] with b a multiple of `steps`.
        steps: how many micro-batches.

    Returns:
        ((mean loss, auxiliary with a leading axis [steps]), mean gradients), the latter in at least float32 while they
        are summed and in their own type in the end.

    Raises:
        ValueError: the batch does not divide into `steps` equal parts.
    """
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[0] % steps:
            raise ValueError(f"a batch of {leaf.shape[0]} does not divide into {steps} micro-batches")
    if steps == 1:
        (loss, auxiliary), gradients = value_and_grad(params, batch, jnp.int32(0))
        return (loss, jax.tree.map(lambda x: jnp.asarray(x)[None], auxiliary)), gradients

    def add(total: PyTree, micro: tuple[PyTree, Int[Array, ""]]) -> tuple[PyTree, tuple[Array, Any]]:
        (loss, auxiliary), gradients = value_and_grad(params, *micro)
        return jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, gradients), (loss, auxiliary)

    def split(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(x.shape[0] // steps, steps, *x.shape[1:]), 1, 0)

    zeros = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=jnp.promote_types(p.dtype, jnp.float32)), params)
    total, (losses, auxiliary) = jax.lax.scan(add, zeros, (jax.tree.map(split, batch), jnp.arange(steps)))
    gradients = jax.tree.map(lambda t, p: (t / steps).astype(p.dtype), total, params)
    return (jnp.mean(losses), auxiliary), gradients


def moving_average(average: PyTree, params: PyTree, decay: float) -> PyTree:
    """decay * average + (1 - decay) * params, leaf by leaf, in the average's type.

    The average of a run starts as a copy of its initial parameters.
    """
    return jax.tree.map(lambda a, p: a + (1 - decay) * (p.astype(a.dtype) - a), average, params)
