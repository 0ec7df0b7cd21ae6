"""The loop in this process, on a tiny model: what a run leaves, how it goes on, stops, gives up, and begins."""

import functools
import itertools
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoe_jax
from tests.input import tiny_data
from tests.input.in_memory_source import InMemorySource
from tests.same import assert_same_tree
from tests.train import tiny
from tests.train.tiny import records
from zoe_jax.cli import ExportParams
from zoe_jax.config import ConfigError
from zoe_jax.convert.checkpoint import read_checkpoint
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.orbax_folder import choose_step
from zoe_jax.input.config import AugmentConfig, DataConfig, DatasetConfig
from zoe_jax.input.pipeline import Pipeline
from zoe_jax.input.placement import put
from zoe_jax.input.source import HostBatch, RunData
from zoe_jax.train import initial, loop
from zoe_jax.train.checkpoint import read_run
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.logs import RunLog
from zoe_jax.train.loop import Finished, NonFiniteError, train
from zoe_jax.train.sharding import Shardings, make_mesh, make_shardings
from zoe_jax.train.state import TrainState

EXPERIMENT = tiny.experiment_nk(validate_every=6, checkpoint_every=4)
DOMAINS = ("nyu", "kitti")


@pytest.fixture(scope="module", autouse=True)
def compile_once() -> Iterator[None]:
    """Each call of `train` traces and compiles anew; here those that are alike share what came of it."""
    made: dict[Any, Any] = {}

    def once(make: Any, *arguments: Any) -> Any:
        key = (make, arguments[:-1])  # all but the shardings, which are always those of one device
        if key not in made:
            made[key] = make(*arguments)
        return made[key]

    def initial_state(experiment: Experiment, rng: jax.Array, shardings: Shardings) -> TrainState:
        key = (experiment, int(jax.random.key_data(rng)[1]))
        if key not in made:
            made[key] = jax.device_get(initial.initial_state(experiment, rng, shardings))
        return put(made[key], shardings.state)  # a copy, which the first step may take

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_train_step", functools.partial(once, loop.make_train_step))
        patch.setattr(loop, "make_eval_step", functools.partial(once, loop.make_eval_step))
        patch.setattr(loop, "state_shapes", functools.cache(loop.state_shapes))
        patch.setattr(loop, "initial_state", initial_state)
        patch.setattr(initial, "init", tiny.cheap_init)
        yield


