"""Fine-tuning on one's own folder: the architecture comes from the checkpoint, and the depth gets better."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from tests.data.folders import write_depth, write_image
from zoe_jax import cli
from zoe_jax.config import MetricHeadConfig, ZoeDepthConfig, preset
from zoe_jax.convert.checkpoint import Checkpoint, write_checkpoint
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.depth_model import load
from zoe_jax.input.config import AugmentConfig
from zoe_jax.input.reader import PreparedReader
from zoe_jax.models.zoedepth import parameter_shapes
from zoe_jax.train.command import parse_train
from zoe_jax.train.dry_run import describe_run
from zoe_jax_experiments.finetune_own_data import config


def write_zeros(path: Path, model: ZoeDepthConfig, layout: str) -> str:
    """A checkpoint of this architecture."""
    params = {name: np.zeros(leaf.shape, np.float32) for name, leaf in parameter_shapes(model).items()}
    write_checkpoint(Checkpoint(model, unflatten_dict(params, sep="/"), {}, Origin()), path, layout)
    return str(path)


def test_without_a_checkpoint_it_is_zoed_n() -> None:
    experiment = config()
    assert experiment.model == preset("zoed_n")
    assert (experiment.init, experiment.init_part) == (None, "model")
    (training,), (validation,) = experiment.data.train, experiment.data.validation
    assert training.size == validation.size == (384, 512)
    assert (training.split, validation.split) == ("train", "validation")
    assert validation.augment == AugmentConfig()


@pytest.mark.parametrize(
    ("name", "layout"), [("reference_nk", "orbax"), ("reference_k", "official"), ("reference_nk", "huggingface")]
)
def test_the_architecture_comes_from_the_checkpoint(tmp_path: Path, name: str, layout: str) -> None:
    path = write_zeros(tmp_path / ("model.pt" if layout == "official" else "model"), preset(name), layout)
    for words in (["--init", path], [f"--init={path}"]):
        experiment = parse_train(["finetune_own_data", "--epochs", "3", *words]).experiment
        assert experiment.model == preset(name)
        assert (experiment.init, experiment.init_part, experiment.epochs) == (path, "model", 3)
        assert experiment.data.train[0].size == preset(name).network_size
        assert experiment.validation.max_depth_m == 80


def test_a_relative_depth_model_gets_a_head(tmp_path: Path) -> None:
    relative = replace(preset("reference_n"), head=None)
    experiment = config(write_zeros(tmp_path / "relative", relative, "orbax"))
    assert experiment.model == replace(relative, head=MetricHeadConfig())
    assert experiment.init_part == "relative"


def test_what_is_missing_is_said_in_words() -> None:
    # at the size of the tests, where shapes are soon known
    experiment = replace(config(), model=preset("reference_n"))
    text = describe_run(experiment)
    assert "--data.train.0.name" in text
    assert "`zoe-jax prepare folder NAME`" in text
    assert "5e-06: encoder/" in text


def write_fog(root: Path, n: int, seed: int, scale: float) -> None:
    """Slanted planes in fog: brightness tells the logarithm of depth; `scale` is that of another sensor's world."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:48j, -1:1:64j]
    for index in range(n):
        log_depth = rng.uniform(0.5, 1.6) + rng.uniform(-0.35, 0.35) * x + rng.uniform(-0.35, 0.35) * y
        clear = 1 - log_depth / np.log(8)
        noise = rng.normal(0, 0.03, (48, 64, 3))
        image = np.clip(255 * (clear[..., None] * [1, 0.9, 0.8] + noise), 0, 255).astype(np.uint8)
        write_image(root / f"rgb/{index:03}.png", image)
        write_depth(root / f"depth/{index:03}.png", (np.exp(log_depth) * scale).astype(np.float32), 1000)


def truth(data_dir: Path, split: str) -> tuple[list[np.ndarray], np.ndarray]:
    reader = PreparedReader("zoe_folder/mine", split, str(data_dir))
    records = [reader[index] for index in range(len(reader))]
    return [record.image for record in records], np.stack([record.depth_m for record in records])


def abs_rel(depth_m: np.ndarray, truth_m: np.ndarray) -> float:
    return float(np.mean(np.abs(depth_m - truth_m) / truth_m))


SMALL = """
from dataclasses import replace
from zoe_jax.config import preset
from zoe_jax_experiments.finetune_own_data import config as own_data

def config():
    base, model = own_data(), preset("reference_n")
    head = replace(model.head, max_depth_m=(20.0,))
    model = replace(model, head=head, initialization="from_scratch")
    data = replace(base.data, train=(replace(base.data.train[0], size=model.network_size),))
    optimizer = replace(base.optimizer, learning_rate=2e-3, groups=(), clip_norm=1.0)
    return replace(base, name="small", model=model, data=data, optimizer=optimizer, steps=60, validate_every=0)
"""


@pytest.mark.slow
def test_fine_tuning_on_a_folder_beats_its_start_and_the_baselines(tmp_path: Path) -> None:
    data_dir, first, second = tmp_path / "data", tmp_path / "first_run", tmp_path / "second_run"
    for name, n, seed, scale in (("other", 120, 0, 1.0), ("mine", 80, 1, 2.0)):
        write_fog(tmp_path / name, n, seed, scale)
        folders = ["--images", str(tmp_path / name / "rgb"), "--depth", str(tmp_path / name / "depth")]
        options = ["--depth-units-per-m", "1000", "--validation-share", "0.2", "--data-dir", str(data_dir)]
        assert cli.main(["prepare", "folder", name, *folders, *options]) == 0

    # no released weights can be shipped: a short training elsewhere stands for them
    small = tmp_path / "small.py"
    small.write_text(SMALL)
    names = ["--data.data-dir", str(data_dir), "--data.train.0.name"]
    assert cli.main(["train", str(small), *names, "zoe_folder/other", "--run-dir", str(first)]) == 0
    # the command of the docstring, at a rate for so few steps
    mine = [*names, "zoe_folder/mine", "--data.validation.0.name", "zoe_folder/mine"]
    length = ["--steps", "60", "--optimizer.learning-rate", "1e-3", "--run-dir", str(second)]
    assert cli.main(["train", "finetune_own_data", "--init", str(first), *mine, *length]) == 0

    _, known_m = truth(data_dir, "train")
    images, truth_m = truth(data_dir, "validation")
    constants = np.geomspace(known_m.min(), known_m.max(), 100)
    baselines = {
        "constant": abs_rel(min(constants, key=lambda constant: abs_rel(constant, known_m)), truth_m),
        "median map": abs_rel(np.median(known_m, axis=0), truth_m),
    }
    reached = {}
    for run in (first, second):
        model = load(str(run))
        depth_m = np.stack([model.predict(image, protocol="evaluate") for image in images])
        reached[run.name] = abs_rel(depth_m, truth_m)
    # measured: start 0.49 (depth is twice what it has learnt), constant 0.27, median map 0.31, fine-tuned 0.03
    assert reached["second_run"] < 0.5 * reached["first_run"]
    assert reached["second_run"] < 0.5 * min(baselines.values())
    # and the run's own validation says the same; it sees depth at the network's size, and no flipped copy
    lines = (second / "validation.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["abs_rel"] == pytest.approx(reached["second_run"], rel=0.25)
