"""What the full-size NK step costs each of 8, 64 and 256 devices: bytes that lie there, bytes that move.

Nothing is trained and no parameter exists: the step is lowered from shapes for simulated devices, compiled, and read.

    make scaling

It is compiled for CPUs, in float32. CPUs reduce whole gradients where TPUs reduce and scatter in one, which sends half
as much; and with dtype="bfloat16" the partitioner gathers parameters in bfloat16, half as much again, but the CPU's
compiler would widen them before we could read it.
"""

import argparse
import collections
import functools
import json
import math
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from zoe_jax.config import override, preset
from zoe_jax.models.zoedepth import init
from zoe_jax.provenance import machine
from zoe_jax.train.objective import ObjectiveConfig
from zoe_jax.train.optimizer import OptimizerConfig
from zoe_jax.train.sharding import FSDP, ShardingConfig, make_mesh, make_shardings
from zoe_jax.train.state import init_state
from zoe_jax.train.step import make_train_step

from .collectives import collectives
from .harness import print_table, write_result

MESHES = ((8, 8), (64, 8), (64, 64), (256, 64))
"""(devices, devices along fsdp)."""
IMAGES_PER_DEVICE = 2


def measure(devices: int, fsdp: int) -> dict[str, Any]:
    """Lowers, compiles and reads the step for one mesh; needs that many (simulated) devices.

    Raises:
        AssertionError: the compiled step's arguments are not sharded / fsdp + replicated bytes.
    """
    model = override(preset("zoed_nk"), {"remat": "full"})
    objective, optimizer = ObjectiveConfig(router="trained"), OptimizerConfig()
    params = jax.eval_shape(functools.partial(init, model), jax.random.key(0))
    state = jax.eval_shape(functools.partial(init_state, model, objective, optimizer), params)
    config = ShardingConfig(fsdp=fsdp)
    shardings = make_shardings(config, make_mesh(config), state)
    step = make_train_step(model, objective, optimizer, 1000, shardings)
    rows = devices * IMAGES_PER_DEVICE
    size = (rows, *model.network_size)
    batch = {
        "image": jax.ShapeDtypeStruct((*size, 3), jnp.uint8),
        "depth_m": jax.ShapeDtypeStruct(size, jnp.float32),
        "valid_mask": jax.ShapeDtypeStruct(size, bool),
        "domain": jax.ShapeDtypeStruct((rows,), jnp.int32),
        "example_mask": jax.ShapeDtypeStruct((rows,), bool),
    }
    rng = jax.eval_shape(lambda: jax.random.key(0))
    compiled = step.lower(state, batch, rng).compile()

    sharded, replicated = state_bytes(state, shardings.state)
    of_batch = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in batch.values()) // devices
    of_rng = 8
    memory = compiled.memory_analysis()
    expected = sharded // fsdp + replicated + of_batch + of_rng
    assert memory.argument_size_in_bytes == expected, (memory.argument_size_in_bytes, expected)
    moved: dict[tuple[str, int], list[float]] = collections.defaultdict(lambda: [0, 0, 0.0])
    for collective in collectives(compiled.as_text(), devices):
        row = moved[collective.kind, collective.group_size]
        row[0] += collective.times
        row[1] += collective.payload_bytes
        row[2] += collective.sent_bytes
    return {
        "devices": devices,
        "data": devices // fsdp,
        "fsdp": fsdp,
        "images": rows,
        "state_bytes": sharded + replicated,
        "sharded_bytes": sharded,
        "replicated_bytes": replicated,
        "batch_bytes_per_device": of_batch,
        "argument_bytes_per_device": memory.argument_size_in_bytes,
        "temporary_bytes_per_device": memory.temp_size_in_bytes,
        "collectives": [
            {"kind": kind, "group": group, "runs": int(runs), "payload_bytes": int(payload), "sent_bytes": int(sent)}
            for (kind, group), (runs, payload, sent) in sorted(moved.items())
        ],
        "sent_bytes_per_device": int(sum(sent for _, _, sent in moved.values())),
    }


def state_bytes(state: Any, shardings: Any) -> tuple[int, int]:
    """Bytes of a whole state that are split along fsdp, and bytes that every device holds."""
    split = {True: 0, False: 0}

    def add(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> None:
        split[FSDP in sharding.spec] += math.prod(leaf.shape) * leaf.dtype.itemsize

    jax.tree.map(add, state, shardings)
    return split[True], split[False]


def main() -> None:
    """Measures every mesh in a process of its own, since the number of devices is fixed when JAX starts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mesh", type=int, nargs=2, metavar=("DEVICES", "FSDP"), help="measure only this, as JSON")
    arguments = parser.parse_args()
    if arguments.mesh:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", arguments.mesh[0])
        # what is read is decided before code is generated, which would be most of the time
        jax.config.update("jax_disable_most_optimizations", True)
        json.dump(measure(*arguments.mesh), sys.stdout)
        return
    rows = []
    for mesh in MESHES:
        command = [sys.executable, "-m", "zoe_jax_experiments.benchmarks.scaling", "--mesh", *map(str, mesh)]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    path = write_result("scaling", {**machine(), "model": "zoed_nk", "dtype": "float32", "meshes": rows})
    show(rows)
    print(path)


def show(rows: list[dict[str, Any]]) -> None:
    """Megabytes a device: what lies there during a step, and what it sends in one."""
    kinds = sorted({c["kind"] for row in rows for c in row["collectives"]})
    lines = []
    for row in rows:
        sent = [sum(c["sent_bytes"] for c in row["collectives"] if c["kind"] == kind) for kind in kinds]
        sizes = (row["argument_bytes_per_device"], row["temporary_bytes_per_device"], *sent)
        lines.append((f"{row['data']} x {row['fsdp']}", *(f"{size / 1e6:,.0f}" for size in sizes)))
    title = f"zoed_nk, 384x512, {IMAGES_PER_DEVICE} images a device: MB a device and a step"
    print_table(title, ("data x fsdp", "arguments", "temporaries", *(f"sent: {kind}" for kind in kinds)), lines)


if __name__ == "__main__":
    main()
