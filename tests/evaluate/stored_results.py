"""Files such as `zoe-jax evaluate` leaves, with numbers to order."""

from collections.abc import Sequence
from typing import Any

from zoe_jax.evaluate import paper
from zoe_jax.evaluate.results import METRICS
from zoe_jax.evaluate.rules import BENCHMARKS


def evaluation(
    checkpoint: str, data_set: str, method: str = "", images: int | None = None, **metrics: Any
) -> dict[str, Any]:
    """As in `results.json`: what the paper says of a method, but for `metrics`."""
    values = dict.fromkeys(METRICS, 0.5) | paper.published_metrics(method, data_set) | metrics
    whole = BENCHMARKS[data_set].images or 1 if data_set in BENCHMARKS else 1
    return {
        "checkpoint": checkpoint,
        "data_set": data_set,
        "images": whole if images is None else images,
        "metrics": values,
    }


def tree(evaluations: Sequence[dict[str, Any]], preset: str | None = None, **changes: Any) -> dict[str, Any]:
    checkpoints = {e["checkpoint"]: {"source": f"{e['checkpoint']}.pt", "preset": preset} for e in evaluations}
    data_sets = {e["data_set"]: {"title": e["data_set"], "rule": {"min_depth_m": 0.001}} for e in evaluations}
    return {
        "format": 1,
        "commit": "0123abc",
        "rules": "released",
        "protocol": "evaluate",
        "flip": True,
        "checkpoints": checkpoints,
        "data_sets": data_sets,
        "evaluations": list(evaluations),
        **changes,
    }
