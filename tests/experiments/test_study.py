"""The study: its arithmetic, what it repeats and what it refuses, its variations, and two of them end to end."""

import json
import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.input.in_memory_source import InMemorySource
from zoe_jax.depth_model import DepthModel
from zoe_jax.evaluate.compare import ImageResult
from zoe_jax.evaluate.metrics import DepthMetrics
from zoe_jax.train.dry_run import describe_run
from zoe_jax.train.experiment import Experiment, differences
from zoe_jax.train.loop import Finished, NonFiniteError
from zoe_jax.train.objective import check_objective
from zoe_jax.train.run_folder import open_run
from zoe_jax.train.state import TrainState
from zoe_jax_experiments import quickstart, study
from zoe_jax_experiments.held_out import HeldOut, Scenes
from zoe_jax_experiments.study_table import PaperRow, over_seeds, page, paired_difference, spread_of, summarize

NAMES = list(study.VARIATIONS)
DOES = {
    "softmax": {"model.head.probabilities"},
    "exponential_attractors": {"model.head.attractor_type"},
    "one_head": {"model.head.domains", "model.head.min_depth_m", "model.head.max_depth_m", "model.router"},
    "labelled_router": {"model.router", "model.routing"},
    "auto_router": {"model.routing"},
}
"""What each variation changes, its objective aside."""


def results(rooms: float, roads: float, router: float | None = 0.9) -> dict[str, Any]:
    """Of one run; every metric of a data set has the same value."""
    sides = {
        name: {"model": dict.fromkeys(("abs_rel", "delta1", "rmse"), value), "best_baseline": {}}
        for name, value in (("rooms", rooms), ("roads", roads))
    }
    for side in sides.values():
        side["best_baseline"] = dict.fromkeys(("abs_rel", "delta1", "rmse"), 0.5)
    return {"domains": sides, "router_accuracy": router, "scenes": 16, "commit": "abc", "wall_seconds": 60.0}


BASE_RUNS = {"1": results(0.20, 0.10), "2": results(0.30, 0.14), "3": results(0.10, 0.12)}
OTHER_RUNS = {"1": results(0.21, 0.10, None), "2": results(0.33, 0.10, None), "3": results(0.12, 0.10, None)}


def test_spread_is_the_sample_standard_deviation() -> None:
    assert spread_of([1.0, 2.0, 6.0]) == (3.0, pytest.approx(math.sqrt((4 + 1 + 9) / 2)), 3)
    assert spread_of([4.0]) == (4.0, None, 1)
    columns = over_seeds(BASE_RUNS)
    assert columns["rooms abs_rel"] == (pytest.approx(0.2), pytest.approx(0.1), 3)
    assert columns["router accuracy"].mean == pytest.approx(0.9)


def test_differences_are_paired_by_seed() -> None:
    difference = paired_difference(OTHER_RUNS, BASE_RUNS)
    # 0.01, 0.03, 0.02: a tenth of the spread of either side
    assert difference["rooms abs_rel"] == (pytest.approx(0.02), pytest.approx(0.01), 3)
    assert difference["roads rmse"].mean == pytest.approx(-0.02)
    assert "router accuracy" not in difference, "only one side has a router"


def test_a_seed_that_one_side_lacks_makes_no_pair() -> None:
    difference = paired_difference(OTHER_RUNS, {"2": BASE_RUNS["2"]})
    assert difference["rooms abs_rel"] == (pytest.approx(0.03), None, 1)
    assert paired_difference(OTHER_RUNS, {"9": BASE_RUNS["2"]}) == {}


