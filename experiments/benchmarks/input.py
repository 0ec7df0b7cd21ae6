"""Training data at NYU's size beside a torch DataLoader with Pillow: examples a second and core.

    python -m zoe_jax_experiments.benchmarks.input [--torch-python PATH]

Needs torch, in this environment or in that of the interpreter named by --torch-python. Both sides read jpegs of 480x640
and 16-bit pngs, rotate, flip and change colours as the original does for NYU, and give batches of 16, in three ways
(see `WAYS`). They take turns; what is measured is the processor time of all processes of a side, so that other work on
the machine counts little. Prints tables and writes experiments/results/input_cpu.json. Bar: per second of a core, 1.5
times the examples of the DataLoader.

It also prints how many such cores keep one accelerator busy, which rests on an assumption:

    images/s it trains on = peak FLOP/s * utilisation / (3 * FLOP of one image's forward pass)
    cores                 = images/s it trains on / (examples/s and core)
"""

import argparse
import functools
import importlib.metadata
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from zoe_jax.input import geometry
from zoe_jax.input.augment import Sample
from zoe_jax.input.batches import Part
from zoe_jax.input.colour import change_colour, to_float
from zoe_jax.input.config import AugmentConfig, DatasetConfig
from zoe_jax.input.pipeline import Pipeline
from zoe_jax.input.reader import PreparedReader
from zoe_jax.input.source import HostBatch
from zoe_jax.provenance import machine

from . import harness
from .input_data import MAX_DEPTH_M, ZoeNyuSize, write_files

TORCH_SIDE = Path(__file__).with_name("input_torch.py")
BATCH_SIZE = 16
AUGMENT = AugmentConfig(
    max_rotation_degrees=1.0, flip_probability=0.5, colour_probability=0.5, brightness_range=(0.75, 1.25)
)
WAYS = {
    "thread and process": ({"workers": 0, "threads": 1}, {"workers": 1}),
    "process and process": ({"workers": 1, "threads": 0}, {"workers": 1}),
    "neither": ({"workers": 0, "threads": 0}, {"workers": 0}),
}
"""How batches are made, here and there: ahead of training, each in its usual way; ahead, both in a process of their
own, which has to hand the batch over; and when they are asked for."""
FORWARD_FLOP = 658.6e9
"""ZoeD-N on one image of 384x512, counted by torch (`inference.py`)."""
TRAINING_TO_FORWARD = 3
"""Forward, and twice as much backward."""
NUMBERS: list[dict[str, Any]] = [
    {"degrees": 0.7, "flip": False, "colour": None},
    {"degrees": -0.9, "flip": True, "colour": [0.93, 1.2, [0.95, 1.0, 1.05]]},
]
"""Under which both sides must give the same example."""


class OurLoader:
    """Answers the requests of the benchmark."""

    def __init__(self, data_dir: str):
        self.reader = PreparedReader(ZoeNyuSize.name, "train", data_dir)
        config = DatasetConfig(augment=AUGMENT)
        self.part = Part("nyu size", self.reader, config, domains=("nyu",), ranges_m=((1e-3, MAX_DEPTH_M),))
        self.batches: dict[tuple[int, int], Iterator[HostBatch]] = {}

    def facts(self) -> dict[str, Any]:
        """Versions and threads."""
        names = ("grain", "opencv-python-headless", "pillow", "numpy", "tensorflow-datasets")
        return {"versions": {name: importlib.metadata.version(name) for name in names}, "threads": cv2.getNumThreads()}

    def take(self, workers: int, threads: int, count: int) -> dict[str, Any]:
        """Consumes `count` batches; where more are made ahead, that goes on afterwards."""
        if (workers, threads) not in self.batches:
            pipeline = Pipeline([self.part], workers=workers, threads=threads)
            self.batches[workers, threads] = pipeline.training_batches(0, BATCH_SIZE, np.arange(BATCH_SIZE))
        for _ in range(count):
            next(self.batches[workers, threads])
        return {}

    def example(self, index: int, degrees: float, flip: bool, colour: list[Any] | None, save: str) -> dict[str, Any]:
        """One example under given numbers, into the file `save`."""
        # TFDS shuffles; the ids are the names of the files
        record = next(
            record for record in map(self.reader.__getitem__, range(len(self.reader))) if int(record.id) == index
        )
        sample = geometry.rotate(Sample(record.image, record.depth_m, self._valid(record.depth_m)), degrees)
        if flip:
            sample = geometry.flip(sample)
        image = to_float(sample.image)
        if colour is not None:
            image = change_colour(sample.image, colour[0], colour[1], np.array(colour[2]))
        np.savez(save, image=image, depth=sample.depth_m[..., None], mask=sample.valid_mask[..., None])
        return {}

    def _valid(self, depth_m: np.ndarray) -> np.ndarray:
        low, high = self.part.ranges_m[0]
        return (depth_m > low) & (depth_m < high)


def compare(ours: harness.Worker, theirs: harness.Worker, folder: Path) -> list[dict[str, float]]:
    """How far the same examples under the same numbers differ; decoders and rotations may differ by a grey level.

    Raises:
        RuntimeError: they are not the same.
    """
    found = []
    for i, numbers in enumerate(NUMBERS):
        sides = []
        for side, worker in (("ours", ours), ("theirs", theirs)):
            save = folder / f"{side}_{i}.npz"
            worker.ask("example", index=i, save=str(save), **numbers)
            sides.append(np.load(save))
        a, b = sides
        difference = np.abs(a["image"] - b["image"])
        entry = {
            "largest_difference_grey_levels": round(float(255 * difference.max()), 3),
            "share_that_differs_by_half_a_level": float(np.mean(255 * difference > 0.5)),
            "largest_depth_difference_m": float(np.abs(a["depth"] - b["depth"]).max()),
            "masks_differ": float(np.mean(a["mask"] != b["mask"])),
        }
        # a level may grow by gamma, brightness and channel; depth is the same integer divided
        if difference.max() > 2 / 255 or entry["largest_depth_difference_m"] > 1e-6 or entry["masks_differ"]:
            raise RuntimeError(f"the two sides do not make the same of one example: {entry}")
        found.append(entry)
    return found


