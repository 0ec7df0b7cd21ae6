"""Runs in processes of their own that are killed, told to stop, or moved to other devices."""

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.processes import free_port
from tests.train import tiny
from zoe_jax.convert.orbax_folder import read_params
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.sharding import ShardingConfig

DEADLINE_S = 900
DOMAINS = ("nyu", "kitti")
HALF_SAVED = "checkpoints/*.orbax-checkpoint-tmp"


@pytest.fixture(scope="session")
def processes() -> Any:
    """Children come from one that has imported everything and touched nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.train.tiny", "zoe_jax.train.command", "orbax.checkpoint"])
    return context


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def start(processes: Any, cache: Path) -> Iterator[Callable[..., Any]]:
    """Starts a child that trains; none outlives the test."""
    children = []

    def start(experiment: Experiment, run: Path, devices: int = 1, hosts: tuple[Any, ...] = ()) -> Any:
        child = processes.Process(target=tiny.train_in_child, args=(experiment, run, cache, devices, hosts))
        child.start()
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.join()


def finish(child: Any, run: Path, status: int = 0) -> None:
    child.join(DEADLINE_S)
    logs = "\n".join(file.read_text()[-3000:] for file in run.parent.glob(f"{run.name}.*.log"))
    assert child.exitcode == status, logs


def lines(run: Path) -> int:
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def wait_for(condition: Callable[[], bool], child: Any) -> bool:
    """Whether the condition came true before the child ended."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if not child.is_alive():
            return condition()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return True


def half_saved(run: Path) -> set[int]:
    """The checkpoints that lie half written, each by the number of its folder."""
    numbers = set()
    for folder in run.glob(HALF_SAVED):
        with contextlib.suppress(FileNotFoundError):  # finished meanwhile
            numbers.add(folder.stat().st_ino)
    return numbers


@contextlib.contextmanager
def torn(run: Path) -> Iterator[set[int]]:
    """Those that an earlier process left. They are held open, so that no other folder gets the number of one."""
    with contextlib.ExitStack() as on_exit:
        numbers = set()
        for folder in run.glob(HALF_SAVED):
            descriptor = os.open(folder, os.O_RDONLY)
            on_exit.callback(os.close, descriptor)
            numbers.add(os.fstat(descriptor).st_ino)
        yield numbers