class Interrupting(InMemorySource):
    """Calls `interrupt` when the batch of a step is asked for."""

    def __init__(self, *arguments: Any, step: int = 0, interrupt: Any = None) -> None:
        super().__init__(*arguments)
        self._step, self._interrupt = step, interrupt

    def training_batches(self, position: int, batch_size: int, rows: Any) -> Iterator[HostBatch]:
        for step in itertools.count(position // batch_size + 1):
            if step == self._step:
                self._interrupt()
            yield next(super().training_batches((step - 1) * batch_size, batch_size, rows))


class Poisoned(Interrupting):
    """Its depths are valid and not a number, which no data set can have."""

    def training_batches(self, position: int, batch_size: int, rows: Any) -> Iterator[HostBatch]:
        for batch in super().training_batches(position, batch_size, rows):
            np.asarray(batch.arrays["depth_m"]).fill(np.nan)
            yield batch


class PowerCutError(Exception):
    """What takes a run down in these tests."""


def cut_power() -> None:
    raise PowerCutError


def parts() -> Any:
    return [tiny.arrays(tiny.N_TRAIN, 0, DOMAINS)], tiny.MODEL_NK, EXPERIMENT.seed


def data(train_source: InMemorySource | None = None) -> RunData:
    validation = InMemorySource([tiny.arrays(tiny.N_VALIDATION, 1, DOMAINS)], tiny.MODEL_NK)
    return RunData(train_source or InMemorySource(*parts()), validation)


def run_through(run: Path, experiment: Experiment = EXPERIMENT, source: InMemorySource | None = None) -> Finished:
    return train(experiment, run, data(source), progress=False)


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A run from the first to the last step; not to be written to."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    return run, run_through(run)


def test_what_a_run_leaves(whole: tuple[Path, Finished]) -> None:
    run, finished = whole
    assert (finished.step, finished.stopped_by) == (12, None)
    steps = records(run / "metrics.jsonl")
    assert [record["step"] for record in steps] == list(range(1, 13))
    assert set(steps[0]) == {"step", "loss", "losses", "grad_norm", "learning_rate", "beta1", "accepted", "routed"}
    # what the schedule says of the first and the last of 12 steps
    assert [steps[0]["beta1"], steps[0]["learning_rate"]] == pytest.approx([0.95, 1e-3], rel=1e-6)
    assert [steps[-1]["beta1"], steps[-1]["learning_rate"]] == pytest.approx([0.95, 1e-7], rel=1e-6)
    validations = records(run / "validation.jsonl")
    assert [record["step"] for record in validations] == [6, 12]
    assert 0 < validations[-1]["abs_rel"] < 10
    best = min(validations, key=lambda record: record["abs_rel"])["step"]
    assert checkpoints(run) == sorted({str(best), "12"})
    description = json.loads((run / "config.json").read_text())
    assert (description["version"], description["experiment"]["batch_size"]) == (1, 8)
    (board,) = (run / "tensorboard").iterdir()
    for tag in (b"train/losses/router", b"validation/abs_rel", b"validation/0", b"validation/3"):
        assert tag in board.read_bytes()


@pytest.mark.slow
def test_a_run_learns(tmp_path: Path) -> None:
    one_domain = replace(
        tiny.experiment(), steps=40, optimizer=replace(tiny.experiment().optimizer, learning_rate=1e-2)
    )
    source = InMemorySource([tiny.arrays(tiny.N_TRAIN, 0)], tiny.MODEL)
    train(one_domain, tmp_path / "run", RunData(source), progress=False)
    losses = [record["loss"] for record in records(tmp_path / "run" / "metrics.jsonl")]
    # 5 batches each; noise between batches is about 2 %
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.parametrize("step", [3, 11])
def test_a_broken_run_goes_on_bit_for_bit(whole: tuple[Path, Finished], tmp_path: Path, step: int) -> None:
    run, finished = whole
    with pytest.raises(PowerCutError):
        run_through(tmp_path / "run", source=Interrupting(*parts(), step=step, interrupt=cut_power))
    resumed = run_through(tmp_path / "run")
    assert_same_tree(resumed.state, finished.state)
    for name in ("metrics.jsonl", "validation.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()
    assert checkpoints(tmp_path / "run") == checkpoints(run)


def test_a_run_from_disk_goes_on_bit_for_bit_with_other_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_data.prepare(tmp_path, "png", "roads")
    augment = AugmentConfig(max_rotation_degrees=5.0, flip_probability=0.5, colour_probability=0.5)
    sets = [DatasetConfig(f"zoe_tiny/{name}", size=(32, 32), augment=augment) for name in ("png", "roads")]
    validation = DatasetConfig("zoe_tiny/roads", "validation", size=(32, 32))
    experiment = replace(
        EXPERIMENT, data=DataConfig(tuple(sets), (validation,), str(tmp_path), mixing="mix"), log_every=5
    )
    whole = train(experiment, tmp_path / "whole", progress=False)

    batches = Pipeline.training_batches
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "training_batches", lambda *arguments: until(6, batches(*arguments)))
        with pytest.raises(PowerCutError):
            train(experiment, tmp_path / "run", progress=False)
    assert checkpoints(tmp_path / "run") == ["4"]  # in the middle of an epoch
    other_workers = replace(experiment, data=replace(experiment.data, workers=1))
    resumed = train(other_workers, tmp_path / "run", progress=False)

    assert_same_tree(resumed.state, whole.state)
    for name in ("metrics.jsonl", "validation.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len({record["loss"] for record in records(tmp_path / "whole" / "metrics.jsonl")}) == 12
    speed = records(tmp_path / "whole" / "speed.jsonl")
    assert [record["step"] for record in speed] == [5, 10]
    assert all(0 <= record["input_wait_share"] < 1 for record in speed)


def until(step: int, batches: Iterator[HostBatch]) -> Iterator[HostBatch]:
    """The batches before that of a step."""
    yield from itertools.islice(batches, step - 1)
    cut_power()


def test_a_finished_run_is_left_alone(whole: tuple[Path, Finished]) -> None:
    run, finished = whole
    before = (run / "metrics.jsonl").read_bytes()
    again = run_through(run)
    assert again.step == 12
    assert_same_tree(again.state, finished.state)
    assert (run / "metrics.jsonl").read_bytes() == before


def run_until_sigterm(run: Path, step: int) -> Finished:
    class Signalling(RunLog):
        def step(self, number: int, values: Any) -> None:
            super().step(number, values)
            if number == step - 1:  # written down while the next step runs
                os.kill(os.getpid(), signal.SIGTERM)

    default = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "RunLog", Signalling)
        stopped = run_through(run)
    assert signal.getsignal(signal.SIGTERM) is default
    return stopped


@pytest.mark.parametrize("step", [3, 6])
def test_a_signal_stops_after_the_step_and_the_run_goes_on(
    whole: tuple[Path, Finished], tmp_path: Path, step: int
) -> None:
    run, finished = whole
    stopped = run_until_sigterm(tmp_path / "run", step)
    assert (stopped.stopped_by, stopped.step) == (signal.SIGTERM, step)
    assert checkpoints(tmp_path / "run") == [str(step)]
    # no time for the validation that was due after step 6: it is made up for
    assert records(tmp_path / "run" / "validation.jsonl") == []
    resumed = run_through(tmp_path / "run")
    assert_same_tree(resumed.state, finished.state)
    for name in ("metrics.jsonl", "validation.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()


def test_a_validation_that_a_signal_prevented_is_made_up_for_once(
    whole: tuple[Path, Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run_until_sigterm(run, 6)
    with pytest.raises(PowerCutError):
        run_through(run, source=Interrupting(*parts(), step=7, interrupt=cut_power))
    assert [record["step"] for record in records(run / "validation.jsonl")] == [6]
    stopped = run_until_sigterm(run, 12)
    assert (stopped.stopped_by, stopped.step) == (signal.SIGTERM, 12)
    assert [record["step"] for record in records(run / "validation.jsonl")] == [6]

    assert run_through(run).stopped_by is None
    monkeypatch.setattr(RunLog, "validation", None)  # not called any more
    run_through(run)
    assert (run / "validation.jsonl").read_bytes() == (whole[0] / "validation.jsonl").read_bytes()
    assert choose_step(run) == choose_step(whole[0])


def test_a_batch_of_another_size_begins_where_one_of_this_size_would(
    whole: tuple[Path, Finished], tmp_path: Path
) -> None:
    asked = []

    class Asked(InMemorySource):
        def training_batches(self, position: int, batch_size: int, rows: Any) -> Iterator[HostBatch]:
            asked.append((position, batch_size))
            cut_power()
            yield from ()

    run = shutil.copytree(whole[0], tmp_path / "run")
    for batch_size in (8, 10):
        longer = replace(EXPERIMENT, batch_size=batch_size, steps=20)
        with pytest.raises(PowerCutError):
            train(longer, run, data(Asked(*parts())), allow_config_change=True, progress=False)
    assert asked == [(12 * 8, 8), (10 * 10, 10)]


def test_another_configuration_is_refused_unless_told(whole: tuple[Path, Finished], tmp_path: Path) -> None:
    run, _ = whole
    other = replace(EXPERIMENT, seed=6, optimizer=replace(EXPERIMENT.optimizer, learning_rate=0.5))
    before = (run / "config.json").read_bytes()
    with pytest.raises(ConfigError, match=r"optimizer.learning_rate: 0.001 -> 0.5; seed: 5 -> 6") as refusal:
        run_through(run, other)
    assert "--allow-config-change" in str(refusal.value)
    assert (run / "config.json").read_bytes() == before


def test_a_change_of_configuration_that_was_allowed(whole: tuple[Path, Finished], tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(PowerCutError):
        run_through(run, source=Interrupting(*parts(), step=9, interrupt=cut_power))
    other = replace(EXPERIMENT, seed=6)
    finished = train(other, run, data(), allow_config_change=True, progress=False)
    assert finished.step == 12
    ours, theirs = (records(folder / "metrics.jsonl") for folder in (run, whole[0]))
    assert ours[:8] == theirs[:8]
    # other random numbers drop other units of the router
    assert ours[8]["loss"] != theirs[8]["loss"]
    assert json.loads((run / "config.json").read_text())["experiment"]["seed"] == 6


@pytest.mark.parametrize(
    "content", ["", "{}", '{"version": 7, "experiment": {}}', '{"version": 1, "experiment": {"x": 1}}']
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        run_through(tmp_path)
    assert (tmp_path / "config.json").read_text() == content


def test_too_many_steps_without_a_finite_loss_end_the_run(tmp_path: Path) -> None:
    source = Poisoned(*parts())
    run = tmp_path / "run"
    with pytest.raises(NonFiniteError, match="in 3 steps in a row, up to step 3"):
        run_through(run, replace(EXPERIMENT, max_nonfinite_in_a_row=3), source)
    told = json.loads((run / "nonfinite_step_3.json").read_text())
    assert [record["step"] for record in told["refused"]] == [1, 2, 3]
    batches = source.training_batches(0, 8, np.arange(8))
    assert [record["ids"] for record in told["refused"]] == [list(next(batches).ids) for _ in range(3)]
    assert [record["accepted"] for record in records(run / "metrics.jsonl")] == [False] * 3
    assert records(run / "metrics.jsonl")[0]["loss"] is None


def test_steps_without_a_finite_loss_are_counted_over_a_restart(tmp_path: Path) -> None:
    experiment = replace(EXPERIMENT, max_nonfinite_in_a_row=6)
    with pytest.raises(PowerCutError):
        run_through(tmp_path / "run", experiment, Poisoned(*parts(), step=6, interrupt=cut_power))
    with pytest.raises(NonFiniteError, match="in 6 steps in a row, up to step 6"):
        run_through(tmp_path / "run", experiment, Poisoned(*parts()))


def test_a_run_is_a_checkpoint(whole: tuple[Path, Finished], tmp_path: Path) -> None:
    run, finished = whole
    model = zoe_jax.load(run, step=12)
    assert model.config == tiny.MODEL_NK
    assert_same_tree(model.params, finished.state.ema)  # what validation measured
    assert_same_tree(read_run(run, "params", 12).params, finished.state.params)
    assert ExportParams(run, tmp_path / "average", step=12).run() == 0
    exported = read_checkpoint(tmp_path / "average")
    assert_same_tree(exported.params, finished.state.ema)
    size = {folder: sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) for folder in (tmp_path, run)}
    assert size[tmp_path] < size[run] / 2
    with pytest.raises(CheckpointError, match="has no checkpoint of step 5"):
        ExportParams(run, tmp_path / "other", step=5).run()


def test_an_export_for_the_original(whole: tuple[Path, Finished], tmp_path: Path) -> None:
    run, finished = whole
    assert ExportParams(run, tmp_path / "model.pt", item="params", step=12).run() == 0
    from zoe_jax.convert.checkpoint import read_tensor_file
    from zoe_jax.convert.families.official import OFFICIAL
    from zoe_jax.convert.tensors import to_params

    params, _ = to_params(read_tensor_file(tmp_path / "model.pt").tensors, OFFICIAL, tiny.MODEL_NK, "model.pt")
    assert_same_tree(params, jax.tree.map(jnp.asarray, finished.state.params))


def equal_parts(a: Any, b: Any) -> set[str]:
    """The parts of a model in which two parameter trees are the same."""
    return {
        name
        for name in a
        if all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a[name]), jax.tree.leaves(b[name]), strict=True))
    }


def test_a_run_begins_with_part_of_another(whole: tuple[Path, Finished]) -> None:
    run, _ = whole
    begun = replace(EXPERIMENT, init=str(run), init_part="encoder")
    shardings = make_shardings(begun.sharding, make_mesh(begun.sharding), loop.state_shapes(EXPERIMENT))
    state = initial.initial_state(begun, jax.random.key(77), shardings)
    assert equal_parts(state.params, read_checkpoint(run).params) == {"encoder"}
    assert_same_tree(state.ema, state.params)
    assert not any(np.any(moment) for moment in jax.tree.leaves(state.opt_state))
