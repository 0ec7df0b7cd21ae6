"""Checkpoints of a run: saved while it trains, the latest and the best kept, restored onto any mesh.

`RUN/checkpoints/<step>/` has the Orbax items `params`, `ema` (where there is an average), `opt_state` (moments, step
counters, counts of refused steps), `data` (the position) and, after a validation, `metrics`;
`zoe_jax.convert.orbax_folder` reads its parameters.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from zoe_jax.convert.checkpoint import Checkpoint
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.orbax_folder import BEST_METRIC, Item, Origin, choose_step, read_description, read_params
from zoe_jax.train.path_rules import paths
from zoe_jax.train.state import TrainState

log = logging.getLogger(__name__)

DISK_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
"""In the message of whatever Orbax's storage layer raises."""

METRICS_ITEM = "metrics"
"""Orbax's name for the item, and for the file in it."""

T = TypeVar("T")


class Restored(NamedTuple):
    """What a checkpoint gave back."""

    state: TrainState
    step: int
    position: int
    """Index of the next example in the global order of training."""
    abs_rel: float | None
    """Of the validation at this step, if there was one."""


class RunCheckpoints:
    """The checkpoints of one run; to be used as a context, which waits for the last save."""

    def __init__(self, run: Path, keep_latest: int = 1, keep_best: int = 1) -> None:
        """Opens, or makes, `RUN/checkpoints`.

        Args:
            run: the run's folder.
            keep_latest: how many of the last checkpoints are kept.
            keep_best: how many are kept for their abs_rel.

        Raises:
            CheckpointError: the folder cannot be made.
        """
        self._folder = (run / "checkpoints").absolute()
        self._orbax_log = logging.getLogger("absl")
        self._orbax_level = self._orbax_log.level
        policy = ocp.checkpoint_managers
        best = policy.BestN(get_metric_fn=_abs_rel, reverse=True, n=keep_best, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy.AnyPreservationPolicy([policy.LatestN(keep_latest), best]),
            best_fn=_abs_rel,
            best_mode="min",
            cleanup_tmp_directories=True,
        )
        with _clear_errors(self._folder, "cannot be opened"):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> "RunCheckpoints":
        # its threads report at length what is raised here anyhow, and warn of every checkpoint without a metric
        self._orbax_log.setLevel(logging.CRITICAL)
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: Any, traceback: Any) -> None:
        try:
            self.wait()
            self._manager.close()
        except CheckpointError:
            if error_type is None:
                raise
            log.exception("the last checkpoint could not be finished")
        finally:
            self._orbax_log.setLevel(self._orbax_level)

    def steps(self) -> list[int]:
        """Of all checkpoints that are whole, ascending."""
        self._manager.reload()
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: TrainState, position: int, abs_rel: float | None = None) -> None:
        """Copies the state and writes it while training goes on; first waits for the save before.

        Args:
            step: updates so far.
            state: what to save; it may be donated afterwards.
            position: where training goes on in the global order of examples.
            abs_rel: of the validation at this step, if there was one.

        Raises:
            CheckpointError: this save could not begin, or the one before could not be finished.
        """
        items: dict[str, Any] = {
            "params": ocp.args.StandardSave(state.params),
            "opt_state": ocp.args.StandardSave(_counters_and_moments(state)),
            "data": ocp.args.JsonSave({"position": position}),
        }
        if state.ema is not None:
            items["ema"] = ocp.args.StandardSave(state.ema)
        metrics = None if abs_rel is None else _metrics(abs_rel)
        with _clear_errors(self._folder, f"the checkpoint of step {step}, or the one before, cannot be written"):
            self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics, force=True)

    def add_abs_rel(self, step: int, abs_rel: float) -> None:
        """Adds the result of a validation to a checkpoint that was saved without it.

        Raises:
            CheckpointError: it cannot be written; the checkpoint is as it was before.
        """
        metrics = _metrics(abs_rel)
        if metrics is None:
            return
        # Orbax replaces a step only by deleting it first; an item of its own appears whole, and nothing is deleted
        item = self._folder / str(step) / METRICS_ITEM
        handler = ocp.JsonCheckpointHandler(filename=METRICS_ITEM)
        with _clear_errors(item, "cannot be written"), ocp.Checkpointer(handler) as checkpointer:
            checkpointer.save(item, args=ocp.args.JsonSave(metrics))
        self._manager.reload()

    def wait(self) -> None:
        """Until nothing is being written.

        Raises:
            CheckpointError: what was being written could not be finished.
        """
        with _clear_errors(self._folder, "the last checkpoint cannot be finished"):
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def restore(self, like: TrainState, shardings: TrainState) -> Restored | None:
        """The newest checkpoint that can be read, on the given mesh; None where there is none at all.

        Newer ones that cannot be read are reported and removed: training writes them anew.

        Args:
            like: a state, or its shapes.
            shardings: where its arrays are to lie.

        Raises:
            CheckpointError: there are checkpoints and none of them can be read.
        """
        steps = self.steps()
        damaged: list[int] = []
        for step in reversed(steps):
            restored = _on_every_host(lambda step=step: self._read(step, like, shardings))
            if isinstance(restored, Restored):
                for bad in damaged:
                    self._manager.delete(bad)
                return restored
            log.warning("the checkpoint of step %d is skipped: %s", step, restored)
            damaged.append(step)
        if steps:
            raise CheckpointError(
                f"has the checkpoints {steps}, and none can be read; see the warnings, or begin in another folder",
                file=self._folder.parent,
            )
        return None

    def _read(self, step: int, like: TrainState, shardings: TrainState) -> Restored:
        def target(tree: PyTree, where: PyTree) -> Any:
            return ocp.args.StandardRestore(
                jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, where)
            )

        items: dict[str, Any] = {
            "params": target(like.params, shardings.params),
            "opt_state": target(_counters_and_moments(like), _counters_and_moments(shardings)),
            "data": ocp.args.JsonRestore(),
        }
        if like.ema is not None:
            items["ema"] = target(like.ema, shardings.ema)
        found = self._manager.restore(step, args=ocp.args.Composite(**items))
        state = _with_counters_and_moments(like, found["opt_state"])._replace(
            params=found["params"], ema=None if like.ema is None else found["ema"]
        )
        metrics = self._manager.metrics(step) or {}
        return Restored(state, step, found["data"]["position"], metrics.get(BEST_METRIC))


