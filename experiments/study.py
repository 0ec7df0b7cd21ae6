"""The paper's ablations in miniature: seeds x the quickstart experiment and variations of it, of one line each.

    make study
    make study STUDY_ARGS="--seeds 1 --variations softmax one_head"

Rooms and roads stand for NYU and KITTI. The scenes are rendered once; then each run is one of `zoe-jax train`, in a
folder of its own, and is judged on the same held-out scenes whatever heads it has. A run that is finished is not
repeated, one that was interrupted goes on from its checkpoint, and one of another configuration is refused.

Results: `experiments/results/study_cpu.json` and, beside it, `study_cpu.md`: means over seeds with their spread, and
differences to the base paired by seed. 6 experiments of about 5 minutes a seed on 2 CPU cores.
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from zoe_jax.config import ConfigError, MetricHeadConfig
from zoe_jax.errors import ZoeJaxError
from zoe_jax.provenance import commit, machine
from zoe_jax.train.experiment import Experiment, differences
from zoe_jax.train.loop import NonFiniteError, train
from zoe_jax.train.run_folder import read_run_experiment
from zoe_jax.whole_file import write_whole

from . import quickstart
from .benchmarks import harness
from .held_out import Scenes, evaluate_run, open_scenes
from .quickstart import say
from .study_table import BASE, PaperRow, Runs, page, summarize

PAPER = "arXiv 2302.12288v1"
DIGITS = 6
"""Of the numbers that are kept: differences between runs are small."""


def unchanged(base: Experiment) -> Experiment:
    """The quickstart as it is: two heads, inverse attractors, log-binomial, a router trained on labels."""
    return base


def softmax(base: Experiment) -> Experiment:
    """A plain softmax over the bins in place of the log-binomial distribution: section 5.4."""
    return _with_head(base, replace(_head(base), probabilities="softmax"))


def exponential_attractors(base: Experiment) -> Experiment:
    """The exponential attractor in place of the inverse one: table 5."""
    return _with_head(base, replace(_head(base), attractor_type="exponential"))


def one_head(base: Experiment) -> Experiment:
    """One head for all data sets, up to the greatest depth of any, and no router: the rows marked NK† of table 2."""
    head = _head(base)
    shared = replace(
        head,
        domains=("_and_".join(head.domains),),
        min_depth_m=(min(head.min_depth_m),),
        max_depth_m=(max(head.max_depth_m),),
    )
    model = replace(base.model, head=shared, router=None, routing="image")
    return replace(base, model=model, objective=replace(base.objective, router="labelled"))


def labelled_router(base: Experiment) -> Experiment:
    """Each image takes the head of its label in training and in evaluation, and there is no router: table 6."""
    model = replace(base.model, router=None, routing="label")
    return replace(base, model=model, objective=replace(base.objective, router="labelled"))


def auto_router(base: Experiment) -> Experiment:
    """The router sees no label: in training it mixes the heads' depths, and depth alone teaches it: table 6."""
    model = replace(base.model, routing="mixture")
    return replace(base, model=model, objective=replace(base.objective, router="auto"))


@dataclass(frozen=True)
class Variation:
    """A change to the base, and what it did in the paper."""

    change: Callable[[Experiment], Experiment]
    paper: PaperRow | None = None


VARIATIONS: Mapping[str, Variation] = {
    BASE: Variation(unchanged),
    "softmax": Variation(softmax, PaperRow(f"{PAPER}, section 5.4 (ZoeD-M12-N)", {"NYU": (0.077, 0.075)})),
    "exponential_attractors": Variation(
        exponential_attractors, PaperRow(f"{PAPER}, table 5 (ZoeD-M12-N)", {"NYU": (0.086, 0.075)})
    ),
    "one_head": Variation(
        one_head,
        PaperRow(f"{PAPER}, table 2 (ZoeD-M12-NK† and -NK)", {"NYU": (0.081, 0.077), "KITTI": (0.061, 0.057)}),
    ),
    "labelled_router": Variation(
        labelled_router, PaperRow(f"{PAPER}, table 6 (ZoeD-M12-NK)", {"NYU": (0.080, 0.077), "KITTI": (0.057, 0.057)})
    ),
    "auto_router": Variation(
        auto_router, PaperRow(f"{PAPER}, table 6 (ZoeD-M12-NK)", {"NYU": (0.102, 0.077), "KITTI": (0.075, 0.057)})
    ),
}
"""What the study compares; an ablation of full size takes its place here as one function more."""


