"""The quickstart from end to end, with too few steps to learn anything."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from zoe_jax.train.experiment import find_experiment
from zoe_jax_experiments import quickstart


def test_the_experiment_is_found_by_its_name_and_has_no_accident_in_it() -> None:
    experiment = find_experiment("quickstart")
    assert experiment == quickstart.config()
    assert [data.name for data in experiment.data.train] == ["zoe_rooms_and_roads/rooms", "zoe_rooms_and_roads/roads"]
    assert sum(data.weight for data in experiment.data.train) == experiment.batch_size
    assert experiment.steps is not None
    assert experiment.steps % experiment.validate_every == 0, "the last step is validated once"


def test_training_alone_needs_no_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    spec = importlib.util.find_spec(quickstart.__name__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.config() == quickstart.config()


@pytest.mark.slow
def test_few_steps_leave_every_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--output-dir", str(tmp_path), "--steps", "6", "--scenes", "16"]
    monkeypatch.setattr(sys, "argv", ["quickstart", *options])
    assert quickstart.main() == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results) == {"domains", "router_accuracy", "wall_seconds"}
    for domain in ("rooms", "roads"):
        for side in ("model", "best_baseline"):
            numbers = results["domains"][domain][side]
            assert set(numbers) == {"delta1", "abs_rel", "rmse"}
            assert np.isfinite(list(numbers.values())).all()
    assert 0 <= results["router_accuracy"] <= 1
    page = (tmp_path / "report.html").read_text()
    # 4 curves, 4 scenes of each domain, the photograph
    assert page.count("<figure") == 4 + 2 * 4 + 1
    assert (tmp_path / "coffee_depth.npy").exists()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    # the same command again finds everything done
    assert quickstart.main() == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == len(losses) == 6