def read_run(run: Path, item: Item | None = None, step: int | None = None) -> Checkpoint:
    """The parameters of a run, or their moving average, without anything that only training needs.

    Args:
        run: the run's folder.
        item: which of the two; by default the average where the run keeps one.
        step: by default the best by validation, else the latest.

    Raises:
        CheckpointError: there is no such checkpoint or item.
    """
    config, _ = read_description(run)
    step = choose_step(run, step)
    return Checkpoint(config, read_params(run, config, step, item), unused={}, origin=Origin())


def _counters_and_moments(state: TrainState) -> dict[str, Any]:
    """All of a state but parameters and average, as nested dictionaries; what is None has no entry."""
    rest = state._replace(params=None, ema=None)
    return unflatten_dict(dict(zip(paths(rest), jax.tree.leaves(rest), strict=True)), sep="/")


def _with_counters_and_moments(like: TrainState, tree: dict[str, Any]) -> TrainState:
    rest = like._replace(params=None, ema=None)
    leaves = flatten_dict(tree, sep="/")
    return jax.tree.unflatten(jax.tree.structure(rest), [leaves[path] for path in paths(rest)])


def _metrics(abs_rel: float) -> dict[str, float] | None:
    """What Orbax keeps the best by; nothing where abs_rel is not finite, which is worse than any number."""
    return {BEST_METRIC: abs_rel} if np.isfinite(abs_rel) else None


def _abs_rel(metrics: dict[str, float]) -> float:
    return metrics[BEST_METRIC]


def _on_every_host(read: Callable[[], T]) -> T | str:
    """The result where every host has one, else on every host what went wrong."""
    try:
        result: Any = read()
        failure = ""
    except Exception as error:  # Orbax raises whatever its storage layer raised
        result, failure = None, _first_line(error)
    if jax.process_count() == 1:
        return failure or result
    failed = np.asarray(multihost_utils.process_allgather(np.asarray(bool(failure))))
    if not failed.any():
        return result
    return failure or f"host {int(failed.argmax())} cannot read it"


@contextmanager
def _clear_errors(place: Path, problem: str) -> Iterator[None]:
    """Turns whatever Orbax and its storage layer raise for want of space or rights into one sentence."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        text = f"{error} {error.__cause__ or ''}"
        if any(sign in text for sign in DISK_FULL):
            raise CheckpointError(
                f"{problem}: the disk is full; earlier checkpoints are intact, and the run goes on from the last of "
                "them when there is space",
                file=place,
            ) from error
        if isinstance(error, OSError):
            raise CheckpointError(f"{problem}: {error.strerror or error}", file=place) from error
        raise


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