def content(runs: dict[str, Any]) -> dict[str, Any]:
    papers = {"base": None, "softmax": PaperRow("table 0", {"NYU": (0.077, 0.075)})}
    machine = {"date": "today", "processor": "P", "cores": 2, "memory_gib": 8, "python": "3", "versions": {"jax": "1"}}
    settings = {"seeds": list(runs["base"]), "steps": 7, "batch_size": 8, "scenes": 16}
    return {
        "settings": settings,
        "commits": ["abc"],
        "machine": machine,
        "variations": summarize(runs, papers),
    }


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_the_page_has_every_number_in_its_column() -> None:
    cells = rows(page(content({"base": BASE_RUNS, "softmax": OTHER_RUNS})))
    headers, _, base, softmax, nothing, *_ = cells
    assert headers[:3] == ["", "seeds", "rooms abs_rel"]
    assert len({len(line) for line in cells}) == 1
    table = {line[0]: dict(zip(headers, line, strict=True)) for line in (base, softmax, nothing)}
    assert table["base"]["rooms abs_rel"] == "0.2000 ± 0.1000"
    assert table["base"]["roads rmse (m)"] == "0.120 ± 0.020"
    assert table["base"]["router accuracy"] == "0.9000 ± 0.0000"
    assert table["softmax"]["router accuracy"] == table["without looking"]["router accuracy"] == "–"
    assert table["without looking"]["roads delta1"] == "0.5000"
    difference = dict(zip(cells[5], cells[7], strict=True))
    assert difference["rooms abs_rel"] == "+0.0200 ± 0.0100"
    assert difference["REL in the paper"] == "NYU 0.077 against 0.075 (+0.002): table 0"


def test_one_seed_has_no_spread() -> None:
    text = page(content({"base": {"1": BASE_RUNS["1"]}, "softmax": {"1": OTHER_RUNS["1"]}}))
    assert "±" not in text
    assert "0.2000" in text


def test_the_results_file_is_the_page_as_json() -> None:
    before = content({"base": BASE_RUNS, "softmax": OTHER_RUNS})
    assert page(json.loads(json.dumps(before))) == page(before)


@pytest.mark.parametrize("name", NAMES)
def test_a_variation_changes_what_it_says(name: str) -> None:
    base = quickstart.config()
    experiment = study.VARIATIONS[name].change(base)
    check_objective(experiment.model, experiment.objective)
    changed = {line.split(":")[0] for line in differences(base, experiment)}
    architecture = {field for field in changed if not field.startswith(("objective.", "model.router."))}
    assert architecture == DOES.get(name, set())
    objective = {field for field in changed if field.startswith("objective.")}
    assert objective == ({"objective.router"} if name.endswith(("_router", "one_head")) else set())


def test_a_dry_run_of_a_variation() -> None:
    text = describe_run(study.one_head(quickstart.config()))
    assert "  metric_head: " in text
    assert "  router: " not in text


def test_what_the_paper_reports_is_quoted_right(reference: Path) -> None:
    tables = json.loads((reference / "paper/ablations.json").read_text())
    by_paper = {name: variation.paper for name, variation in study.VARIATIONS.items()}

    def rel(name: str) -> dict[str, tuple[float, float]]:
        paper = by_paper[name]
        assert paper is not None
        return dict(paper.rel)

    of_softmax = tables["log_binomial_vs_softmax"]
    assert rel("softmax") == {"NYU": (of_softmax["softmax_REL"], of_softmax["log_binomial_REL"])}
    exponential, inverse = tables["table5_metric_head"]["rows"]
    assert (exponential["type"], inverse["type"]) == ("Exponential attractor", "Inverse attractor")
    assert rel("exponential_attractors") == {"NYU": (exponential["REL"], inverse["REL"])}
    one, two = tables["table2_nk_joint"]["rows"]
    assert (one["method"], two["method"]) == ("ZoeD-M12-NK+", "ZoeD-M12-NK")
    assert rel("one_head") == {name: (one[name], two[name]) for name in ("NYU", "KITTI")}
    routers = {row["router"]: row for row in tables["table6_routers"]["rows"]}
    for name, router in (("labelled_router", "Labeled"), ("auto_router", "Auto")):
        expected = {d: (routers[router][f"{d}_REL"], routers["Trained"][f"{d}_REL"]) for d in ("NYU", "KITTI")}
        assert rel(name) == expected


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs that train and evaluate at once; the list has the names of those that did."""
    names: list[str] = []

    def train(experiment: Experiment, folder: Path) -> Finished:
        open_run(folder, experiment)
        names.append(experiment.name)
        return Finished(TrainState._make([None] * len(TrainState._fields)), 1)

    class Judged:
        def results(self, digits: int) -> dict[str, Any]:
            numbers = results(0.2, 0.1)
            return {name: numbers[name] for name in ("domains", "router_accuracy")}

        def confusion(self) -> np.ndarray:
            return np.eye(2, dtype=int)

    monkeypatch.setattr(study, "train", train)
    monkeypatch.setattr(study, "prepare", lambda run: 0)
    monkeypatch.setattr(study, "held_out_scenes", lambda experiment: None)
    monkeypatch.setattr(study, "evaluate_run", lambda folder, scenes: Judged())
    return names


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command with one variation and two seeds, and further options."""

    def call(*options: str) -> int:
        folders = ["--output-dir", str(tmp_path / "runs"), "--results", str(tmp_path / "results/study.json")]
        common = ["--seeds", "2", "--steps", "4", "--scenes", "16", "--variations", "softmax"]
        monkeypatch.setattr(sys, "argv", ["study", *common, *folders, *options])
        return study.main()

    return call


