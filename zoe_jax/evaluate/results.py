"""What an evaluation found out: image by image, data set by data set, and as files that others read.

`images/*.jsonl` grows while an evaluation runs, a line an image, and is what an interrupted one goes on from;
`results.json` and `images.csv` are made of it, whole or not at all.
"""

import csv
import io
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoe_jax.errors import ZoeJaxError
from zoe_jax.evaluate.metrics import DepthMetrics
from zoe_jax.input.summary import DEPTH_EDGES_M
from zoe_jax.whole_file import write_whole

FORMAT = 1
"""Of `results.json`."""

METRICS = DepthMetrics._fields

EXTREMES = 3
"""Best and worst images, so many of each, whose pictures a report shows."""

Status = Literal["evaluated", "no truth", "no valid pixel", "unreadable", "wrong scale"]
DAMAGED: tuple[Status, ...] = ("unreadable", "wrong scale")
"""What somebody must mend; the others are as their owner published them."""


class EvaluationError(ZoeJaxError):
    """An evaluation cannot be made, or its results cannot be read."""


@dataclass(frozen=True)
class ImageOutcome:
    """What came out for one image."""

    id: str
    status: Status
    detail: str = ""
    """In words, where something is wrong."""
    routed: str = ""
    """The domain whose head made the depth; empty for models without heads."""
    valid_pixels: int = 0
    nonfinite_pixels: int = 0
    """Of the network's own output."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """By the names of `DepthMetrics`; some may be infinite or nan where the prediction is 0 m."""
    abs_rel_sums: Sequence[float] = ()
    """Sum of |prediction - truth| / truth over the valid pixels between each two of DEPTH_EDGES_M."""
    pixels_by_depth: Sequence[int] = ()
    """How many these are."""

    def to_line(self) -> str:
        """One line of JSON; numbers that JSON does not have are strings."""
        tree = asdict(self)
        tree["metrics"] = {name: _to_json(value) for name, value in self.metrics.items()}
        tree["abs_rel_sums"] = [_to_json(value) for value in self.abs_rel_sums]
        return json.dumps(tree, allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> "ImageOutcome":
        """What `to_line` wrote."""
        tree = json.loads(line)
        metrics = {name: float(value) for name, value in tree["metrics"].items()}
        sums, counts = tuple(map(float, tree["abs_rel_sums"])), tuple(map(int, tree["pixels_by_depth"]))
        return cls(**tree | {"metrics": metrics, "abs_rel_sums": sums, "pixels_by_depth": counts})


def extremes(outcomes: Iterable[ImageOutcome]) -> list[ImageOutcome]:
    """The best of the images that count, by abs_rel, then the worst; nan, which compares with nothing, is the worst."""

    def error(outcome: ImageOutcome) -> tuple[float, str]:
        abs_rel = outcome.metrics["abs_rel"]
        return math.inf if math.isnan(abs_rel) else abs_rel, outcome.id

    ranked = sorted((outcome for outcome in outcomes if outcome.status == "evaluated"), key=error)
    return ranked if len(ranked) < 2 * EXTREMES else ranked[:EXTREMES] + ranked[-EXTREMES:]


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint on one data set."""

    checkpoint: str
    """Its name in the report."""
    data_set: str
    """A key of `zoe_jax.evaluate.rules.BENCHMARKS`, or the name of a prepared data set."""
    outcomes: Sequence[ImageOutcome]

    @property
    def evaluated(self) -> list[ImageOutcome]:
        """The images that count."""
        return [outcome for outcome in self.outcomes if outcome.status == "evaluated"]

    def metrics(self) -> dict[str, float]:
        """Unweighted means over the images that count; nan where there is none.

        An infinite or nan value of one image is in the mean, as in the original; `problems` names that image.
        """
        values = np.array([[outcome.metrics[name] for name in METRICS] for outcome in self.evaluated], np.float64)
        means = values.mean(0) if len(values) else np.full(len(METRICS), np.nan)
        return dict(zip(METRICS, means.tolist(), strict=True))

    def problems(self) -> list[tuple[str, str, str]]:
        """(id, kind, detail) of every image that does not count, or whose numbers are not all finite."""
        found = []
        for outcome in self.outcomes:
            if outcome.status != "evaluated":
                found.append((outcome.id, outcome.status, outcome.detail))
            if outcome.nonfinite_pixels:
                found.append((outcome.id, "prediction not finite", f"{outcome.nonfinite_pixels} pixels"))
            if odd := [name for name, value in outcome.metrics.items() if not math.isfinite(value)]:
                found.append((outcome.id, "metric not finite", ", ".join(odd)))
        return found

    def routed(self) -> dict[str, int]:
        """Images by the domain whose head made their depth."""
        return dict(Counter(outcome.routed for outcome in self.evaluated if outcome.routed))

    def abs_rel_by_depth(self) -> list[tuple[float, float, float, int]]:
        """(from, to, abs_rel, pixels) for every range of true depth in metres that has pixels."""
        sums = np.sum([outcome.abs_rel_sums for outcome in self.evaluated], axis=0) if self.evaluated else []
        counts = np.sum([outcome.pixels_by_depth for outcome in self.evaluated], axis=0) if self.evaluated else []
        return [
            (low, high, float(total / count), int(count))
            for (low, high), total, count in zip(itertools.pairwise(DEPTH_EDGES_M), sums, counts, strict=False)
            if count
        ]

    def to_json(self) -> dict[str, Any]:
        """As in `results.json`."""
        return {
            "checkpoint": self.checkpoint,
            "data_set": self.data_set,
            "images": len(self.evaluated),
            "left_out": len(self.outcomes) - len(self.evaluated),
            "metrics": {name: _to_json(value) for name, value in self.metrics().items()},
            "routed": self.routed(),
            "abs_rel_by_depth_m": [[_to_json(value) for value in row] for row in self.abs_rel_by_depth()],
            "problems": [list(problem) for problem in self.problems()],
        }


