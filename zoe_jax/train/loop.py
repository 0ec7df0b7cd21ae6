"""Training as a straight line: data, mesh, state, restore; then step, log, validate, save until done or stopped."""

import contextlib
import json
import logging
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Int
from PIL import Image

from zoe_jax.convert.orbax_folder import BEST_METRIC
from zoe_jax.errors import ZoeJaxError
from zoe_jax.evaluate.metrics import mean_over_images
from zoe_jax.input.placement import local_rows, put_batch
from zoe_jax.input.run_data import open_data
from zoe_jax.input.source import Batch, DataSource, HostBatch, RunData
from zoe_jax.predict.images import eight_bits
from zoe_jax.train.checkpoint import RunCheckpoints
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.flops import count_flops, peak_flops_of_all
from zoe_jax.train.initial import initial_state, state_shapes
from zoe_jax.train.logs import RunLog, SpeedMeter
from zoe_jax.train.run_folder import open_run
from zoe_jax.train.sharding import Shardings, make_mesh, make_shardings
from zoe_jax.train.state import TrainState
from zoe_jax.train.step import StepReport, ValidationReport, make_eval_step, make_train_step
from zoe_jax.train.stopping import StopRequest
from zoe_jax.view import panel

log = logging.getLogger(__name__)


class NonFiniteError(ZoeJaxError):
    """Loss or gradient was not finite for too many steps in a row."""


@dataclass(frozen=True)
class Finished:
    """How a run ended."""

    state: TrainState
    step: int
    """Updates that were made, refused ones included."""
    stopped_by: signal.Signals | None = None
    """The signal that ended it before its last step, or before the validation after it."""


def train(
    experiment: Experiment,
    run: Path,
    data: RunData | None = None,
    *,
    allow_config_change: bool = False,
    progress: bool = True,
) -> Finished:
    """Trains to the last step of the experiment, from the newest checkpoint in the run's folder if there is one.

    Every host of a `jax.distributed` job calls it alike, with a folder that all of them see. Signals are caught, so it
    must be called from the main thread.

    Args:
        experiment: what to train.
        run: folder of the run, which need not exist.
        data: the data; by default what `experiment.data` names.
        allow_config_change: go on although the run has another configuration.
        progress: show a bar where there is a terminal.

    Raises:
        ConfigError: the experiment contradicts itself, or the run that is in the folder.
        DataError: the data is missing, or does not fit the model.
        CheckpointError: a checkpoint cannot be written or read, for instance because the disk is full.
        NonFiniteError: `max_nonfinite_in_a_row` was reached.
    """
    data = data or open_data(experiment.data, experiment.model, experiment.seed)
    total_steps = experiment.total_steps(data.train.n_examples)
    shapes = state_shapes(experiment)
    shardings = make_shardings(experiment.sharding, make_mesh(experiment.sharding), shapes)
    rows = local_rows(shardings.batch, experiment.batch_size)
    train_step = make_train_step(experiment.model, experiment.objective, experiment.optimizer, total_steps, shardings)
    validate = _validation(experiment, shardings, rows, data.validation)
    validate_every = experiment.validate_every if data.validation is not None else 0
    init_rng, step_rng = jax.random.split(jax.random.key(experiment.seed))

    open_run(run, experiment, allow_config_change=allow_config_change)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest(shardings))
        checkpoints = stack.enter_context(RunCheckpoints(run, experiment.keep_latest, experiment.keep_best))
        restored = checkpoints.restore(shapes, shardings.state)
        if restored is None:
            state, step, position = initial_state(experiment, init_rng, shardings), 0, 0
        else:
            state, step = restored.state, restored.step
            # a batch of another size than before begins where one of this size would
            position = -(-restored.position // experiment.batch_size) * experiment.batch_size
            log.info("%s goes on after step %d", run, step)
        # one that a signal left no time for
        validation_due = (
            restored is not None and restored.abs_rel is None and _is_due(validate_every, step, total_steps)
        )

        writing = jax.process_index() == 0
        logs = stack.enter_context(
            RunLog(run, step, total_steps, validated=not validation_due, writing=writing, progress=progress)
        )
        host_batches = data.train.training_batches(position, experiment.batch_size, rows)
        batches = stack.enter_context(_on_devices(host_batches, shardings))
        reports = _Reports(logs, run, experiment.max_nonfinite_in_a_row, int(state.nonfinite_in_a_row))
        meter = SpeedMeter(experiment.batch_size, peak_flops_of_all())
        stopped_by = 0
        if validation_due:
            abs_rel, validation_due = validate(step, state, logs), False
            logs.flush()
            checkpoints.add_abs_rel(step, abs_rel)

        while step < total_steps and not stopped_by:
            with meter.waiting_for_input():
                batch, arrays = next(batches)
            state, report = train_step(state, arrays, step_rng)
            step, position = step + 1, position + experiment.batch_size
            reports.add(step, batch.ids, report)
            if meter.step_flops is None:
                meter.step_flops = count_flops(train_step, state, arrays, step_rng)
                meter.restart()
            if step % experiment.log_every == 0:
                reports.settle()  # without it the steps would only have been dispatched
                logs.speed(step, meter.read())

            stopped_by = stop.agreed()
            validation_due, abs_rel = _is_due(validate_every, step, total_steps), None
            if stopped_by or validation_due or _is_due(experiment.checkpoint_every, step, total_steps):
                reports.settle()
                if validation_due and not stopped_by:
                    abs_rel, validation_due = validate(step, state, logs), False
                logs.flush()
                checkpoints.save(step, state, position, abs_rel)
                meter.restart()
        early = step < total_steps or validation_due
        return Finished(state, step, signal.Signals(stopped_by) if stopped_by and early else None)


def _is_due(every: int, step: int, last: int) -> bool:
    """Whether it is time for what is done every so many steps and after the last; 0 is never."""
    return every > 0 and (step == last or step % every == 0)


def _validation(
    experiment: Experiment, shardings: Shardings, rows: Int[np.ndarray, "n"], source: DataSource | None
) -> Callable[[int, TrainState, RunLog], float]:
    """A function that validates the average of the parameters, or else the parameters, and returns abs_rel."""
    eval_step = make_eval_step(experiment.model, experiment.objective, experiment.validation, shardings)

    def validate(step: int, state: TrainState, logs: RunLog) -> float:
        assert source is not None  # for the type checker
        params = state.params if state.ema is None else state.ema
        sums = []
        with _on_devices(source.validation_batches(experiment.batch_size, rows), shardings) as batches:
            for batch, arrays in batches:
                report = eval_step(params, arrays)
                if not sums:
                    _log_panels(logs, step, batch, report, experiment.image_panels)
                sums.append(report.sums)
        total = jax.tree.map(lambda *parts: jnp.asarray(sum(np.asarray(part) for part in parts)), *sums)
        metrics = {name: float(value) for name, value in mean_over_images(total)._asdict().items()}
        logs.validation(step, metrics)
        if total.empty_images:
            log.warning("%d validation images have no valid pixel and do not count", total.empty_images)
        return metrics[BEST_METRIC]

    return validate


def _log_panels(logs: RunLog, step: int, batch: HostBatch, report: ValidationReport, most: int) -> None:
    """The first validation images of this host beside their depth."""
    shards = {shard.index[0].start or 0: shard.data for shard in report.metric_depth.addressable_shards}
    depth_m = np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])
    for i in range(min(most, int(np.sum(batch.arrays["example_mask"])))):
        image = eight_bits(np.asarray(batch.arrays["image"][i]))
        height, width = depth_m[i].shape
        image = np.asarray(Image.fromarray(image).resize((width, height)))
        logs.picture(step, f"validation/{i}", panel(image, depth_m[i]))


