"""Inference beside Hugging Face transformers' ZoeDepth: same parameters, same images, turn by turn.

    python -m zoe_jax_experiments.benchmarks.inference [--torch-python PATH]

Needs torch and transformers (the extra `torch`), in this environment or in that of the interpreter named by
--torch-python. Prints tables and writes experiments/results/inference_<device>.json. The parameters are random: the
time does not depend on them. Bars (this project / transformers): forward at batch 1 and 4 <= 0.85, memory <= 0.9, cold
start with a warm cache <= 1.0 on a CPU; forward in bfloat16 <= 0.7 and FLOP utilisation >= 40 % on a GPU.
"""

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import zoe_jax
from zoe_jax.convert.checkpoint import Checkpoint, write_checkpoint
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.models.zoedepth import forward
from zoe_jax.provenance import machine

from . import harness

SIZE = (384, 512)
TORCH_SIDE = Path(__file__).with_name("inference_torch.py")


class OurZoeDepth:
    """Answers the requests of the benchmark with seconds; every time includes waiting for the result."""

    def __init__(self, checkpoint: str, dtype: str, image: str):
        started = time.perf_counter()
        # both sides keep their parameters in the type they compute in
        self.model = zoe_jax.load(checkpoint, dtype=dtype, param_dtype=dtype)
        jax.block_until_ready(self.model.params)
        self.load_s = time.perf_counter() - started
        self.image = image
        self.compiled: dict[int, Any] = {}
        self.compile_s: dict[int, float] = {}

    def facts(self) -> dict[str, Any]:
        """Device and loading time."""
        return {"device": jax.devices()[0].device_kind, "platform": jax.default_backend(), "load_s": self.load_s}

    def forward(self, batch: int, save: str | None = None) -> dict[str, Any]:
        """Seconds of one forward pass over `batch` images of 384x512; the depth goes to the file `save`."""
        images = jnp.asarray(np.random.RandomState(0).random_sample((batch, *SIZE, 3)), jnp.float32)
        if batch not in self.compiled:
            started = time.perf_counter()
            run = jax.jit(functools.partial(forward, self.model.config))
            self.compiled[batch] = run.lower(self.model.params, images).compile()
            self.compile_s[batch] = time.perf_counter() - started
        jax.block_until_ready(images)
        started = time.perf_counter()
        depth = jax.block_until_ready(self.compiled[batch](self.model.params, images).metric_depth)
        seconds = time.perf_counter() - started
        if save:
            np.save(save, np.asarray(depth))
        return {"seconds": seconds, "compile_s": self.compile_s[batch]}

    def predict(self) -> dict[str, Any]:
        """Seconds from image to depth at its size, with padding and flip."""
        started = time.perf_counter()
        self.model.predict(self.image, protocol="huggingface", flip=True, pad=True)
        return {"seconds": time.perf_counter() - started}

    def matmul(self, size: int) -> dict[str, Any]:
        """Measured operations a second of one large product in the type of computation: the ceiling."""
        key = jax.random.key(0)
        a = jax.random.normal(key, (size, size), self.model.config.dtype)
        product = jax.jit(lambda x: x @ x)
        jax.block_until_ready(product(a))
        times = []
        for _ in range(5):
            started = time.perf_counter()
            jax.block_until_ready(product(a))
            times.append(time.perf_counter() - started)
        return {"flops_per_s": 2 * size**3 / sorted(times)[2]}


def measure(folder: Path, image: Path, torch_python: str, dtype: str, batches: list[int], rounds: int) -> dict:
    """Forward, predict, compile and memory of both sides in one type of computation."""
    checkpoint = folder / "checkpoint"

    arguments = [str(checkpoint), str(image), "--dtype", dtype]
    commands = (
        [sys.executable, "-m", __spec__.name, "--worker", *arguments],
        [torch_python, str(TORCH_SIDE), *arguments],
    )

    result: dict[str, Any] = {"forward": {}, "memory": {}}
    ours, theirs = map(harness.Worker, commands)
    result["ours"], result["theirs"] = ours.ask("facts"), theirs.ask("facts")
    flops = theirs.ask("flops")["flops"]
    peak_flops = ours.ask("matmul", size=2048 if result["ours"]["platform"] == "cpu" else 8192)["flops_per_s"]
    result["model_flops_per_image"], result["matmul_flops_per_s"] = flops, peak_flops
    for batch in batches:
        depths = [np.load(_saved(worker, batch, folder / f"{i}.npy")) for i, worker in enumerate((ours, theirs))]
        entry = harness.take_turns(
            lambda: ours.ask("forward", batch=batch)["seconds"],  # noqa: B023 (called at once)
            lambda: theirs.ask("forward", batch=batch)["seconds"],  # noqa: B023
            rounds,
        )
        best = min(entry["ours_s"]), min(entry["theirs_s"])
        entry["compile_s"] = ours.ask("forward", batch=batch)["compile_s"]
        entry["flop_utilisation"] = [round(batch * flops / seconds / peak_flops, 4) for seconds in best]
        entry["largest_relative_difference"] = float(np.max(np.abs(depths[0] - depths[1]) / depths[1]))
        result["forward"][str(batch)] = entry
    for worker in (ours, theirs):
        worker.ask("predict")
    result["predict"] = harness.take_turns(
        lambda: ours.ask("predict")["seconds"], lambda: theirs.ask("predict")["seconds"], rounds
    )
    ours.close()
    theirs.close()
    for batch in batches:
        result["memory"][str(batch)] = harness.peaks_alone(commands, "forward", batch=batch)
    return result


