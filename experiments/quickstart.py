"""The main job in miniature: render a world, train two heads and a router on it, evaluate, predict, report.

    make quickstart

The code path is that of the big runs: `zoe-jax prepare`, `zoe-jax train` with this file as its experiment, a
checkpoint in Orbax, `zoe-jax predict`. Rooms and roads are rendered (`zoe_jax_data.rooms_and_roads`); the photograph is
`coffee` of scikit-image (Rachel Michetti, CC0). Results: `runs/quickstart/report.html` and `results.json`, which
compares the model with the better of two predictions that look at no image, on scenes that it has not seen.

Seeded, with a fixed number of steps; made for 6 minutes on 2 CPU cores.
"""

import argparse
import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from PIL import Image

from zoe_jax import cli
from zoe_jax.config import preset
from zoe_jax.input.config import AugmentConfig, DataConfig, DatasetConfig
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.objective import ObjectiveConfig
from zoe_jax.train.optimizer import OptimizerConfig
from zoe_jax.train.schedule import ScheduleConfig
from zoe_jax.train.step import ValidationConfig

from .held_out import evaluate_held_out
from .training_report import write_training_report

WEIGHTS = {"rooms": 1.5, "roads": 2.5}
"""Of a batch of 4. Roads are the harder ones; with still more of them the router takes rooms for roads, and that costs
most: a room with the depths of a road is off by more than its own depth."""


def config() -> Experiment:
    """The tiny NK from random parameters: images of both domains in every batch, the router trained on their labels.

    Small batches, since steps are what it lacks: it does as well on what it has not seen as on what it has.
    """
    return Experiment(
        name="quickstart",
        model=preset("zoed_tiny_nk"),
        objective=ObjectiveConfig(router="trained", router_weight=1.0, head_choice="label"),
        optimizer=OptimizerConfig(
            learning_rate=1.5e-3,
            b2=0.98,  # the scale of the gradients changes within a hundred steps
            clip_norm=1.0,
            # at the full rate the router may end up with one answer for all images; a model without one has the other
            groups=((r"(bottleneck|router)/.*", 0.5),),
            schedule=ScheduleConfig(kind="warmup_cosine", warmup_steps=200, end_scale=0.01),
        ),
        data=DataConfig(train=_train_data(), validation=_data("validation"), mixing="mix"),
        validation=ValidationConfig(max_depth_m=80.0),
        batch_size=4,
        steps=4500,
        validate_every=1500,
        checkpoint_every=1500,
    )


def _data(split: str) -> tuple[DatasetConfig, ...]:
    return tuple(DatasetConfig(name=f"zoe_rooms_and_roads/{domain}", split=split) for domain in WEIGHTS)


def _train_data() -> tuple[DatasetConfig, ...]:
    flip = AugmentConfig(flip_probability=0.5)
    return tuple(
        replace(data, weight=weight, augment=flip)
        for data, weight in zip(_data("train"), WEIGHTS.values(), strict=True)
    )


def main() -> int:
    """Writes `OUTPUT_DIR` and prints each command that it runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--steps", type=int, default=config().steps, help="fewer give a worse model sooner")
    parser.add_argument("--scenes", type=int, default=2000, help="of each domain to train on")
    options = parser.parse_args()
    warmup_steps = min(config().optimizer.schedule.warmup_steps, options.steps // 10)
    started = time.perf_counter()
    output_dir: Path = options.output_dir
    data_dir, run_dir, photograph = output_dir / "data", output_dir / "run", output_dir / "coffee.png"
    output_dir.mkdir(parents=True, exist_ok=True)
    _save_photograph(photograph)

    seconds: dict[str, float] = {}
    commands = {
        "rendering": ("prepare", "rooms_and_roads", "--data-dir", data_dir, "--train", options.scenes),
        "training": (
            *("train", "quickstart", "--run-dir", run_dir, "--data.data-dir", data_dir),
            *("--steps", options.steps, "--optimizer.schedule.warmup-steps", warmup_steps),
        ),
        "prediction": (
            *("predict", run_dir, photograph, "--output-dir", output_dir),
            *("--format", "npy,png16,color,panel,json", "--colormap", "magma_r"),
        ),
    }
    for stage, arguments in commands.items():
        before = time.perf_counter()
        status = run(*arguments)
        if status:
            return status
        seconds[stage] = time.perf_counter() - before

    before = time.perf_counter()
    held_out = evaluate_held_out(run_dir, data_dir, _data("train"), _data("test"))
    seconds["evaluation"] = time.perf_counter() - before
    results = held_out.results() | {"wall_seconds": round(time.perf_counter() - started, 1)}
    (output_dir / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_training_report(output_dir, run_dir, held_out, seconds, photograph)
    say(json.dumps(results, indent=1))
    say(f"results in {output_dir}: report.html, results.json, coffee_panel.png")
    return 0


def _save_photograph(path: Path) -> None:
    # here, for it is of the extra `dev`, which `zoe-jax train quickstart` does without
    import skimage.data

    Image.fromarray(skimage.data.coffee()).save(path)


def run(*arguments: object) -> int:
    """One command of zoe-jax, shown as it would be typed."""
    words = [str(argument) for argument in arguments]
    say(f"$ zoe-jax {shlex.join(words)}")
    return cli.main(words)


def say(text: str) -> None:
    """A line for the human, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
