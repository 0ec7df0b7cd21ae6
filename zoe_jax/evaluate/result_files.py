"""What several evaluations measured, read from their `results.json`: of one rule, and without contradictions."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoe_jax.evaluate.paper import find_method, method_of
from zoe_jax.evaluate.results import FORMAT, METRICS, EvaluationError
from zoe_jax.evaluate.rules import BENCHMARKS

RESULTS_FILE = "results.json"
"""What `zoe-jax evaluate` leaves in its output folder."""

MADE_BY = ("rules", "protocol", "flip")
"""What all numbers of one table have in common."""

OWN = "own"
"""As a row: one of the checkpoint's own, beside those of the paper."""


@dataclass(frozen=True)
class Measurement:
    """One checkpoint on one data set."""

    checkpoint: str
    data_set: str
    images: int
    """That count."""
    metrics: Mapping[str, float]
    """By the names of `METRICS`; may be nan or infinite."""
    source: Path
    """The file that says so."""

    @property
    def is_part(self) -> bool:
        """Whether the paper's number is over other images."""
        benchmark = BENCHMARKS.get(self.data_set)
        return benchmark is not None and benchmark.images not in (None, self.images)


@dataclass(frozen=True)
class Results:
    """All that was measured."""

    rules: str
    protocol: str
    flip: bool
    measurements: Mapping[tuple[str, str], Measurement]
    """By checkpoint and data set, in the order of the files."""
    checkpoints: Mapping[str, Mapping[str, Any]]
    """By name, what their files say of them."""
    sources: Mapping[Path, str]
    """The files, and the commits they were made with."""

    def of(self, checkpoint: str, data_set: str) -> Measurement | None:
        """None where it was not run."""
        return self.measurements.get((checkpoint, data_set))


def read_results(paths: Sequence[Path]) -> Results:
    """Reads `results.json` files, or the folders that they are in.

    Raises:
        EvaluationError: a file is missing, damaged or of something else; files were made under different rules, or
            say different things of one checkpoint or of one number.
    """
    if not paths:
        raise EvaluationError("no results are given; name one or more results.json, or the folders they are in")
    trees = {path: _read(path) for path in dict.fromkeys(_file_of(path) for path in paths)}
    first, made_first = next(iter(trees.items()))
    measurements: dict[tuple[str, str], Measurement] = {}
    checkpoints: dict[str, Mapping[str, Any]] = {}
    rules: dict[str, tuple[Path, Any]] = {}
    origins: dict[str, Path] = {}
    for path, tree in trees.items():
        for part in MADE_BY:
            if tree[part] != made_first[part]:
                raise EvaluationError(
                    f"{first} was made with {part} {made_first[part]}, {path} with {part} {tree[part]}; a table mixes "
                    "no such numbers: give them to separate calls"
                )
        for name, checkpoint in tree["checkpoints"].items():
            if name in checkpoints and _identity(checkpoint) != _identity(checkpoints[name]):
                raise EvaluationError(
                    f"{origins[name]} and {path} call different checkpoints {name!r}; evaluate one of them by another "
                    "name (NAME=SOURCE)"
                )
            checkpoints[name], origins[name] = checkpoint, origins.get(name, path)
        for key, data_set in tree["data_sets"].items():
            other, rule = rules.setdefault(key, (path, data_set.get("rule")))
            if rule != data_set.get("rule"):
                raise EvaluationError(
                    f"{other} and {path} evaluate {key} by different rules of the name {tree['rules']}"
                )
        for measurement in _measurements(tree, path):
            place = (measurement.checkpoint, measurement.data_set)
            other = measurements.setdefault(place, measurement)
            if (other.images, _comparable(other.metrics)) != (measurement.images, _comparable(measurement.metrics)):
                raise EvaluationError(
                    f"{other.source} and {path} contradict each other about {place[0]} on {place[1]}; leave one out"
                )
    return Results(
        made_first["rules"],
        made_first["protocol"],
        made_first["flip"],
        measurements,
        checkpoints,
        {path: str(_commit(tree)) for path, tree in trees.items()},
    )


