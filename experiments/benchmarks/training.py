"""Training beside a plain PyTorch loop over transformers' ZoeDepth: same parameters, batches, loss and optimiser.

    python -m zoe_jax_experiments.benchmarks.training [--torch-python PATH]

Needs torch and transformers (the extra `torch`), in this environment or in that of the interpreter named by
--torch-python. Both sides take turns at one step each: forward, SILog, backward, clip, AdamW under the one-cycle
schedule. Prints a table and writes experiments/results/training_<device>.json. The parameters are random. On a CPU the
model is a small one at 192x256; on a GPU it is ZoeD-N at 384x512. Bar (this project / PyTorch): step time <= 0.9.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import zoe_jax
from zoe_jax.config import BeitConfig, DptConfig, FloatType, ZoeDepthConfig, preset
from zoe_jax.convert.checkpoint import Checkpoint, write_checkpoint
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.models.zoedepth import Params
from zoe_jax.provenance import machine
from zoe_jax.train.objective import ObjectiveConfig
from zoe_jax.train.optimizer import OptimizerConfig
from zoe_jax.train.state import init_state
from zoe_jax.train.step import make_train_step

from . import harness

TORCH_SIDE = Path(__file__).with_name("training_torch.py")
SMALL = ZoeDepthConfig(
    encoder=BeitConfig(width=384, depth=12, heads=6, taps=(2, 5, 8, 11)),
    decoder=DptConfig((48, 96, 192, 384), 128, (64, 32)),
    network_size=(192, 256),
)
TOTAL_STEPS = 1000
LEARNING_RATE = 1.61e-4


class OurTraining:
    """Answers the requests of the benchmark with seconds; every time includes waiting for the result."""

    def __init__(self, small: bool, batch_size: int, dtype: FloatType):
        model = dataclasses.replace(model_config(small), dtype=dtype)
        objective, optimizer = ObjectiveConfig(), OptimizerConfig(learning_rate=LEARNING_RATE)
        self.state = init_state(model, objective, optimizer, initial_params(model))
        self.rng = jax.random.key(0)
        self.batch = jax.device_put(batch(batch_size, model.network_size))
        started = time.perf_counter()
        step = make_train_step(model, objective, optimizer, TOTAL_STEPS)
        self.compiled = step.lower(self.state, self.batch, self.rng).compile()
        self.compile_s = time.perf_counter() - started

    def facts(self) -> dict[str, Any]:
        """Device and compile time."""
        return {
            "device": jax.devices()[0].device_kind,
            "platform": jax.default_backend(),
            "compile_s": round(self.compile_s, 2),
        }

    def step(self) -> dict[str, Any]:
        """Seconds of one step, and its loss."""
        started = time.perf_counter()
        self.state, report = self.compiled(self.state, self.batch, self.rng)
        jax.block_until_ready((self.state, report))
        return {"seconds": time.perf_counter() - started, "loss": float(report.loss)}


def model_config(small: bool) -> ZoeDepthConfig:
    """What is trained, in float32."""
    return SMALL if small else preset("zoed_n")


def initial_params(model: ZoeDepthConfig) -> Params:
    """The same in every process."""
    return zoe_jax.init(model, jax.random.key(0))


def batch(batch_size: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Random images and depths, a tenth of the pixels without depth; `training_torch.py` makes the same."""
    rng = np.random.RandomState(0)
    shape = (batch_size, *size)
    return {
        "image": rng.random_sample((*shape, 3)).astype(np.float32),
        "depth_m": rng.uniform(0.5, 9.0, shape).astype(np.float32),
        "valid_mask": rng.random_sample(shape) < 0.9,
        "domain": np.zeros(batch_size, np.int32),
        "example_mask": np.ones(batch_size, bool),
    }


def measure(checkpoint: Path, torch_python: str, small: bool, dtype: str, batch_size: int, rounds: int) -> Any:
    """Step time turn by turn, then memory, each side alone."""
    size = model_config(small).network_size
    arguments = ["--dtype", dtype, "--batch-size", str(batch_size)]
    commands = (
        [sys.executable, "-m", __spec__.name, "--worker", *arguments, *["--small"] * small],
        [torch_python, str(TORCH_SIDE), str(checkpoint), *arguments, "--size", *map(str, size)],
    )
    ours, theirs = (harness.Worker(command) for command in commands)
    result: dict[str, Any] = {"batch_size": batch_size, "size": size, "ours": ours.ask("facts")}
    result["theirs"] = theirs.ask("facts")
    # the first steps also show that both train alike
    losses = [(ours.ask("step")["loss"], theirs.ask("step")["loss"]) for _ in range(2)]
    result["first_losses"] = losses
    turns = harness.take_turns(lambda: ours.ask("step")["seconds"], lambda: theirs.ask("step")["seconds"], rounds)
    result["step"] = turns
    ours.close()
    theirs.close()
    result["memory"] = harness.peaks_alone(commands, "step")
    return result


def main() -> None:
    """Runs both sides and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has torch and transformers")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--batch-size", type=int, default=None, help="images a step; 4 on a CPU, 16 on a GPU")
    options = parser.parse_args()
    # this process and its workers share one device: none may take most of its memory at the start
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    on_gpu = jax.default_backend() == "gpu"
    config = model_config(small=not on_gpu)
    batch_size = options.batch_size or (16 if on_gpu else 4)
    result: dict[str, Any] = {"machine": machine(), "by_dtype": {}}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        write_checkpoint(Checkpoint(config, initial_params(config), {}, Origin()), checkpoint, "huggingface")
        for dtype in ("float32", "bfloat16") if on_gpu else ("float32",):
            result["by_dtype"][dtype] = measure(
                checkpoint, options.torch_python, not on_gpu, dtype, batch_size, options.rounds
            )
    print_table(result)
    print(harness.write_result(f"training_{jax.default_backend()}", result))


def print_table(result: dict[str, Any]) -> None:
    """The figures, as they stand in the JSON."""
    for dtype, facts in result["by_dtype"].items():
        step, memory = facts["step"], facts["memory"]
        times = [f"{min(step[side]):.3f} s" for side in ("ours_s", "theirs_s")]
        megabytes = [f"{memory[side] / 1e6:.0f} MB" for side in ("ours", "theirs")]
        height, width = facts["size"]
        harness.print_table(
            f"{facts['ours']['device']}, {dtype}, {facts['batch_size']} images of {height}x{width}",
            ("", "zoe_jax", "transformers", "ratio"),
            [("step", *times, f"{step['ratio']:.2f}"), ("memory", *megabytes, f"{memory['ratio']:.2f}")],
        )


def _worker(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch-size", type=int, required=True)
    options = parser.parse_args(arguments)
    training = OurTraining(options.small, options.batch_size, options.dtype)
    harness.serve({name: getattr(training, name) for name in ("facts", "step")})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _worker(sys.argv[2:])
    else:
        main()