def test_finished_runs_are_not_repeated(tmp_path: Path, trained: list[str], call: Callable[..., int]) -> None:
    assert call() == 0
    assert trained == ["study_base", "study_softmax"] * 2
    first = (tmp_path / "results/study.md").read_text()
    assert call() == 0
    assert len(trained) == 4
    # all but the time of writing
    assert rows((tmp_path / "results/study.md").read_text()) == rows(first)
    assert call("--seeds", "3") == 0
    assert len(trained) == 6, "a seed more is two runs more"
    file = json.loads((tmp_path / "results/study.json").read_text())
    assert file["settings"]["seeds"] == [43, 44, 45]
    assert list(file["variations"]["softmax"]["runs"]) == ["43", "44", "45"]
    assert not list(tmp_path.rglob("*.partial"))


def test_an_interrupted_run_is_made_anew_by_the_next_call(
    tmp_path: Path,
    trained: list[str],
    call: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = study.train

    def interrupted(experiment: Experiment, folder: Path) -> Finished:
        finished = whole(experiment, folder)
        stop = (experiment.name, experiment.seed) == ("study_softmax", 43)
        return Finished(finished.state, 1, signal.SIGTERM if stop else None)

    monkeypatch.setattr(study, "train", interrupted)
    assert call() == 128 + signal.SIGTERM
    assert trained == ["study_base", "study_softmax"]
    assert "[2 of 4] softmax, seed 43: interrupted" in capsys.readouterr().out
    assert not (tmp_path / "runs/softmax/seed_43/results.json").exists()
    assert not (tmp_path / "results").exists()
    monkeypatch.setattr(study, "train", whole)
    assert call() == 0
    assert trained[2:] == ["study_softmax", "study_base", "study_softmax"]


@pytest.mark.parametrize(
    ("options", "named"), [(("--steps", "5"), "steps: 4 -> 5"), (("--scenes", "17"), "scenes: 16 -> 17")]
)
def test_runs_of_another_configuration_are_refused_before_any_work(
    tmp_path: Path,
    trained: list[str],
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    named: str,
) -> None:
    assert call() == 0
    assert call(*options) == 2
    message = capsys.readouterr().err
    assert str(tmp_path / "runs/base/seed_43") in message
    assert named in message
    assert len(trained) == 4


def test_a_run_that_diverges_is_left_out(
    tmp_path: Path, trained: list[str], call: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = study.train

    def diverging(experiment: Experiment, folder: Path) -> Finished:
        if (experiment.name, experiment.seed) == ("study_softmax", 43):
            raise NonFiniteError("no finite loss")
        return whole(experiment, folder)

    monkeypatch.setattr(study, "train", diverging)
    assert call() == 1
    entry = json.loads((tmp_path / "results/study.json").read_text())["variations"]["softmax"]
    assert list(entry["runs"]) == ["44"]
    assert entry["difference_to_base"]["rooms abs_rel"]["seeds"] == 1


def routed(name: str, routes: list[tuple[int, int]]) -> HeldOut:
    """Images with these data sets and heads, by the model of a variation."""
    nothing = DepthMetrics(*[0.0] * len(DepthMetrics._fields))  # type: ignore[arg-type]
    config = study.VARIATIONS[name].change(quickstart.config()).model
    layout = study.labelled_router(quickstart.config()).model
    images = [ImageResult(str(i), dataset, head, nothing) for i, (dataset, head) in enumerate(routes)]
    one_image = {"image": np.zeros((1, 8, 8, 3), np.uint8), "depth_m": np.ones((1, 8, 8), np.float32)}
    source = InMemorySource([one_image | {"domain": np.array(["rooms"])}], layout)
    scenes = Scenes(layout, source, {})
    return HeldOut(DepthModel(config, {}), lambda batch: None, scenes, images)  # type: ignore[arg-type,return-value]


def test_router_accuracy_is_of_routers_only() -> None:
    swapped = [(0, 1), (0, 1), (0, 1), (1, 0)]
    assert routed("base", swapped).router_accuracy == 0
    assert routed("base", [(0, 0), (0, 1), (1, 1), (1, 1)]).router_accuracy == 0.75
    assert routed("auto_router", swapped).router_accuracy == 1, "no label has named its heads"
    assert routed("auto_router", [(0, 0), (0, 0), (1, 0), (1, 0)]).router_accuracy == 0.5
    assert routed("labelled_router", [(0, 0), (1, 1)]).router_accuracy is None
    one = routed("one_head", [(0, 0), (1, 0)])
    assert one.router_accuracy is None
    np.testing.assert_array_equal(one.confusion(), [[1], [1]])


def test_there_is_a_run_for_each_seed_and_variation(tmp_path: Path) -> None:
    runs = study.planned_runs(["base", "softmax"], 2, 50, 16, tmp_path)
    first = quickstart.config().seed
    assert [run.folder.relative_to(tmp_path).as_posix() for run in runs] == [
        f"{name}/seed_{seed}" for seed in (first, first + 1) for name in ("base", "softmax")
    ]
    assert {run.experiment.optimizer.schedule.warmup_steps for run in runs} == {5}
    # the quickstart itself, under another name
    itself = study.planned_runs(["base"], 1, None, 2000, tmp_path)[0].experiment
    assert [line.split(":")[0] for line in differences(quickstart.config(), itself)] == ["name"]


@pytest.mark.slow
def test_two_variations_from_end_to_end(tmp_path: Path, call: Callable[..., int]) -> None:
    """One with another way to find its head, one with another number of heads, beside the base."""
    options = ("--seeds", "1", "--variations", "labelled_router", "one_head")
    assert call(*options) == 0
    file = json.loads((tmp_path / "results/study.json").read_text())
    assert list(file["variations"]) == ["base", "one_head", "labelled_router"]
    runs = {name: entry["runs"]["43"] for name, entry in file["variations"].items()}
    # the same scenes, over the same depths, for every model: what sees no image does not change with it
    baselines = [[sides["best_baseline"] for sides in of_run["domains"].values()] for of_run in runs.values()]
    assert baselines[0] == baselines[1] == baselines[2]
    for of_run in runs.values():
        assert list(of_run["domains"]) == ["rooms", "roads"]
        assert np.isfinite([value for sides in of_run["domains"].values() for value in sides["model"].values()]).all()
        # 200 scenes of each are rendered to test on
        assert np.sum(of_run["images_by_data_set_and_head"], axis=1).tolist() == [200, 200]
    assert runs["labelled_router"]["images_by_data_set_and_head"] == [[200, 0], [0, 200]]
    assert runs["base"]["router_accuracy"] is not None
    assert runs["one_head"]["router_accuracy"] is None
    steps = (tmp_path / "runs/one_head/seed_43/metrics.jsonl").read_text().splitlines()
    assert len(steps) == 4
    # the results lost, the run goes on from its last checkpoint and is judged again
    (tmp_path / "runs/one_head/seed_43/results.json").unlink()
    assert call(*options) == 0
    again = json.loads((tmp_path / "results/study.json").read_text())["variations"]["one_head"]["runs"]["43"]
    assert again["domains"] == runs["one_head"]["domains"]
    assert again["wall_seconds"] is None
