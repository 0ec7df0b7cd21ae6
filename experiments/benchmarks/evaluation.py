"""Where the time of `zoe-jax evaluate` goes: true-size ZoeD_N on images and depth of NYU's size.

    python -m zoe_jax_experiments.benchmarks.evaluation [--images 4] [--batch-sizes 1]

The parameters are random, which takes as long as released ones. Every stage is waited for (`--profile`), so what could
overlap stands here in full. Bars: at least 90 % of the time in the forward pass on a CPU, and 80 % on a GPU at the best
of the batch sizes (try --images 512 --batch-sizes 4 8 16 32). Writes experiments/results/evaluation_cpu.json, or _gpu.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

import zoe_jax
from zoe_jax.config import preset
from zoe_jax.evaluate.command import EvaluateOptions, evaluate
from zoe_jax.provenance import machine

from .harness import print_table, write_result
from .input_data import ZoeNyuSize, write_files

BARS = {"cpu": 0.9, "gpu": 0.8}


def main() -> int:
    """Prints a table and writes the result; 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1])
    parser.add_argument("--preset", default="zoed_n")
    options = parser.parse_args()
    config, platform = preset(options.preset), jax.default_backend()
    params = jax.block_until_ready(zoe_jax.init(config, jax.random.key(0)))
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "files")
        files.mkdir()
        write_files(files, options.images)
        builder = ZoeNyuSize(files, data_dir=Path(folder, "data"))
        builder.download_and_prepare()
        for batch_size in options.batch_sizes:
            evaluation = EvaluateOptions(
                datasets=(str(builder.data_path),),
                split="train",
                output_dir=Path(folder, f"batches_of_{batch_size}"),
                batch_size=batch_size,
                profile=True,
            )
            before = time.perf_counter()
            finished = evaluate([("random", options.preset)], lambda _: (config, params), evaluation)
            wall_s = time.perf_counter() - before
            runs.append(shares(finished.clocks["random"].seconds, wall_s, batch_size, options.images))
    best = max(runs, key=lambda run: run["forward_share"])
    result = {"machine": machine(), "preset": options.preset, "device": jax.devices()[0].device_kind, "runs": runs}
    path = write_result(f"evaluation_{platform}", result | {"best_forward_share": best["forward_share"]})
    rows = [[run["batch_size"], *(f"{100 * share:.1f} %" for share in run["shares"].values())] for run in runs]
    print_table(f"{options.preset} on {result['device']}", ["images at once", *runs[0]["shares"]], rows)
    print(f"wrote {path}")
    return int(best["forward_share"] < BARS.get(platform, BARS["gpu"]))


def shares(seconds: dict[str, float], wall_s: float, batch_size: int, images: int) -> dict[str, Any]:
    """Of the time without compiling, which happens once."""
    stages = {name: spent for name, spent in seconds.items() if name != "compiling"}
    whole = sum(stages.values())
    ordered = dict(sorted(stages.items(), key=lambda item: -item[1]))
    return {
        "batch_size": batch_size,
        "images": images,
        "shares": {name: round(spent / whole, 4) for name, spent in ordered.items()},
        "forward_share": round(stages["forward"] / whole, 4),
        "compiling_s": round(seconds["compiling"], 1),
        "wall_s": round(wall_s, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
