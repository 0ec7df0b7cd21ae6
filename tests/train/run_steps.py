"""A process of a small training run on simulated devices, started by the tests of sharding; not a test itself.

python -m tests.train.run_steps RESULT.npz --devices 8 --fsdp 4 [--process 0 --processes 2 --port 12345]
"""

import argparse
import functools
from pathlib import Path

import jax
import numpy as np

from tests.processes import begin
from tests.train import tiny
from zoe_jax.config import DptConfig, ZoeDepthConfig, override, preset
from zoe_jax.input.placement import local_rows, put, put_batch
from zoe_jax.input.source import Batch
from zoe_jax.models.zoedepth import init
from zoe_jax.train.objective import ObjectiveConfig
from zoe_jax.train.optimizer import OptimizerConfig
from zoe_jax.train.sharding import ShardingConfig, make_mesh, make_shardings
from zoe_jax.train.state import init_state
from zoe_jax.train.step import make_train_step

STEPS = 20
BATCH_SIZE = 8
HEIGHT, WIDTH = tiny.MODEL_NK.network_size
OBJECTIVE = ObjectiveConfig(router="trained", router_weight=1.0, head_choice="label")
OPTIMIZER = OptimizerConfig(learning_rate=1e-4, ema_decay=0.9)


def model_config() -> ZoeDepthConfig:
    """Two heads and a router, two blocks a stage, so that every stage is a loop; widths that divide by 8."""
    small = {"encoder.width": 32, "encoder.heads": 4, "encoder.depth": 8, "encoder.taps": (1, 3, 5, 7), "n_bins": 16}
    config = override(preset("reference_nk"), {**small, "network_size": (HEIGHT, WIDTH), "router.depth": 2})
    return override(config, {"decoder": DptConfig((16, 32, 48, 48), 32, (16, 32))})


def batch(step: int) -> Batch:
    """As many images of either domain as chance has it."""
    return tiny.batch(step, np.random.default_rng(step).integers(0, 2, BATCH_SIZE).tolist())


def main() -> None:
    """Trains and writes losses, gradient norms, parameters, and the compiled step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("result", type=Path)
    parser.add_argument("--fsdp", type=int, default=1)
    arguments = begin(parser)

    model = model_config()
    make_state = functools.partial(init_state, model, OBJECTIVE, OPTIMIZER)
    params = init(model, jax.random.key(0))
    sharding = ShardingConfig(fsdp=arguments.fsdp)
    shardings = make_shardings(sharding, make_mesh(sharding), jax.eval_shape(make_state, params))
    params = put(jax.device_get(params), shardings.state.params)
    state = jax.jit(make_state, out_shardings=shardings.state)(params)
    rng = put(jax.random.key_data(jax.random.key(1)), shardings.replicated)
    rng = jax.random.wrap_key_data(rng)
    rows = local_rows(shardings.batch, BATCH_SIZE)
    example = put_batch({name: array[rows] for name, array in batch(0).items()}, shardings.batch)
    step = make_train_step(model, OBJECTIVE, OPTIMIZER, STEPS, shardings)
    compiled = step.lower(state, example, rng).compile()
    reports = []
    for i in range(STEPS):
        state, report = compiled(state, put_batch({n: a[rows] for n, a in batch(i).items()}, shardings.batch), rng)
        reports.append((report.loss, report.losses["silog"], report.grad_norm))
    whole = jax.jit(lambda tree: tree, out_shardings=shardings.replicated)(state.params)
    if arguments.process == 0:
        np.savez(
            arguments.result,
            reports=np.array(jax.device_get(reports)),
            params=np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(whole))]),
            hlo=np.array(compiled.as_text()),
        )


if __name__ == "__main__":
    main()
