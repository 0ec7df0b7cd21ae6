"""What the benchmarks share: workers that take turns, ratios of one interleaved run, and the record of a run."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parents[1] / "results"


class Worker:
    """A process that answers one JSON object a line with another; idle while the other one measures.

    Args:
        command: starts the process; it reads requests from standard input.
        environment: variables on top of this process's.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None):
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """One request and its answer.

        Raises:
            RuntimeError: the process ended or reported an error.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"operation": operation, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker {self.process.args!r} ended at {operation} with {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process and waits for it, so that its memory and cores are free."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(operations: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """The other end of `Worker`: answers until standard input ends; whatever else is printed goes to standard error.

    Every worker also answers `reset_peak` and `peak`.
    """
    operations = operations | {"reset_peak": reset_peak, "peak": peak}
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        answer = operations[request.pop("operation")](**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def reset_peak() -> dict[str, Any]:
    """Forgets the peak of this process's resident memory so far; a device's cannot be forgotten."""
    Path("/proc/self/clear_refs").write_text("5")
    return {}


def peak() -> dict[str, Any]:
    """Peak of resident memory since `reset_peak`, or of the first device's, in bytes."""
    of_device = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in of_device:
        return {"bytes": of_device["peak_bytes_in_use"]}
    lines = Path("/proc/self/status").read_text().splitlines()
    return {"bytes": next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))}


def peaks_alone(commands: Sequence[Sequence[str]], operation: str, **arguments: Any) -> dict[str, Any]:
    """Memory that the second run of an operation takes in a process of its own: ours, then theirs, and the ratio."""
    peaks = []
    for command in commands:
        worker = Worker(command)
        worker.ask(operation, **arguments)
        worker.ask("reset_peak")
        worker.ask(operation, **arguments)
        peaks.append(worker.ask("peak")["bytes"])
        worker.close()
    return {"ours": peaks[0], "theirs": peaks[1], "ratio": round(peaks[0] / peaks[1], 4)}


def take_turns(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> dict[str, Any]:
    """Seconds of both in turn, A B A B ..., and the median of the ratios pair by pair.

    A ratio of neighbours in time holds where the machine's speed drifts; single times do not.
    """
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    ratios = [a / b for a, b in pairs]
    return {
        "ours_s": [round(a, 4) for a, _ in pairs],
        "theirs_s": [round(b, 4) for _, b in pairs],
        "ratio": round(statistics.median(ratios), 4),
        "ratio_min": round(min(ratios), 4),
        "ratio_max": round(max(ratios), 4),
    }


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Writes experiments/results/NAME.json."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on the terminal."""
    table = Table(title=title)
    for i, column in enumerate(header):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)