def assign_methods(results: Results, given: Sequence[str] = ()) -> dict[str, str | None]:
    """Which row each checkpoint fills: that of a method of the paper, or one of its own, None.

    Args:
        results: what was measured.
        given: `CHECKPOINT=METHOD` each, which goes before what names and presets say; OWN for a row of its own.

    Raises:
        EvaluationError: no such checkpoint or method, or two checkpoints for one row.
    """
    chosen: dict[str, str | None] = {}
    for text in given:
        name, equals, method = text.rpartition("=")
        if not equals or not method:
            raise EvaluationError(f"--row {text!r} should be CHECKPOINT=ROW, such as zoed_n=ZoeD-M12-N")
        if name not in results.checkpoints:
            raise EvaluationError(
                f"--row {text!r}: there is no checkpoint {name!r}; there are {', '.join(results.checkpoints)}"
            )
        chosen[name] = None if method.strip().lower() == OWN else find_method(method)
    rows: dict[str, str | None] = {}
    for name, checkpoint in results.checkpoints.items():
        method = chosen[name] if name in chosen else method_of(name, checkpoint.get("preset"))
        rival = next((other for other, row in rows.items() if row == method), None) if method is not None else None
        if rival is not None:
            raise EvaluationError(
                f"the checkpoints {rival!r} and {name!r} both fill the row {method}; say by --row '{name}=ROW' which "
                f"one is another, or give it a row of its own by --row '{name}={OWN}'"
            )
        rows[name] = method
    return rows


def _file_of(path: Path) -> Path:
    if path.is_dir():
        if not (path / RESULTS_FILE).is_file():
            raise EvaluationError(f"{path} has no {RESULTS_FILE}; it should be an output folder of zoe-jax evaluate")
        return path / RESULTS_FILE
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise EvaluationError(f"{path} cannot be read as JSON: {error}") from error
    kinds: dict[str, type] = {
        "rules": str,
        "protocol": str,
        "flip": bool,
        "checkpoints": dict,
        "data_sets": dict,
        "evaluations": list,
    }
    wrong = [name for name, kind in kinds.items() if not isinstance(tree, dict) or not isinstance(tree.get(name), kind)]
    wrong += [name for name in ("checkpoints", "data_sets") if name not in wrong and not _of_dicts(tree[name])]
    if wrong:
        raise EvaluationError(
            f"{path} is no {RESULTS_FILE} of zoe-jax evaluate: {', '.join(wrong)} is missing, or of another kind"
        )
    if tree.get("format") != FORMAT:
        raise EvaluationError(f"{path} has the format {tree.get('format')!r}; this version reads {FORMAT}")
    return tree


def _of_dicts(value: Mapping[str, Any]) -> bool:
    return all(isinstance(member, dict) for member in value.values())


def _measurements(tree: Mapping[str, Any], path: Path) -> list[Measurement]:
    found = []
    for number, evaluation in enumerate(tree["evaluations"], 1):
        try:
            checkpoint, data_set = evaluation["checkpoint"], evaluation["data_set"]
            metrics = {name: float(evaluation["metrics"][name]) for name in METRICS}
            images = int(evaluation["images"])
        except (KeyError, TypeError, ValueError) as error:
            raise EvaluationError(
                f"{path}: evaluation {number} is damaged ({type(error).__name__}: {error}); expected are checkpoint, "
                f"data_set, images and metrics with {', '.join(METRICS)}"
            ) from error
        for kind, name in (("checkpoint", checkpoint), ("data_set", data_set)):
            if name not in tree[f"{kind}s"]:
                raise EvaluationError(f"{path}: evaluation {number} is of the {kind} {name!r}, which is not described")
        # without an image there is no number, so it was not run
        if images:
            found.append(Measurement(checkpoint, data_set, images, metrics, path))
    return found


def _identity(checkpoint: Mapping[str, Any]) -> Any:
    """What makes it the same model: its checksum where there is one, else where it came from."""
    checksums = [checkpoint[name] for name in ("parameters_sha256", "sha256") if checkpoint.get(name)]
    return checksums or (checkpoint.get("source"), checkpoint.get("preset"))


def _comparable(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """nan equals nan."""
    return {name: "nan" if math.isnan(value) else value for name, value in metrics.items()}


def _commit(tree: Mapping[str, Any]) -> Any:
    made_by = tree.get("zoe_jax")
    return tree.get("commit") or (made_by.get("commit") if isinstance(made_by, dict) else None) or "unknown"
