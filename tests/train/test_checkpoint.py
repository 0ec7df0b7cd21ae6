"""Checkpoints of a run on a state of a few numbers: what is kept, what comes back, what happens to damage."""

import errno
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.same import assert_same_tree
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.orbax_folder import choose_step
from zoe_jax.train.checkpoint import RunCheckpoints
from zoe_jax.train.optimizer import OptimizerState
from zoe_jax.train.sharding import ShardingConfig, make_mesh
from zoe_jax.train.state import TrainState

SIDE = 256


def state(value: float, ema: bool = True) -> TrainState:
    """A state with everything that a real one can have: a frozen parameter without moments, a stacked count."""
    params = {"head": {"kernel": jnp.full((SIDE, SIDE), value), "frozen": jnp.full(3, -value)}}
    counts = {"head": {"kernel": jnp.full(2, int(value), jnp.int32), "frozen": None}}
    moments = [{"head": {"kernel": jnp.full((SIDE, SIDE), value * k), "frozen": None}} for k in (10, 100)]
    return TrainState(
        params=params,
        opt_state=OptimizerState(jnp.int32(value), counts, *moments),
        ema=jax.tree.map(lambda p: p / 2, params) if ema else None,
        nonfinite_in_a_row=jnp.int32(1),
        nonfinite_total=jnp.int32(7),
    )


def shardings(like: TrainState) -> TrainState:
    where = NamedSharding(make_mesh(ShardingConfig(), jax.devices()[:1]), PartitionSpec())
    return jax.tree.map(lambda _: where, like)


def save(run: Path, abs_rel: dict[int, float | None], **keep: int) -> None:
    with RunCheckpoints(run, **keep) as checkpoints:
        for step, value in abs_rel.items():
            checkpoints.save(step, state(float(step)), 8 * step, value)


def steps(run: Path) -> list[int]:
    with RunCheckpoints(run) as checkpoints:
        return checkpoints.steps()


def restore(run: Path, like: TrainState | None = None) -> Any:
    like = jax.eval_shape(lambda: state(0.0)) if like is None else like
    with RunCheckpoints(run) as checkpoints:
        return checkpoints.restore(like, shardings(like))


def test_everything_comes_back(tmp_path: Path) -> None:
    save(tmp_path, {4: None})
    restored = restore(tmp_path)
    assert_same_tree(restored.state, state(4.0))
    assert (restored.step, restored.position, restored.abs_rel) == (4, 32, None)
    items = {path.name for path in (tmp_path / "checkpoints" / "4").iterdir() if path.is_dir()}
    assert items == {"params", "ema", "opt_state", "data"}


def test_without_an_average(tmp_path: Path) -> None:
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(1.0, ema=False), 8)
    restored = restore(tmp_path, jax.eval_shape(lambda: state(0.0, ema=False)))
    assert_same_tree(restored.state, state(1.0, ema=False))


def test_nothing_to_restore(tmp_path: Path) -> None:
    assert restore(tmp_path / "new") is None


@pytest.mark.parametrize(
    ("abs_rel", "kept"),
    [
        ({1: 0.5, 2: 0.2, 3: 0.3, 4: None}, [2, 4]),
        ({1: 0.5, 2: 0.4, 3: 0.3}, [3]),
        ({1: None, 2: None, 3: None}, [3]),
        # nan is worse than any number, and so is never the best
        ({1: 0.5, 2: float("nan"), 3: None}, [1, 3]),
    ],
)
def test_the_latest_and_the_best_are_kept(tmp_path: Path, abs_rel: dict[int, float | None], kept: list[int]) -> None:
    save(tmp_path, abs_rel)
    assert steps(tmp_path) == kept


def test_more_can_be_kept(tmp_path: Path) -> None:
    save(tmp_path, {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.5}, keep_latest=2, keep_best=2)
    assert steps(tmp_path) == [1, 2, 4, 5]


def test_the_best_survives_a_restart(tmp_path: Path) -> None:
    save(tmp_path, {1: 0.1, 2: 0.3})
    save(tmp_path, {3: 0.2, 4: 0.3})
    assert steps(tmp_path) == [1, 4]


