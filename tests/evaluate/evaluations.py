"""Evaluations of the tiny N: how they are begun, watched and broken off, and how their files are read."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic import tiny_config, tiny_params
from zoe_jax.config import ZoeDepthConfig
from zoe_jax.evaluate import examples
from zoe_jax.evaluate.command import EvaluateOptions
from zoe_jax.models.zoedepth import Params


def small(data_dir: Path, output_dir: Path, *datasets: str, **options: Any) -> EvaluateOptions:
    """In batches of two."""
    return EvaluateOptions(datasets=datasets, data_dir=data_dir, output_dir=output_dir, batch_size=2, **options)


def tiny(source: str) -> tuple[ZoeDepthConfig, Params]:
    """Loads the tiny N, whatever the source."""
    return tiny_config("N"), tiny_params("N")


def stopped_after(count: int) -> Callable[..., Iterator[Any]]:
    """Ctrl-C while the batch after so many is prepared, as the progress of an evaluation."""

    def progress(items: Iterable[Any], task: str, total: int | None = None) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == count:
                raise KeyboardInterrupt
            yield item

    return progress


def seen_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the images that are read for evaluation from now on."""
    seen = []
    original = examples.make_example

    def make_example(reader: Any, entry: Any, rule: Any) -> Any:
        seen.append(entry.id)
        return original(reader, entry, rule)

    monkeypatch.setattr(examples, "make_example", make_example)
    return seen


def strict(text: str) -> Any:
    """As a reader of JSON that knows no NaN and no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def results_of(output: Path) -> dict[str, Any]:
    """The `results.json` of an output folder."""
    return strict((output / "results.json").read_text(encoding="utf-8"))


def table_of(output: Path) -> list[dict[str, str]]:
    """The rows of its `images.csv`."""
    with (output / "images.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
