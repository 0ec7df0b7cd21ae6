"""Batches and parameters on the devices of all hosts: each host loads its own rows of a global batch."""

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Int, PyTree

from zoe_jax.config import ConfigError


def local_rows(sharding: NamedSharding, batch_size: int) -> Int[np.ndarray, "rows"]:
    """Indices, ascending, of the rows of a global batch that this process loads; all where it is alone.

    Raises:
        ConfigError: the batch does not divide by the number of devices.
    """
    if batch_size % sharding.num_devices:
        raise ConfigError(
            f"a batch of {batch_size} does not divide by {sharding.num_devices} devices: make it a multiple, "
            "and fill up what is left over with rows whose example_mask is False"
        )
    indices = sharding.addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[index] for index in indices]))


def put_batch(rows: PyTree, sharding: NamedSharding) -> PyTree:
    """This process's rows of a batch, in the order of `local_rows`, as global arrays."""
    return jax.make_array_from_process_local_data(sharding, rows)


def put(tree: PyTree, shardings: PyTree) -> PyTree:
    """Arrays that every process holds whole, as global arrays; `shardings` may be one for all."""

    def place(array: Any, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)

    return jax.tree.map(place, tree, jax.tree.broadcast(shardings, tree))
