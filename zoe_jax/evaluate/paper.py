"""The numbers that the paper prints (arXiv 2302.12288), and which of its methods a checkpoint is."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from zoe_jax.evaluate.results import EvaluationError

IMPROVEMENT = "improvement_pct"
"""Among the metrics of a row: the printed mRI, in percent."""

METHODS = {"zoed_n": "ZoeD-M12-N", "zoed_k": "ZoeD-M12-K", "zoed_nk": "ZoeD-M12-NK"}
"""What a released checkpoint of a preset is called in the paper."""

RELEASED = {"zoedepthnyu": "ZoeD-M12-N", "zoedepthkitti": "ZoeD-M12-K", "zoedepthnyukitti": "ZoeD-M12-NK"}
"""By the names of the same checkpoints on Hugging Face, letters and digits only."""

Row = Mapping[str, float]
"""Numbers by the names of `zoe_jax.evaluate.metrics.DepthMetrics`, and IMPROVEMENT."""


@functools.cache
def tables() -> dict[str, Any]:
    """The tables by their number in the paper, as in paper_tables.json."""
    text = resources.files("zoe_jax.evaluate").joinpath("paper_tables.json").read_text(encoding="utf-8")
    return json.loads(text)["tables"]


def rows_of(number: str, data_set: str) -> dict[str, Row]:
    """One data set's rows of Table 1, 3, 4 or 9 to 16, by method, in their order."""
    return {
        row["method"]: {name: value for name, value in row.items() if name != "method"}
        for row in tables()[number]["data_sets"][data_set]
    }


def joint_rows() -> dict[str, Row]:
    """Table 2: abs_rel by data set, and IMPROVEMENT, by method; empty for the one that did not converge."""
    return {
        row["method"]: {name: value for name, value in row.items() if name not in ("method", "note")}
        for row in tables()["2"]["rows"]
    }


def printed_decimals(metric: str, value: float) -> int:
    """With how many decimals Tables 1 to 4 print a number."""
    if metric == IMPROVEMENT:
        return 1
    return 2 if abs(value) >= 10 else 3


@functools.cache
def methods() -> Sequence[str]:
    """Every method of Tables 1 to 4."""
    one_data_set = [
        method for number in "134" for data_set in tables()[number]["data_sets"] for method in rows_of(number, data_set)
    ]
    return tuple(dict.fromkeys([*one_data_set, *joint_rows()]))


def method_of(name: str, preset: str | None = None) -> str | None:
    """The method that a checkpoint is: by its name where the paper has such a one, else by its preset.

    Args:
        name: of the checkpoint; ZoeD_M12_N, zoed-m12-n and zoedepth-nyu all mean ZoeD-M12-N.
        preset: the name of its configuration.
    """
    # the + tells a method with one head from one with two
    by_letters = {_letters(method): method for method in methods() if method.startswith("ZoeD")}
    known = by_letters | RELEASED | {_letters(short): method for short, method in METHODS.items()}
    return known.get(_letters(name)) or METHODS.get(preset or "")


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", name.lower())


def find_method(name: str) -> str:
    """A method as a user types it.

    Raises:
        EvaluationError: there is none of this name; the message has all.
    """
    matching = [method for method in methods() if method.lower() == name.strip().lower()]
    if not matching:
        raise EvaluationError(f"no table of the paper has a row {name!r}; there are {', '.join(methods())}")
    return matching[0]


def published_metrics(method: str, data_set: str) -> Row:
    """All that the paper prints of a method on a data set, without mRI; empty where it prints nothing.

    Tables 9 to 16 repeat Tables 3 and 4 with more metrics and digits, so they come first.
    """
    found: dict[str, float] = {}
    joint = joint_rows().get(method, {})
    if data_set in joint:
        found["abs_rel"] = joint[data_set]
    if method == "ZoeD-M12-NK":
        trained = next(row for row in tables()["6"]["rows"] if row["router"] == "Trained")
        found |= trained.get(data_set, {})
    for number in ("1", "3", "4", *map(str, range(9, 17))):
        if data_set in tables()[number]["data_sets"]:
            found |= rows_of(number, data_set).get(method, {})
    found.pop(IMPROVEMENT, None)
    return found


def published(name: str, checkpoint: Mapping[str, Any], data_set: str) -> Row:
    """What the paper prints of a checkpoint on a data set; empty where it prints nothing.

    Args:
        name: of the checkpoint.
        checkpoint: what `results.json` says of it.
        data_set: a key of `zoe_jax.evaluate.rules.BENCHMARKS`.
    """
    method = method_of(name, checkpoint.get("preset"))
    return published_metrics(method, data_set) if method else {}
