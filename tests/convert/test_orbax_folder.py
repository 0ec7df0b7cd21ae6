"""Our own folder: which step is read, what comes back as it was, and how damage is told."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.synthetic import tiny_config, tiny_params, tiny_tensors
from zoe_jax.config import ZoeDepthConfig
from zoe_jax.convert.checkpoint import read_checkpoint
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.families import OFFICIAL
from zoe_jax.convert.orbax_folder import (
    FORMAT_VERSION,
    Origin,
    all_steps,
    choose_step,
    is_folder,
    read_description,
    read_params,
    read_unused,
    write_folder,
)

N = "N"


def unused_of_n() -> dict[str, np.ndarray]:
    return {name: tensor for name, tensor in tiny_tensors(N).items() if OFFICIAL.why_unused(name)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted model; tests that damage it take a copy."""
    path = tmp_path_factory.mktemp("written") / "ours"
    origin = Origin("official", wrapper="", prefix="module.")
    write_folder(path, tiny_config(N), tiny_params(N), unused_of_n(), origin)
    return path


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "copy")


def make_run(path: Path, abs_rel: dict[int, float | None]) -> Path:
    """What a training run leaves: `params` that are the step's tenth throughout, `ema` the step, `data`, a metric."""
    options = ocp.CheckpointManagerOptions(
        best_fn=lambda metrics: metrics["abs_rel"], best_mode="min", enable_async_checkpointing=False
    )
    with ocp.CheckpointManager((path / "checkpoints").absolute(), options=options) as manager:
        for step, value in abs_rel.items():
            ema = jax.tree.map(lambda leaf: np.full(leaf.shape, step, np.float32), tiny_params(N))  # noqa: B023
            params = jax.tree.map(lambda leaf: leaf / 10, ema)
            items = {"params": ocp.args.StandardSave(params), "ema": ocp.args.StandardSave(ema)}
            items["data"] = ocp.args.JsonSave({"position": 8 * step})
            metrics = None if value is None else {"abs_rel": value, "rmse": -float(step)}
            manager.save(step, args=ocp.args.Composite(**items), metrics=metrics)
    shutil.copy(path.parent / "description.json", path / "config.json")
    return path


@pytest.fixture
def run_of(written: Path, tmp_path: Path) -> Callable[..., Path]:
    shutil.copy(written / "config.json", tmp_path / "description.json")
    return lambda abs_rel: make_run(tmp_path / "run", abs_rel)


def test_everything_comes_back(written: Path) -> None:
    assert is_folder(written)
    assert read_description(written) == (tiny_config(N), Origin("official", wrapper="", prefix="module."))
    assert all_steps(written) == (0,)
    params = read_params(written, tiny_config(N), 0)
    jax.tree.map(np.testing.assert_array_equal, params, tiny_params(N))
    unused = read_unused(written, 0)
    assert unused.keys() == unused_of_n().keys()
    for name, tensor in unused_of_n().items():
        assert unused[name].dtype == tensor.dtype, name
        np.testing.assert_array_equal(unused[name], tensor)
    assert {tensor.dtype.name for tensor in unused.values()} == {"int64", "float32"}


def test_nothing_unused_is_no_item(tmp_path: Path) -> None:
    write_folder(tmp_path / "ours", tiny_config(N), tiny_params(N), {}, Origin())
    assert read_unused(tmp_path / "ours", 0) == {}
    assert not (tmp_path / "ours" / "checkpoints" / "0" / "unused").exists()


def test_reading_changes_nothing_and_says_nothing(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = sorted(copy.rglob("*"))
    with caplog.at_level(logging.WARNING):
        read_checkpoint(copy)
    assert not caplog.records
    assert sorted(copy.rglob("*")) == before


def test_parameters_come_in_the_type_asked_for(written: Path) -> None:
    params = read_params(written, tiny_config(N, param_dtype="bfloat16"), 0)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"bfloat16"}
    jax.tree.map(
        lambda narrow, wide: np.testing.assert_array_equal(narrow, wide.astype("bfloat16")), params, tiny_params(N)
    )