def _to_json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


class OutcomeLog:
    """The outcomes of one evaluation on disk, a line each; what is there is not computed again.

    Args:
        path: of the file; its folder is made.
        made_of: what decides the outcomes (checkpoint, data, rule, protocol); the first line of the file.
        writing: False on all hosts but the first, which read what is there and keep the rest in memory.

    Raises:
        EvaluationError: the file is there, made of something else, damaged, or not to be read.
        ZoeJaxError: it cannot be written.
    """

    def __init__(self, path: Path, made_of: Mapping[str, Any], writing: bool = True) -> None:
        self._path, self._writing = path, writing
        self.outcomes: dict[str, ImageOutcome] = {}
        """By id, in the order in which they came."""
        head = json.dumps(made_of, sort_keys=True)
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
            if lines and not lines[-1].endswith("\n"):
                lines.pop()  # the process ended in the middle of it
            if lines and lines[0] != head + "\n":
                raise EvaluationError(f"{path} belongs to another evaluation; remove it, or give another --output-dir")
            for line in lines[1:]:
                outcome = ImageOutcome.from_line(line)
                self.outcomes[outcome.id] = outcome
        except OSError as error:
            raise EvaluationError(f"{path} cannot be read: {error.strerror or error}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EvaluationError(f"{path}: a line is damaged ({error}); remove the file to evaluate anew") from error
        if writing:
            # written anew: an unfinished line must not run into the next one
            write_whole(path, "".join(lines) or head + "\n")

    def extend(self, outcomes: Iterable[ImageOutcome]) -> None:
        """Keeps them; they are on the disk when this returns.

        Raises:
            EvaluationError: they cannot be written.
        """
        outcomes = list(outcomes)
        self.outcomes.update({outcome.id: outcome for outcome in outcomes})
        if not self._writing or not outcomes:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(outcome.to_line() + "\n" for outcome in outcomes)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise EvaluationError(f"{self._path} cannot be written: {error.strerror or error}") from error


def write_results(output_dir: Path, facts: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> None:
    """Writes `results.json` and `images.csv`.

    Args:
        output_dir: where to.
        facts: commit, versions, options, checkpoints and data sets, JSON-able.
        evaluations: in the order of the report.

    Raises:
        ZoeJaxError: they cannot be written.
    """
    tree = {"format": FORMAT, **facts, "evaluations": [evaluation.to_json() for evaluation in evaluations]}
    write_whole(output_dir / "results.json", json.dumps(tree, indent=1, allow_nan=False) + "\n")
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["checkpoint", "data_set", "id", "status", "routed", "valid_pixels", *METRICS, "detail"])
    for evaluation in evaluations:
        for outcome in evaluation.outcomes:
            values = [outcome.metrics.get(name, "") for name in METRICS]
            row = [outcome.id, outcome.status, outcome.routed, outcome.valid_pixels, *values, outcome.detail]
            writer.writerow([evaluation.checkpoint, evaluation.data_set, *row])
    write_whole(output_dir / "images.csv", table.getvalue())