def _saved(worker: harness.Worker, batch: int, file: Path) -> Path:
    worker.ask("forward", batch=batch, save=str(file))
    return file


def cold_start(folder: Path, image: Path, torch_python: str, rounds: int) -> dict[str, Any]:
    """Seconds from starting a process to the end of its first depth: cache cold (ours), then warm, turn by turn."""
    once = [str(folder / "checkpoint"), str(image), "--once"]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def seconds(command: list[str], environment: dict[str, str]) -> float:
        started = time.perf_counter()
        subprocess.run(command, env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    ours = functools.partial(seconds, [sys.executable, "-m", __spec__.name, "--worker", *once], cache)
    theirs = functools.partial(seconds, [torch_python, str(TORCH_SIDE), *once], {})
    cold = ours()
    theirs()  # its files into the page cache, as ours now are
    return {"cold_cache_s": round(cold, 2), "warm_cache": harness.take_turns(ours, theirs, rounds)}


def print_tables(result: dict[str, Any]) -> None:
    """The figures, as they stand in the JSON."""
    for dtype, facts in result["by_dtype"].items():
        rows = []
        for batch, entry in facts["forward"].items():
            memory = facts["memory"][batch]
            rows.append(
                (
                    f"forward, batch {batch}",
                    f"{min(entry['ours_s']):.3f} s",
                    f"{min(entry['theirs_s']):.3f} s",
                    f"{entry['ratio']:.2f}",
                    " / ".join(f"{u:.0%}" for u in entry["flop_utilisation"]),
                )
            )
            megabytes = [f"{memory[side] / 1e6:.0f} MB" for side in ("ours", "theirs")]
            rows.append((f"memory, batch {batch}", *megabytes, f"{memory['ratio']:.2f}", ""))
        entry = facts["predict"]
        seconds = [f"{min(entry[side]):.3f} s" for side in ("ours_s", "theirs_s")]
        rows.append(("predict, pad and flip", *seconds, f"{entry['ratio']:.2f}", ""))
        title = f"{facts['ours']['device']}, {dtype}, 384x512"
        harness.print_table(title, ("", "zoe_jax", "transformers", "ratio", "FLOP utilisation"), rows)
    warm = result["cold_start"]["warm_cache"]
    rows = [("cold cache", f"{result['cold_start']['cold_cache_s']:.1f} s", "", "")]
    rows.append(
        ("warm cache", f"{min(warm['ours_s']):.1f} s", f"{min(warm['theirs_s']):.1f} s", f"{warm['ratio']:.2f}")
    )
    harness.print_table("new process to first depth", ("", "zoe_jax", "transformers", "ratio"), rows)


def main() -> None:
    """Runs both sides and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has torch and transformers")
    parser.add_argument("--preset", default="zoed_n")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    options = parser.parse_args()
    # this process and its workers share one device: none may take most of its memory at the start
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    on_gpu = jax.default_backend() == "gpu"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = zoe_jax.preset(options.preset)
        params = zoe_jax.init(config, jax.random.key(0))
        write_checkpoint(Checkpoint(config, params, {}, Origin()), folder / "checkpoint", "huggingface")
        del params
        image = folder / "image.png"
        _write_image(image)
        result: dict[str, Any] = {"machine": machine(), "preset": options.preset, "by_dtype": {}}
        for dtype in ("float32", "bfloat16") if on_gpu else ("float32",):
            batches = [1, 4, 16, 64] if on_gpu else [1, 4]
            measured = measure(folder, image, options.torch_python, dtype, batches, options.rounds)
            result["by_dtype"][dtype] = measured
        result["cold_start"] = cold_start(folder, image, options.torch_python, options.rounds)
    print_tables(result)
    print(harness.write_result(f"inference_{jax.default_backend()}", result))


def _write_image(path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.random.RandomState(0).randint(0, 256, (480, 640, 3), np.uint8)).save(path)


def _worker(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("image")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args(arguments)
    model = OurZoeDepth(options.checkpoint, options.dtype, options.image)
    if options.once:
        model.predict()
    else:
        names = ("facts", "forward", "predict", "matmul")
        harness.serve({name: getattr(model, name) for name in names})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _worker(sys.argv[2:])
    else:
        main()
