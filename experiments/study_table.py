"""The arithmetic of a study and its page: means over seeds with their spread, and differences paired by seed."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

BASE = "base"
METRICS = ("abs_rel", "delta1", "rmse")
ROUTER = "router accuracy"
DECIMALS = {"rmse": 3}
"""Of a metric in the tables; all others have 4."""

Runs = Mapping[str, Mapping[str, Any]]
"""The results of runs by seed: each with `domains` and `router_accuracy`, as in the quickstart's `results.json`."""


@dataclass(frozen=True)
class PaperRow:
    """What the paper reports where a variation has a counterpart at full size."""

    source: str
    """Table or section."""
    rel: Mapping[str, tuple[float, float]]
    """By data set, abs_rel of the variation and of what it varies."""


class Spread(NamedTuple):
    """A number that was measured with several seeds."""

    mean: float
    spread: float | None
    """The sample standard deviation; None with a single seed, which has none."""
    seeds: int


def spread_of(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of at least one value."""
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def measurements(results: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one run by the names of the columns; without a router it has no accuracy."""
    numbers = {
        f"{dataset} {metric}": sides["model"][metric]
        for dataset, sides in results["domains"].items()
        for metric in METRICS
    }
    if results["router_accuracy"] is not None:
        numbers[ROUTER] = results["router_accuracy"]
    return numbers


def over_seeds(runs: Runs) -> dict[str, Spread]:
    """Each column over all seeds."""
    return _spreads([measurements(results) for results in runs.values()])


def paired_difference(runs: Runs, base: Runs) -> dict[str, Spread]:
    """Each column minus the base's of the same seed, over the seeds that both have.

    Data, their order and the initial values of shared parameters are the same within a pair, so that what a seed does
    to both takes no part in the spread.
    """
    pairs = [(measurements(runs[seed]), measurements(base[seed])) for seed in runs if seed in base]
    return _spreads([{name: ours[name] - theirs[name] for name in ours if name in theirs} for ours, theirs in pairs])


def _spreads(numbers: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    names = dict.fromkeys(name for of_run in numbers for name in of_run)
    return {name: spread_of([of_run[name] for of_run in numbers if name in of_run]) for name in names}


def summarize(runs: Mapping[str, Runs], papers: Mapping[str, PaperRow | None]) -> dict[str, Any]:
    """Every variation that has a run, with its numbers and the paper's: the `variations` of a results file."""
    return {
        name: {
            "paper": None if paper is None else asdict(paper),
            "over_seeds": _as_json(over_seeds(runs[name])),
            "difference_to_base": {} if name == BASE else _as_json(paired_difference(runs[name], runs[BASE])),
            "runs": dict(runs[name]),
        }
        for name, paper in papers.items()
        if runs.get(name)
    }


def _as_json(spreads: Mapping[str, Spread]) -> dict[str, Any]:
    return {name: spread._asdict() for name, spread in spreads.items()}


def page(study: Mapping[str, Any]) -> str:
    """The results file as Markdown."""
    variations = study["variations"]
    columns = list(dict.fromkeys(column for entry in variations.values() for column in entry["over_seeds"]))
    means = [
        [name, str(len(entry["runs"])), *(_cell(entry["over_seeds"], column) for column in columns)]
        for name, entry in variations.items()
    ]
    baseline = [_number(value, column) for column, value in _best_baseline(variations, columns)]
    differences = [
        [name, *(_cell(entry["difference_to_base"], column, sign="+") for column in columns), _paper(entry["paper"])]
        for name, entry in variations.items()
        if name != BASE
    ]
    headers = [column + (" (m)" if column.endswith("rmse") else "") for column in columns]
    parts = [
        "# The paper's ablations in miniature",
        "Written by `make study`; every number of every run is in the JSON file beside it.",
        _list(_facts(study)),
        "## Held-out scenes",
        f"Means over images, then over seeds{_with_spread(study)}. `without looking` is the better of two predictions "
        "that see no image. No router chooses where labels are given, or where there is one head.",
        _table(["", "seeds", *headers], [*means, ["without looking", "", *baseline]]),
    ]
    if differences:
        parts += [
            "## Difference to the base",
            f"Paired by seed{_with_spread(study)}. The last column is what the paper reports of the models of full "
            "size, on other data: it has a direction to compare, and no size.",
            _table(["", *headers, "REL in the paper"], differences),
        ]
    return "\n\n".join(parts) + "\n"


def _facts(study: Mapping[str, Any]) -> list[str]:
    settings, machine = study["settings"], study["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    seeds = ", ".join(map(str, settings["seeds"]))
    return [
        f"seeds {seeds}; {settings['steps']} steps of batch {settings['batch_size']}; "
        f"{settings['scenes']} training scenes of each data set",
        f"commit {', '.join(study['commits'])}; {machine['date']}",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB",
        f"Python {machine['python']}, {versions}",
    ]


def _best_baseline(variations: Mapping[str, Any], columns: Sequence[str]) -> list[tuple[str, float | None]]:
    """It is the same for every run."""
    first_run = next(iter(next(iter(variations.values()))["runs"].values()))
    values = {
        f"{dataset} {metric}": sides["best_baseline"][metric]
        for dataset, sides in first_run["domains"].items()
        for metric in METRICS
    }
    return [(column, values.get(column)) for column in columns]


def _with_spread(study: Mapping[str, Any]) -> str:
    return ", ± the sample standard deviation" if len(study["settings"]["seeds"]) > 1 else ""


def _cell(spreads: Mapping[str, Any], column: str, sign: str = "") -> str:
    found = spreads.get(column)
    if found is None:
        return "–"
    text = _number(found["mean"], column, sign)
    return text if found["spread"] is None else f"{text} ± {_number(found['spread'], column)}"


def _number(value: float | None, column: str, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.{DECIMALS.get(column.split()[-1], 4)}f}"


def _paper(paper: Mapping[str, Any] | None) -> str:
    if paper is None:
        return "–"
    changes = [
        f"{dataset} {ours:.3f} against {theirs:.3f} ({ours - theirs:+.3f})"
        for dataset, (ours, theirs) in paper["rel"].items()
    ]
    return f"{'; '.join(changes)}: {paper['source']}"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
