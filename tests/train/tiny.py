"""A run small enough to be begun, killed and resumed many times: its model, its data, and what child processes do."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.processes import PATIENCE
from zoe_jax.config import BeitConfig, DptConfig, MetricHeadConfig, RouterConfig, ZoeDepthConfig
from zoe_jax.input.source import Batch
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.objective import ObjectiveConfig
from zoe_jax.train.optimizer import OptimizerConfig

HEAD = MetricHeadConfig(
    n_bins=8,
    bin_embedding_channels=8,
    seed_hidden=8,
    projector_hidden=8,
    attractor_hidden=8,
    n_attractors=(4, 2, 2, 1),
)
MODEL = ZoeDepthConfig(
    encoder=BeitConfig(image_size=32, width=16, depth=4, heads=2, taps=(0, 1, 2, 3)),
    decoder=DptConfig(reassemble_channels=(8, 8, 8, 8), fusion_channels=8, head_channels=(4, 4)),
    head=HEAD,
    network_size=(32, 32),
)
MODEL_NK = replace(
    MODEL,
    head=replace(
        HEAD,
        domains=("nyu", "kitti"),
        min_depth_m=(1e-3, 1e-3),
        max_depth_m=(10.0, 80.0),
        condition_on_relative_depth=False,
    ),
    router=RouterConfig(width=8, depth=1, heads=2, mlp_width=8),
)
N_TRAIN, N_VALIDATION = 20, 5


def experiment(**changes: Any) -> Experiment:
    """A run of 12 steps on one data set; batches of 8 run over the ends of its epochs."""
    base = Experiment(
        name="tiny",
        model=MODEL,
        # fast enough that every step changes every parameter visibly, with an average beside them
        optimizer=OptimizerConfig(learning_rate=1e-3, clip_norm=1.0, ema_decay=0.9),
        batch_size=8,
        steps=12,
        seed=5,
        checkpoint_every=4,
    )
    return replace(base, **changes)


def experiment_nk(**changes: Any) -> Experiment:
    """Two domains, a router with dropout: all of the state and of the random numbers is in use."""
    base = replace(experiment(), name="tiny_nk", model=MODEL_NK, objective=ObjectiveConfig(router="trained"))
    return replace(base, **changes)


def arrays(n: int, seed: int, domains: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Noise images with depths that depend on them, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    depth_m = (1 + image.mean(-1) / 50 + rng.uniform(0, 0.2, (n, 32, 32))).astype(np.float32)
    named = {"domain": np.array([domains[i % len(domains)] for i in range(n)])} if domains else {}
    return {"image": image, "depth_m": depth_m, "id": np.array([f"{seed}/{i}" for i in range(n)]), **named}


def write_data(folder: Path, domains: tuple[str, ...] = ()) -> dict[str, Any]:
    """Both archives on disk, as the `data` of an experiment."""
    from zoe_jax.input.config import DataConfig, DatasetConfig

    files = {}
    for name, n, seed in (("train", N_TRAIN, 0), ("validation", N_VALIDATION, 1)):
        file = folder / f"{name}.npz"
        np.savez(file, **arrays(n, seed, domains))  # type: ignore[arg-type]
        files[name] = (DatasetConfig(str(file)),)
    return {"data": DataConfig(**files)}


def batch(step: int, domain: Sequence[int]) -> Batch:
    """An image of each domain, masks of very different sizes; the last row is padding."""
    rng = np.random.default_rng(step)
    shape = (len(domain), *MODEL_NK.network_size)
    return {
        "image": rng.random((*shape, 3), np.float32),
        "depth_m": rng.uniform(0.5, 9.0, shape).astype(np.float32),
        "valid_mask": rng.random(shape) < rng.random((len(domain), 1, 1)),
        "domain": np.array(domain, np.int32),
        "example_mask": np.arange(len(domain)) < len(domain) - 1,
    }


def records(log: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def cheap_init(config: ZoeDepthConfig, rng: Any) -> dict[str, Any]:
    """In the place of `init`, whose random numbers take longer to compile than the training step of this model."""
    import jax
    import jax.numpy as jnp
    from flax.traverse_util import unflatten_dict

    from zoe_jax.models.zoedepth import parameter_shapes

    def parameter(shape: tuple[int, ...], frequency: Any) -> Any:
        if len(shape) == 1:
            return jnp.zeros(shape)
        return 0.1 * jnp.sin(frequency * jnp.arange(1.0, 1.0 + np.prod(shape))).reshape(shape)

    frequency = 1.0 + jax.random.uniform(rng)
    shapes = parameter_shapes(config)
    return unflatten_dict({path: parameter(leaf.shape, frequency) for path, leaf in shapes.items()}, sep="/")


def train_in_child(
    experiment: Experiment, run: Path, cache: Path, devices: int = 1, hosts: tuple[Any, ...] = ()
) -> None:
    """The body of a child process: `zoe-jax train` with a fixed number of CPU devices; exits with its status.

    Args:
        experiment: what to train.
        run: the run's folder.
        cache: where children leave compiled functions for each other.
        devices: CPU devices of this process.
        hosts: (coordinator, number of processes, index of this one).
    """
    import jax

    from zoe_jax.train import initial
    from zoe_jax.train.command import Distribution, Train

    initial.init = cheap_init
    use_devices(devices, cache)
    with output_in(run.with_suffix(f".{hosts[2] if hosts else 0}.log")):
        status = Train("tiny", experiment, Distribution(*hosts), run_dir=run).run()
        if hosts:
            jax.distributed.shutdown()
    sys.exit(status)


def use_devices(devices: int, cache: Path) -> None:
    """Sets this process up before JAX wakes."""
    import jax

    # the tests are about what happens between steps: these must compile soon, not run fast
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    os.environ["XLA_FLAGS"] = f"{quick} {PATIENCE}"
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@contextlib.contextmanager
def output_in(file: Path) -> Iterator[None]:
    """Everything that the process says, for the message of a failing test."""
    with file.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        yield
