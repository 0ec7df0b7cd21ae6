"""What a run writes down: each step exactly once over any number of restarts, pictures, speed, and a progress bar.

`RUN/metrics.jsonl` has one line a step and `RUN/validation.jsonl` one a validation: pure results, so that a run that
was killed and resumed leaves the very bytes of one that was not. How fast it went stands in `RUN/speed.jsonl`.
`RUN/tensorboard/` has all of it as scalars, and image panels.
"""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from zoe_jax.errors import ZoeJaxError

log = logging.getLogger(__name__)


class LogError(ZoeJaxError):
    """A run's log cannot be written, or is not the log of this run."""


def keep_until(path: Path, step: int, *, contiguous: bool = False) -> None:
    """Cuts a log of lines `{"step": ...}` after those of the steps up to `step`; a torn last line goes too.

    Args:
        path: the log; it need not exist.
        step: the last step whose line stays.
        contiguous: every step from 1 to `step` must have its line.

    Raises:
        LogError: a line in the middle is damaged, or a step has no line or several.
    """
    if not path.exists():
        path.touch()
    end, steps = 0, []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                line_step = int(json.loads(line)["step"])
            except (ValueError, KeyError, TypeError) as error:
                raise LogError(f"{path}: line {number} is no record of a step; mend or move the file") from error
            if line_step > step:
                break
            end += len(line)
            steps.append(line_step)
    if contiguous and steps != list(range(1, step + 1)):
        raise LogError(f"{path}: should have one line for each of the steps 1 to {step}, and does not; move the file")
    os.truncate(path, end)


class RunLog:
    """The logs of one run, on the host that writes them; the others have one that does nothing."""

    def __init__(
        self,
        run: Path,
        step: int,
        total_steps: int,
        *,
        validated: bool = True,
        writing: bool = True,
        progress: bool = True,
    ) -> None:
        """Opens the logs of a run that goes on after `step`, and takes out what was written of later steps.

        Args:
            run: the run's folder.
            step: the last step that counts as done.
            total_steps: length of the run.
            validated: False where the validation after `step` does not count as done.
            writing: False on all hosts but one.
            progress: show a bar where there is a terminal.

        Raises:
            LogError: the logs are not those of this run, or cannot be written.
        """
        self._writing = writing
        if not writing:
            return
        with _clear_errors(run):
            run.mkdir(parents=True, exist_ok=True)
            keep_until(run / "metrics.jsonl", step, contiguous=True)
            keep_until(run / "validation.jsonl", step if validated else step - 1)
            self._metrics, self._validation, self._speed = (
                (run / f"{name}.jsonl").open("a", buffering=1, encoding="utf-8")
                for name in ("metrics", "validation", "speed")
            )
            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
            console=console,
            disable=not (progress and console.is_terminal),
        )
        self._task = self._bar.add_task("step", total=total_steps, completed=step, shown="")
        self._bar.start()

    def step(self, step: int, values: Mapping[str, Any]) -> None:
        """The line of a step: numbers, lists, and dictionaries of them."""
        if not self._writing:
            return
        self._write(self._metrics, step, values)
        self._scalars("train", step, values)
        self._bar.update(self._task, completed=step, shown=f"loss {values['loss']:.4g}")

    def validation(self, step: int, values: Mapping[str, Any]) -> None:
        """The means over the validation images after a step."""
        if not self._writing:
            return
        self._write(self._validation, step, values)
        self._scalars("validation", step, values)
        log.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def speed(self, step: int, values: Mapping[str, float]) -> None:
        """What was measured over the steps before."""
        if not self._writing:
            return
        self._write(self._speed, step, values)
        self._scalars("speed", step, values)

    def picture(self, step: int, name: str, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """An image for TensorBoard."""
        if self._writing:
            self._board.add_image(name, picture, step, dataformats="HWC")

    def flush(self) -> None:
        """Brings everything so far to the disk, so that a checkpoint saved next never knows more than the logs."""
        if not self._writing:
            return
        with _clear_errors(Path(self._metrics.name)):
            for file in (self._metrics, self._validation, self._speed):
                file.flush()
                os.fsync(file.fileno())
        self._board.flush()

    def close(self) -> None:
        """Flushes and closes."""
        if not self._writing:
            return
        self._bar.stop()
        with _clear_errors(Path(self._metrics.name)):
            for file in (self._metrics, self._validation, self._speed):
                file.close()
        self._board.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> None:
        try:
            self.close()
        except LogError:
            if kind is None:
                raise
            log.exception("the logs could not be closed")

    def _write(self, file: TextIO, step: int, values: Mapping[str, Any]) -> None:
        with _clear_errors(Path(file.name)):
            # JSON has no nan; null is what every reader understands
            file.write(json.dumps({"step": step, **_finite(values)}, allow_nan=False) + "\n")

    def _scalars(self, group: str, step: int, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, Mapping):
                self._scalars(f"{group}/{name}", step, value)
            elif isinstance(value, int | float):
                self._board.add_scalar(f"{group}/{name}", float(value), step)


class SpeedMeter:
    """Examples a second, share of the peak in floating-point operations, share of the time spent waiting for input."""

    def __init__(self, batch_size: int, peak_flops: float) -> None:
        """Starts the clock.

        Args:
            batch_size: examples in a step, over all hosts.
            peak_flops: floating-point operations a second that all devices together could do.
        """
        self._batch_size, self._peak_flops = batch_size, peak_flops
        self.step_flops: float | None = None
        """Of one step, over all devices; to be set when it is known."""
        self.restart()

    def restart(self) -> None:
        """Begins a new measurement; what happened since the last one (compiling, validating) is not counted."""
        self._start, self._steps, self._waited_s = time.perf_counter(), 0, 0.0

    @contextmanager
    def waiting_for_input(self) -> Iterator[None]:
        """Around what fetches the batch of a step."""
        start = time.perf_counter()
        yield
        self._waited_s += time.perf_counter() - start
        self._steps += 1

    def read(self) -> dict[str, float]:
        """The measurement since the last `restart`, after which a new one begins; empty where there was no step."""
        elapsed_s = time.perf_counter() - self._start
        if not self._steps:
            return {}
        rate = self._steps / elapsed_s
        measured = {"examples_per_s": rate * self._batch_size, "input_wait_share": self._waited_s / elapsed_s}
        if self.step_flops is not None:
            measured["flop_utilisation"] = rate * self.step_flops / self._peak_flops
        self.restart()
        return measured


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


@contextmanager
def _clear_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LogError(f"{place}: cannot be written: {error.strerror or error}; the checkpoints are intact") from error
