"""The experiments of the paper: the recipe of the released configurations, and the numbers of the tables."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from zoe_jax.config import preset
from zoe_jax.input.config import AugmentConfig
from zoe_jax.train.dry_run import describe_run
from zoe_jax.train.experiment import Experiment, find_experiment
from zoe_jax.train.initial import state_shapes
from zoe_jax.train.path_rules import explain

NAMES = ["zoed_m12_n", "zoed_m12_k", "zoed_m12_nk", "zoed_x_n"]
ROWS = {"zoed_m12_n": "ZoeD-M12-N", "zoed_m12_k": "ZoeD-M12-K", "zoed_m12_nk": "ZoeD-M12-NK", "zoed_x_n": "ZoeD-X-N"}


@pytest.mark.parametrize(
    ("name", "model", "rate", "size", "steps", "part"),
    [
        # an epoch of the original: ceil(24231 / 16), ceil(23158 / 16), 2 * (ceil(24231 / 16) + 1) batches
        ("zoed_m12_n", "zoed_n", 1.61e-4, (384, 512), 5 * 1515, "relative"),
        ("zoed_m12_k", "zoed_k", 1.61e-4, (384, 768), 5 * 1448, "relative"),
        ("zoed_m12_nk", "zoed_nk", 2.512e-4, (384, 512), 5 * 3032, "relative"),
        ("zoed_x_n", "zoed_n", 1.61e-4, (384, 512), 5 * 1515, "encoder"),
    ],
)
def test_the_released_recipe(name: str, model: str, rate: float, size: tuple[int, int], steps: int, part: str) -> None:
    experiment = find_experiment(name)
    assert experiment.name == name
    assert experiment.model == preset(model)
    assert experiment.model.network_size == size
    assert (experiment.batch_size, experiment.steps, experiment.seed) == (16, steps, 43)
    assert experiment.init_part == part
    optimizer = experiment.optimizer
    assert (optimizer.learning_rate, optimizer.weight_decay, optimizer.clip_norm) == (rate, 0.01, 0.1)
    assert (optimizer.b2, optimizer.eps, optimizer.ema_decay, optimizer.freeze) == (0.999, 1e-8, None, ())
    assert optimizer.skip_untouched
    schedule = optimizer.schedule
    assert (schedule.kind, schedule.peak_fraction, schedule.start_scale, schedule.end_scale) == (
        "one_cycle",
        0.7,
        1.0,
        1e-4,
    )
    # a quarter of an epoch, as the original's validate_every
    assert experiment.validate_every == steps // 5 // 4


def test_the_router_of_nk() -> None:
    objective = find_experiment("zoed_m12_nk").objective
    assert (objective.router, objective.router_weight, objective.head_choice) == ("trained", 100.0, "router")
    assert find_experiment("zoed_m12_nk").data.mixing == "alternate"


def test_augmentation_is_that_of_the_original() -> None:
    """zoedepth/utils/config.py and zoedepth/data/data_mono.py; random_crop and random_translate are off there."""
    common = {"max_rotation_degrees": 1.0, "flip_probability": 0.5, "colour_probability": 0.5}
    nyu = AugmentConfig(**common, gamma_range=(0.9, 1.1), brightness_range=(0.75, 1.25), channel_range=(0.9, 1.1))
    kitti = AugmentConfig(**common, kb_crop=True, brightness_range=(0.9, 1.1))
    data = {name: find_experiment(name).data for name in NAMES}
    assert [d.augment for d in data["zoed_m12_n"].train] == [d.augment for d in data["zoed_x_n"].train] == [nyu]
    assert [d.augment for d in data["zoed_m12_k"].train] == [kitti]
    assert [d.augment for d in data["zoed_m12_nk"].train] == [nyu, kitti]
    assert [d.domain for d in data["zoed_m12_nk"].train] == ["nyu", "kitti"]
    assert [(d.min_depth_m, d.max_depth_m) for d in data["zoed_m12_nk"].train] == [(1e-3, 10.0), (1e-3, 80.0)]
    assert [d.augment for d in data["zoed_m12_k"].validation] == [AugmentConfig(kb_crop=True)]
    assert [d.augment for d in data["zoed_m12_nk"].validation] == [AugmentConfig()]


@pytest.mark.parametrize("name", ["zoed_m12_n", "zoed_m12_nk"])
def test_learning_rate_groups_are_those_of_the_original(name: str) -> None:
    experiment = find_experiment(name)
    params = state_shapes(experiment).params
    groups = explain(experiment.optimizer.groups, params, purpose="learning-rate groups")
    factor = {
        path: dict(experiment.optimizer.groups).get(rule or "", 1.0) for rule, paths in groups.items() for path in paths
    }
    relative = 0.1 if name == "zoed_m12_nk" else 1.0
    for path, value in factor.items():
        # the original's encoder has the reassemble layers in it, its decoder is `scratch`
        encoder = path.startswith(("encoder/", "decoder/reassemble_"))
        assert value == (0.1 if encoder else relative if path.startswith("decoder/") else 1.0), path


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_has_the_numbers_of_the_paper(name: str, reference: Path) -> None:
    said = importlib.import_module(f"zoe_jax_experiments.{name}").__doc__
    assert said is not None
    assert f"zoe-jax train {name}" in said
    tables = json.loads((reference / "paper" / "tables.json").read_text())
    checked = 0
    for data_set, row in expected_rows(tables, ROWS[name]):
        line = next(line for line in said.splitlines() if line.strip().lower().startswith(data_set.lower()))
        numbers = re.findall(r"\d+\.\d+", line)
        columns = [c for c in ("d1", "d2", "d3", "REL", "RMSE", "log10") if row.get(c) is not None]
        assert [float(number) for number in numbers] == [row[c] for c in columns], data_set
        checked += 1
    assert checked >= 4


def expected_rows(tables: dict[str, Any], model: str) -> list[tuple[str, dict[str, Any]]]:
    found = [("NYU Depth v2", row) for row in tables["table1_nyu"]["rows"] if row["method"] == model]
    for table in ("table3_zeroshot_indoor", "table4_zeroshot_outdoor"):
        for data_set, rows in tables[table].items():
            if isinstance(rows, list):
                found += [(data_set, row) for row in rows if row["method"] == model]
    return found


def test_the_routers_of_table_6(reference: Path) -> None:
    said = importlib.import_module("zoe_jax_experiments.zoed_m12_nk").__doc__ or ""
    for row in json.loads((reference / "paper" / "tables.json").read_text())["table6_routers"]["rows"]:
        line = next(
            line
            for line in said.splitlines()
            if line.split()[:1] == [row["router"].lower().replace("labeled", "labelled")]
        )
        wanted = [row[c] for c in ("NYU_REL", "NYU_RMSE", "KITTI_REL", "KITTI_RMSE")]
        assert [float(number) for number in re.findall(r"\d+\.\d+", line)] == wanted


def test_experiments_do_not_import_each_other() -> None:
    for name in NAMES:
        source = Path(str(importlib.import_module(f"zoe_jax_experiments.{name}").__file__)).read_text()
        assert not re.search(r"(import|from) .*(zoe_jax_experiments|zoed_)", source.split('"""')[2])


def test_a_dry_run_at_full_size_without_data() -> None:
    said = describe_run(find_experiment("zoed_m12_nk"))
    assert "`zoe-jax prepare nyu_depth_v2` makes it" in said
    # 345 M parameters (table 17), moments of what is trained, gradients
    parameters = int(re.search(r"  all: ([\d,]+)\n", said)[1].replace(",", ""))  # type: ignore[index]
    assert 340e6 < parameters < 350e6
    assert "2.512e-05: encoder/.*" in said
    assert "0.0002512: all else" in said


def test_every_experiment_is_one() -> None:
    assert all(isinstance(find_experiment(name), Experiment) for name in NAMES)