@pytest.mark.parametrize(
    ("abs_rel", "step", "chosen"),
    [
        ({1: 0.3, 2: 0.1, 3: 0.2}, None, 2),
        ({1: None, 2: None, 3: None}, None, 3),
        ({1: 0.3, 2: 0.1, 3: None}, None, 2),
        ({1: 0.3, 2: 0.1, 3: 0.2}, 1, 1),
    ],
    ids=["best", "latest", "best although a later one was never measured", "named"],
)
def test_which_step_of_a_run(
    run_of: Callable[..., Path], abs_rel: dict[int, float | None], step: int | None, chosen: int
) -> None:
    run = run_of(abs_rel)
    assert all_steps(run) == (1, 2, 3)
    assert choose_step(run, step) == chosen
    read = read_checkpoint(run, step=step)
    assert {float(leaf.ravel()[0]) for leaf in jax.tree.leaves(read.params)} == {float(chosen)}
    assert read.unused == {}


@pytest.mark.parametrize(("item", "value"), [(None, 5.0), ("ema", 5.0), ("params", 0.5)])
def test_a_run_is_its_average_unless_told_otherwise(run_of: Callable[..., Path], item: Any, value: float) -> None:
    params = read_params(run_of({5: 0.3}), tiny_config(N), 5, item)
    assert {float(leaf.ravel()[0]) for leaf in jax.tree.leaves(params)} == {value}


def test_steps_that_do_not_exist(written: Path, copy: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no checkpoint of step 7; it has \[0\]"):
        read_checkpoint(written, step=7)
    shutil.rmtree(copy / "checkpoints" / "0")
    with pytest.raises(CheckpointError, match=r"copy: has no checkpoint$"):
        read_checkpoint(copy)


def test_a_step_that_was_never_finished_is_none(run_of: Callable[..., Path]) -> None:
    run = run_of({1: None})
    shutil.copytree(run / "checkpoints" / "1", run / "checkpoints" / "2.orbax-checkpoint-tmp")
    assert all_steps(run) == (1,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d | {"version": FORMAT_VERSION + 1}, f"is of version 2; this release reads {FORMAT_VERSION}"),
        (lambda d: {"model": d["model"]}, "is not the config.json of a zoe_jax checkpoint: KeyError"),
        (lambda d: [], "is not the config.json of a zoe_jax checkpoint"),
        (
            lambda d: d | {"model": d["model"] | {"colour": 1}},
            "describes no model of this release: .* no field 'colour'",
        ),
        (lambda d: d | {"model": d["model"] | {"network_size": [64, 65]}}, "describes no model.* must be multiples"),
        (lambda d: d | {"origin": {"planet": "Mars"}}, "is not the config.json of a zoe_jax checkpoint"),
        (None, "is not the config.json of a zoe_jax checkpoint"),
    ],
)
def test_damaged_descriptions(copy: Path, change: Callable[[dict[str, Any]], Any] | None, message: str) -> None:
    file = copy / "config.json"
    text = file.read_text()
    file.write_text(text[: len(text) // 2] if change is None else json.dumps(change(json.loads(text))))
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_checkpoint(copy)
    assert str(refusal.value).startswith(f"{file}: ")


@pytest.mark.parametrize("item", ["params", "ema"])
def test_missing_items(copy: Path, item: str) -> None:
    if item == "params":
        shutil.rmtree(copy / "checkpoints" / "0" / "params")
    with pytest.raises(CheckpointError, match=f"checkpoints/0/{item}: cannot be read"):
        read_params(copy, tiny_config(N), 0, item)


def test_damaged_data_is_told(copy: Path) -> None:
    data = [file for file in (copy / "checkpoints" / "0" / "params").rglob("d/*") if file.is_file()]
    assert data
    for file in data:
        file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(CheckpointError, match="checkpoints/0/params: cannot be read") as refusal:
        read_params(copy, tiny_config(N), 0)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (tiny_config(N, n_bins=32), r"tensor '.*' has shape \(.*\) instead of"),
        (tiny_config("NK"), "tensor 'router/.*' is missing"),
        (tiny_config(N, head=None), "tensor 'bottleneck/bias' belongs to no model"),
    ],
    ids=["shape", "missing", "too many"],
)
def test_another_model_than_config_json_says(written: Path, config: ZoeDepthConfig, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_params(written, config, 0)
    assert str(refusal.value).startswith(f"{written / 'checkpoints' / '0' / 'params'}: ")


def test_nothing_is_written_over(written: Path) -> None:
    before = (written / "config.json").stat().st_mtime_ns
    with pytest.raises(CheckpointError, match="exists already"):
        write_folder(written, tiny_config(N), tiny_params(N), {}, Origin())
    assert (written / "config.json").stat().st_mtime_ns == before