def test_a_validation_that_was_made_up_for_counts_like_any_other(tmp_path: Path) -> None:
    save(tmp_path, {1: 0.3, 2: None})
    with RunCheckpoints(tmp_path) as checkpoints:
        # what a kill left the first time
        (tmp_path / "checkpoints" / "2" / "metrics.orbax-checkpoint-tmp").mkdir()
        checkpoints.add_abs_rel(2, 0.2)
    assert choose_step(tmp_path) == 2
    restored = restore(tmp_path)
    assert (restored.step, restored.abs_rel) == (2, 0.2)
    assert_same_tree(restored.state, state(2.0))
    save(tmp_path, {3: 0.4})
    assert steps(tmp_path) == [2, 3]


def test_a_validation_without_a_result_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path, {1: 0.3, 2: None})
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.add_abs_rel(2, float("nan"))
    assert choose_step(tmp_path) == 1


def test_a_state_may_be_donated_right_after_it_was_saved(tmp_path: Path) -> None:
    donating = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    current = jax.tree.map(jnp.copy, state(1.0))
    with RunCheckpoints(tmp_path, keep_latest=9) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, current, 0)
            current = donating(current)
    like = jax.eval_shape(lambda: state(0.0))
    with RunCheckpoints(tmp_path, keep_latest=9) as checkpoints:
        for step in range(1, 6):
            kernel = checkpoints._read(step, like, shardings(like)).state.params["head"]["kernel"]
            np.testing.assert_array_equal(kernel, np.full((SIDE, SIDE), float(step)))


def damage_array(step: Path) -> None:
    for file in (step / "params").rglob("*"):
        if file.is_file() and file.stat().st_size > 100:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage_item(step: Path) -> None:
    shutil.rmtree(step / "opt_state")


def damage_position(step: Path) -> None:
    (step / "data" / "metadata").write_text('{"posi')


@pytest.mark.parametrize("damage", [damage_array, damage_item, damage_position])
def test_a_damaged_latest_checkpoint_is_skipped_with_a_warning(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, {2: None, 4: None}, keep_latest=2)
    damage(tmp_path / "checkpoints" / "4")
    with caplog.at_level(logging.WARNING, "zoe_jax"):
        restored = restore(tmp_path)
    assert restored.step == 2
    assert_same_tree(restored.state, state(2.0))
    assert "the checkpoint of step 4 is skipped" in caplog.text
    # the run comes to step 4 once more, and must be able to save it
    save(tmp_path, {4: None})
    assert restore(tmp_path).step == 4


def test_half_a_save_does_not_count(tmp_path: Path) -> None:
    save(tmp_path, {2: None})
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(checkpoints / "2", checkpoints / "4.orbax-checkpoint-tmp")
    shutil.rmtree(checkpoints / "4.orbax-checkpoint-tmp" / "data")
    assert restore(tmp_path).step == 2
    save(tmp_path, {4: None})
    assert sorted(path.name for path in checkpoints.iterdir()) == ["4"]


def test_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    save(tmp_path, {2: None})
    damage_item(tmp_path / "checkpoints" / "2")
    with pytest.raises(CheckpointError, match=r"has the checkpoints \[2\], and none can be read"):
        restore(tmp_path)
    assert (tmp_path / "checkpoints" / "2").exists()


def test_a_state_of_another_shape_is_not_restored(tmp_path: Path) -> None:
    save(tmp_path, {2: None})
    like = jax.eval_shape(lambda: state(0.0))
    like.params["head"]["kernel"] = jax.ShapeDtypeStruct((2, 2), jnp.float32)
    with pytest.raises(CheckpointError, match="none can be read"):
        restore(tmp_path, like)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB; only root can make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while os.statvfs(disk).f_bavail:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_leaves_the_last_checkpoint(small_disk: Path) -> None:
    run = small_disk / "run"
    save(run, {1: None})
    filler = fill(small_disk)
    with pytest.raises(CheckpointError, match="the disk is full; earlier checkpoints are intact"):
        save(run, {2: None})
    filler.unlink()
    restored = restore(run)
    assert restored.step == 1
    assert_same_tree(restored.state, state(1.0))
    save(run, {2: None})
    assert restore(run).step == 2


def test_a_disk_that_says_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where no small disk can be mounted."""
    save(tmp_path, {1: None})
    checkpoints = RunCheckpoints(tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints._manager, "save", full)
    with checkpoints, pytest.raises(CheckpointError, match="the disk is full"):
        checkpoints.save(2, state(2.0), 0)
    assert restore(tmp_path).step == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(CheckpointError, match="cannot be opened"):
        RunCheckpoints(tmp_path / "run")