def _head(experiment: Experiment) -> MetricHeadConfig:
    assert experiment.model.head is not None
    return experiment.model.head


def _with_head(experiment: Experiment, head: MetricHeadConfig) -> Experiment:
    return replace(experiment, model=replace(experiment.model, head=head))


@dataclass(frozen=True)
class Run:
    """One variation with one seed."""

    variation: str
    experiment: Experiment
    folder: Path
    scenes: int
    """Of each data set to train on."""

    def results(self) -> dict[str, Any] | None:
        """What came out, if the run is finished.

        Raises:
            ConfigError: the folder has a run of another configuration.
        """
        if not (self.folder / "config.json").exists():
            return None
        different = differences(read_run_experiment(self.folder), self.experiment)
        file = self.folder / "results.json"
        results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        if results is not None and results["scenes"] != self.scenes:
            different.append(f"scenes: {results['scenes']} -> {self.scenes}")
        if different:
            raise ConfigError(
                f"{self.folder} is a run of another configuration ({'; '.join(different)}): remove it, or choose "
                "another --output-dir"
            )
        return results


def planned_runs(
    variations: Sequence[str], n_seeds: int, steps: int | None, scenes: int, output_dir: Path
) -> list[Run]:
    """All runs of a study, those of one seed side by side; the first seed is the quickstart's own."""
    base = quickstart.config()
    base = replace(base, data=replace(base.data, data_dir=str(output_dir / "data")))
    if steps is not None:
        schedule = base.optimizer.schedule
        schedule = replace(schedule, warmup_steps=min(schedule.warmup_steps, steps // 10))
        base = replace(base, steps=steps, optimizer=replace(base.optimizer, schedule=schedule))
    runs = []
    for seed in range(base.seed, base.seed + n_seeds):
        for name in variations:
            experiment = VARIATIONS[name].change(replace(base, name=f"study_{name}", seed=seed))
            runs.append(Run(name, experiment, output_dir / name / f"seed_{seed}", scenes))
    return runs


def study(runs: Sequence[Run]) -> dict[str, dict[str, Any]] | int:
    """Makes what is missing, and returns results by variation and seed, or the exit status of what ended it before.

    A run whose loss stays not finite is left out; the others go on.

    Raises:
        ConfigError: a folder has a run of another configuration; nothing has been begun then.
    """
    finished = [run.results() for run in runs]
    seconds = [results["wall_seconds"] for results in finished if results and results["wall_seconds"]]
    missing = finished.count(None)
    if missing and (status := prepare(runs[0])):
        return status
    # read when the first run is to be judged, and once
    scenes = functools.cache(functools.partial(held_out_scenes, runs[0].experiment))
    revision = commit()
    by_variation: dict[str, dict[str, Any]] = {}
    for number, (run, results) in enumerate(zip(runs, finished, strict=True), 1):
        place = f"[{number} of {len(runs)}] {run.variation}, seed {run.experiment.seed}"
        if results is None:
            say(f"{place}: {run.experiment.steps} steps in {run.folder}{_time_left(seconds, missing)}")
            missing -= 1
            try:
                results = train_and_evaluate(run, scenes, revision)
            except NonFiniteError as error:
                say(f"{place}: left out: {error}")
                continue
            if isinstance(results, int):
                say(f"{place}: interrupted; the same command goes on from there")
                return results
            seconds += [results["wall_seconds"]] if results["wall_seconds"] else []
        say(f"{place}: {_in_short(results)}")
        by_variation.setdefault(run.variation, {})[str(run.experiment.seed)] = results
    return by_variation


def prepare(run: Run) -> int:
    """Renders the scenes of all runs, or finds them rendered; an exit status."""
    data_dir = run.experiment.data.data_dir
    return quickstart.run("prepare", "rooms_and_roads", "--data-dir", data_dir, "--train", run.scenes)


def held_out_scenes(experiment: Experiment) -> Scenes:
    """The test splits of the data sets that a run is validated on."""
    data = experiment.data
    test = tuple(replace(dataset, split="test") for dataset in data.validation)
    return open_scenes(Path(data.data_dir or ""), data.train, test)


def train_and_evaluate(run: Run, scenes: Callable[[], Scenes], revision: str) -> dict[str, Any] | int:
    """A run to its end and its results, which then also lie in its folder; the exit status where a signal came."""
    begun_before, started = (run.folder / "checkpoints").exists(), time.perf_counter()
    finished = train(run.experiment, run.folder)
    if finished.stopped_by is not None:
        return 128 + finished.stopped_by
    held_out = evaluate_run(run.folder, scenes())
    results = held_out.results(DIGITS) | {
        "images_by_data_set_and_head": held_out.confusion().tolist(),
        "scenes": run.scenes,
        "commit": revision,
        "wall_seconds": None if begun_before else round(time.perf_counter() - started, 1),
    }
    write_whole(run.folder / "results.json", json.dumps(results, indent=1) + "\n")
    # what was compiled for this run serves no other
    jax.clear_caches()
    return results


def _time_left(seconds: Sequence[float], missing: int) -> str:
    if not seconds:
        return ""
    minutes = round(missing * sum(seconds) / len(seconds) / 60)
    return f"; {missing} to go, about {minutes // 60} h {minutes % 60:02} min"


def _in_short(results: Mapping[str, Any]) -> str:
    parts = [f"{name} abs_rel {sides['model']['abs_rel']:.4f}" for name, sides in results["domains"].items()]
    if results["wall_seconds"] is not None:
        parts.append(f"{results['wall_seconds'] / 60:.1f} min")
    return ", ".join(parts)


def write_results(by_variation: Mapping[str, Runs], runs: Sequence[Run], file: Path) -> str:
    """Writes the results file and the page beside it, and returns the page."""
    commits = {results["commit"]: None for by_seed in by_variation.values() for results in by_seed.values()}
    experiment = runs[0].experiment
    content = {
        "settings": {
            "seeds": list(dict.fromkeys(run.experiment.seed for run in runs)),
            "steps": experiment.steps,
            "batch_size": experiment.batch_size,
            "scenes": runs[0].scenes,
        },
        "commits": list(commits),
        "machine": machine(),
        "variations": summarize(by_variation, {name: variation.paper for name, variation in VARIATIONS.items()}),
    }
    text = page(content)
    write_whole(file, json.dumps(content, indent=1) + "\n")
    write_whole(file.with_suffix(".md"), text)
    return text


def main() -> int:
    """Makes the runs that are missing, and the table of all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    others = [name for name in VARIATIONS if name != BASE]
    parser.add_argument("--seeds", type=_at_least_one, default=3, metavar="N", help="how many")
    parser.add_argument("--steps", type=_at_least_one, help="of each run; by default the quickstart's")
    parser.add_argument("--scenes", type=_at_least_one, default=2000, help="of each data set to train on")
    parser.add_argument(
        "--variations", nargs="+", choices=others, default=others, metavar="NAME", help=f"of {', '.join(others)}"
    )
    parser.add_argument("--output-dir", type=Path, default=Path("runs/study"))
    parser.add_argument("--results", type=Path, default=harness.RESULTS / "study_cpu.json", metavar="FILE")
    options = parser.parse_args()
    chosen = [BASE, *(name for name in others if name in options.variations)]
    try:
        runs = planned_runs(chosen, options.seeds, options.steps, options.scenes, options.output_dir)
        outcome = study(runs)
    except ZoeJaxError as error:
        sys.stderr.write(f"study: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    if isinstance(outcome, int):
        return outcome
    if BASE not in outcome:
        sys.stderr.write("study: no run of the base is finished, so there is nothing to compare with\n")
        return 1
    say(write_results(outcome, runs, options.results))
    say(f"results in {options.results} and {options.results.with_suffix('.md')}")
    return 0 if sum(map(len, outcome.values())) == len(runs) else 1


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