def assert_same_run(run: Path, whole: Path, experiment: Experiment) -> None:
    for name in ("metrics.jsonl", "validation.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert experiment.steps is not None
    for item in ("params", "ema"):
        ours, theirs = (read_params(folder, experiment.model, experiment.steps, item) for folder in (run, whole))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def kill_and_resume(start: Callable[..., Any], folder: Path, experiment: Experiment, kills: int, seed: int) -> int:
    """Kills a run at random moments, every second one in a save, and compares; returns how many hit a save."""
    steps = experiment.steps or 0
    whole, run = folder / "whole", folder / "run"
    finish(start(experiment, whole), whole)
    moments = random.Random(seed)
    hits = in_a_save = 0
    while hits < kills:
        with torn(run) as earlier:
            child = start(experiment, run)
            if hits % 2:
                reached = wait_for(lambda earlier=earlier: bool(half_saved(run) - earlier), child)
                # the first at once, so that one is sure to hit
                time.sleep(0 if hits == 1 else moments.uniform(0, 0.05))
            else:
                wanted = min(lines(run) + moments.randint(0, 3), steps)
                reached = wait_for(lambda wanted=wanted: lines(run) >= wanted, child)
                # anywhere in the start, in a step, or in a save
                time.sleep(moments.choice([moments.uniform(0, 0.02), moments.uniform(0, 1.0)]))
            alive = child.is_alive()
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            saving = bool(half_saved(run) - earlier)
        if not (reached and alive):
            # it was done before the moment came: begin a new one, so that all kills take place
            assert_same_run(run, whole, experiment)
            shutil.rmtree(run)
            continue
        hits += 1
        in_a_save += saving
    finish(start(experiment, run), run)
    assert_same_run(run, whole, experiment)
    return in_a_save


def test_a_run_killed_twice_is_bit_equal(start: Callable[..., Any], tmp_path: Path) -> None:
    experiment = tiny.experiment(**tiny.write_data(tmp_path), steps=10, checkpoint_every=3)
    assert kill_and_resume(start, tmp_path, experiment, kills=2, seed=0) >= 1


@pytest.mark.slow
def test_a_run_killed_at_20_moments_is_bit_equal(start: Callable[..., Any], tmp_path: Path) -> None:
    data = tiny.write_data(tmp_path, DOMAINS)
    experiment = tiny.experiment_nk(**data, steps=60, checkpoint_every=3, validate_every=30)
    assert kill_and_resume(start, tmp_path, experiment, kills=20, seed=1) >= 5


@pytest.mark.slow
def test_a_run_goes_on_on_other_devices(start: Callable[..., Any], tmp_path: Path) -> None:
    data = tiny.write_data(tmp_path, DOMAINS)
    experiment = tiny.experiment_nk(**data, steps=12, checkpoint_every=6, sharding=ShardingConfig(data=8))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(start(experiment, whole, devices=8), whole)
    child = start(experiment, broken, devices=8)
    assert wait_for(lambda: (broken / "checkpoints" / "6").is_dir(), child)
    child.kill()
    child.join()
    for devices, sharding in ((8, ShardingConfig(data=8)), (8, ShardingConfig(data=4, fsdp=2)), (1, ShardingConfig())):
        run = tmp_path / f"{sharding.data}x{sharding.fsdp}_of_{devices}"
        shutil.copytree(broken, run)
        # whatever the kill left: the run goes on from step 6
        for step in (run / "checkpoints").iterdir():
            if step.name != "6":
                shutil.rmtree(step)
        finish(start(tiny.replace(experiment, sharding=sharding), run, devices=devices), run)
        # sums over the batch in another order; the same run in float32 differs by some 1e-7 a step
        np.testing.assert_allclose(losses(run), losses(whole), rtol=1e-5)
        assert len(losses(run)) == 12


@pytest.mark.slow
def test_two_processes_begin_with_the_encoder_of_a_run(start: Callable[..., Any], tmp_path: Path) -> None:
    before, run = tmp_path / "before", tmp_path / "run"
    experiment = tiny.experiment(**tiny.write_data(tmp_path), steps=1)
    finish(start(experiment, before), before)
    frozen = tiny.replace(experiment.optimizer, freeze=("encoder/.*",))
    begun = tiny.replace(experiment, init=str(before), init_part="encoder", optimizer=frozen)
    begun = tiny.replace(begun, sharding=ShardingConfig(fsdp=4))  # each matrix lies on both hosts
    address = f"localhost:{free_port()}"
    for child in [start(begun, run, 2, (address, 2, i)) for i in range(2)]:
        finish(child, run)
    ours, theirs = (read_params(folder, begun.model, 1, "ema")["encoder"] for folder in (run, before))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("told", [[0], [1], [0, 1]])
def test_two_processes_stop_at_one_step(start: Callable[..., Any], tmp_path: Path, told: list[int]) -> None:
    experiment = tiny.experiment_nk(**tiny.write_data(tmp_path, DOMAINS), steps=100_000, checkpoint_every=100_000)
    run = tmp_path / "run"
    address = f"localhost:{free_port()}"
    children = [start(experiment, run, 2, (address, 2, i)) for i in range(2)]
    assert wait_for(lambda: lines(run) >= 5, children[0])
    for i in told:
        os.kill(children[i].pid, signal.SIGTERM)
    for child in children:
        finish(child, run, status=143)
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert int(checkpoint.name) == lines(run)
    stopped = [(tmp_path / f"run.{i}.log").read_text() for i in range(2)]
    assert all(f"SIGTERM after step {checkpoint.name}" in log for log in stopped)
    position = json.loads((checkpoint / "data" / "metadata").read_text())["position"]
    assert position == 8 * int(checkpoint.name)