def feeding(examples_per_s: float, accelerator_images_per_s: float | None, peak: float, utilisation: float) -> dict:
    """Cores that keep one accelerator busy in training; the docstring of this file has the formula."""
    assumed = accelerator_images_per_s or peak * utilisation / (TRAINING_TO_FORWARD * FORWARD_FLOP)
    return {
        "forward_flop_per_image": FORWARD_FLOP,
        "training_to_forward": TRAINING_TO_FORWARD,
        "peak_flop_per_s": peak,
        "assumed_utilisation": utilisation if accelerator_images_per_s is None else None,
        "accelerator_images_per_s": round(assumed, 1),
        "examples_per_s_per_core": round(examples_per_s, 1),
        "cores": math.ceil(assumed / examples_per_s),
    }


def print_tables(result: dict[str, Any]) -> None:
    """What was measured, for people."""
    rows = []
    for way, entry in result["ways"].items():
        speeds = [f"{rate:.0f}/s" for rate in entry["examples_per_s"]]
        rows.append((way, *speeds, f"{1 / entry['ratio']:.2f}x"))
    harness.print_table(
        "examples per second of a core", ("made ahead by", "zoe_jax", "torch DataLoader", "as fast"), rows
    )
    need = result["feeding"]
    why = "given"
    if need["assumed_utilisation"]:
        peak, forward = need["peak_flop_per_s"], need["forward_flop_per_image"]
        why = (
            f"assumed: {peak:.4g} FLOP/s * {need['assumed_utilisation']} / ({TRAINING_TO_FORWARD} * {forward:.4g} FLOP)"
        )
    print(
        f"An accelerator that trains on {need['accelerator_images_per_s']} images/s ({why}) needs "
        f"{need['cores']} cores of {need['examples_per_s_per_core']} examples/s each."
    )


def main() -> None:
    """Runs both sides and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has torch and Pillow")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--batches", type=int, default=8, help="batches of 16 a turn")
    parser.add_argument("--examples", type=int, default=128, help="different ones")
    parser.add_argument("--accelerator-images-per-second", type=float, help="measured; else computed as above")
    parser.add_argument("--peak-flop-per-second", type=float, default=989e12, help="H200, bfloat16, dense")
    parser.add_argument("--flop-utilisation", type=float, default=0.4, help="share of the peak that training reaches")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, data_dir = folder / "files", folder / "data"
        files.mkdir()
        result: dict[str, Any] = {"machine": machine(), "bytes": write_files(files, options.examples)}
        tfds.disable_progress_bar()
        ZoeNyuSize(files, data_dir=str(data_dir)).download_and_prepare()
        shape = ["--batch-size", str(BATCH_SIZE), "--max-depth-m", str(MAX_DEPTH_M)]
        ours = harness.Worker([sys.executable, "-m", __spec__.name, "--worker", str(data_dir)])
        theirs = harness.Worker([options.torch_python, str(TORCH_SIDE), str(files), *shape])
        result["ours"], result["theirs"] = ours.ask("facts"), theirs.ask("facts")
        result["same_examples"] = compare(ours, theirs, folder)
        result["ways"] = {}
        for way, (here, there) in WAYS.items():
            requests = [
                (worker, {"count": options.batches, **made}) for worker, made in ((ours, here), (theirs, there))
            ]
            run_ours, run_theirs = [functools.partial(core_seconds, worker, request) for worker, request in requests]
            for start in (run_ours, run_theirs):
                start()  # starts their threads and processes
            entry = harness.take_turns(run_ours, run_theirs, options.rounds)
            medians = [statistics.median(entry[side]) for side in ("ours_s", "theirs_s")]
            entry["examples_per_s"] = [round(options.batches * BATCH_SIZE / seconds, 1) for seconds in medians]
            result["ways"][way] = entry
        ours.close()
        theirs.close()
    peak, utilisation = options.peak_flop_per_second, options.flop_utilisation
    rate = result["ways"]["thread and process"]["examples_per_s"][0]
    result["feeding"] = feeding(rate, options.accelerator_images_per_second, peak, utilisation)
    print_tables(result)
    print(harness.write_result("input_cpu", result))


def core_seconds(worker: harness.Worker, request: dict[str, Any]) -> float:
    """Processor time for the batches of one request.

    From rest to rest: as many batches are made as are taken, since afterwards as many as before are ready.
    """
    before = _used_at_rest(worker.process.pid)
    worker.ask("take", **request)
    return _used_at_rest(worker.process.pid) - before


def _used_at_rest(process: int) -> float:
    used = _used(process)
    while True:
        time.sleep(0.5)
        earlier, used = used, _used(process)
        if used - earlier < 0.03:  # three ticks of the clock: somebody has looked whether there is something to do
            return used


def _used(process: int) -> float:
    """Seconds in which a process and its children have had a core so far."""
    try:
        # the name in brackets may hold anything
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        children = [
            int(i) for path in Path(f"/proc/{process}/task").glob("*/children") for i in path.read_text().split()
        ]
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") + sum(map(_used, children))


def _worker(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    loader = OurLoader(options.data_dir)
    harness.serve({name: getattr(loader, name) for name in ("facts", "take", "example")})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _worker(sys.argv[2:])
    else:
        main()