class _Reports:
    """What steps reported, read one step later, so that the host never waits for the step it has just dispatched."""

    def __init__(self, logs: RunLog, run: Path, max_nonfinite: int, nonfinite: int) -> None:
        self._logs, self._run, self._max = logs, run, max_nonfinite
        self._nonfinite = nonfinite
        self._refused: list[dict[str, Any]] = []
        self._pending: tuple[int, tuple[str, ...], StepReport] | None = None

    def add(self, step: int, ids: tuple[str, ...], report: StepReport) -> None:
        """Writes down the step before."""
        self.settle()
        self._pending = (step, ids, report)

    def settle(self) -> None:
        """Waits for the last step, and writes it down.

        Raises:
            NonFiniteError: it was one too many without a finite loss and gradient.
        """
        if self._pending is None:
            return
        (step, ids, report), self._pending = self._pending, None
        values = _numbers(report)
        self._logs.step(step, values)
        if values["accepted"]:
            self._nonfinite = 0
            self._refused.clear()
            return
        self._nonfinite += 1
        log.warning("step %d is refused: loss %s, gradient norm %s", step, values["loss"], values["grad_norm"])
        self._refused.append({"step": step, "ids": ids, "loss": str(values["loss"]), "losses": str(values["losses"])})
        if self._nonfinite >= self._max:
            self._give_up(step)

    def _give_up(self, step: int) -> None:
        file = self._run / f"nonfinite_step_{step}.json"
        refused = [record | {"ids": _of_all_hosts(record["ids"])} for record in self._refused]
        if jax.process_index() == 0:
            file.write_text(json.dumps({"step": step, "refused": refused}, indent=2) + "\n", encoding="utf-8")
        raise NonFiniteError(
            f"no finite loss or gradient in {self._nonfinite} steps in a row, up to step {step}: their examples are in "
            f"{file}; look at these, or lower the learning rate"
        )


def _numbers(report: StepReport) -> dict[str, Any]:
    return {
        "loss": float(report.loss),
        "losses": {name: float(loss) for name, loss in report.losses.items()},
        "grad_norm": float(report.grad_norm),
        "learning_rate": float(report.learning_rate),
        "beta1": float(report.beta1),
        "accepted": bool(report.accepted),
        "routed": np.asarray(report.routed).tolist(),
    }


def _of_all_hosts(ids: tuple[str, ...]) -> list[str]:
    """The ids of every host's rows, host by host."""
    if jax.process_count() == 1:
        return list(ids)
    own = np.frombuffer("\n".join(ids).encode(), np.uint8)
    longest = int(np.max(multihost_utils.process_allgather(np.array(len(own)))))
    padded = multihost_utils.process_allgather(np.pad(own, (0, longest - len(own)), constant_values=ord("\n")))
    return [name for row in np.asarray(padded) for name in row.tobytes().decode().split("\n") if name]


@contextlib.contextmanager
def _on_devices(batches: Iterator[HostBatch], shardings: Shardings) -> Iterator[Iterator[tuple[HostBatch, Batch]]]:
    """The batches beside their global arrays, each fetched and sent in a thread while the one before is worked on."""

    def fetch() -> tuple[HostBatch, Batch] | None:
        batch = next(batches, None)
        return None if batch is None else (batch, put_batch(batch.arrays, shardings.batch))

    with ThreadPoolExecutor(1, thread_name_prefix="input") as thread:

        def ahead() -> Iterator[tuple[HostBatch, Batch]]:
            following = thread.submit(fetch)
            while (fetched := following.result()) is not None:
                following = thread.submit(fetch)
                yield fetched

        try:
            yield ahead()
        finally:
            # a generator ends its own processes and threads; in the thread, since it may be in the middle of a batch
            if close := getattr(batches, "close", None):
                thread.submit(close).result()
