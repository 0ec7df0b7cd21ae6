"""Experiments as data: JSON, unknown fields, files and names, what may change when a run goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.train import tiny
from zoe_jax import config as configs
from zoe_jax.config import ConfigError
from zoe_jax.input.config import AugmentConfig, DataConfig, DatasetConfig
from zoe_jax.train.experiment import Experiment, differences, find_experiment, read_experiment
from zoe_jax.train.sharding import ShardingConfig


def test_an_experiment_survives_json() -> None:
    experiment = tiny.experiment_nk(init="somewhere", steps=None)
    assert read_experiment(json.loads(json.dumps(configs.to_dict(experiment)))) == experiment


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batchsize": 3}, "Experiment has no field 'batchsize'"),
        ({"optimizer": {"lr": 1.0}}, "OptimizerConfig has no field 'lr'"),
        ({"batch_size": "8"}, "Experiment.batch_size is '8'"),
        ({"init_part": "head"}, "Experiment.init_part is 'head'"),
    ],
)
def test_an_unknown_field_or_value_is_an_error(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_experiment(configs.to_dict(tiny.experiment()) | change)


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 0},
        {"steps": 0},
        {"validate_every": -1},
        {"name": "../elsewhere"},
        {"batch_size": 9, "optimizer": replace(tiny.experiment().optimizer, accumulation_steps=2)},
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        tiny.experiment(**change)


def test_length_in_steps_or_in_epochs() -> None:
    assert tiny.experiment(steps=7).total_steps(n_examples=100) == 7
    # 20 examples in batches of 8: the third batch of an epoch is short
    assert tiny.experiment(steps=None, epochs=5).total_steps(n_examples=20) == 15


def test_differences_name_each_field_and_leave_out_where_a_run_may_change() -> None:
    before = tiny.experiment()
    moved = replace(before, sharding=ShardingConfig(fsdp=4), keep_best=3, init="elsewhere", log_every=7)
    assert differences(before, moved) == []
    after = replace(moved, seed=6, optimizer=replace(before.optimizer, learning_rate=0.5, freeze=("encoder/.*",)))
    assert differences(before, after) == [
        "optimizer.learning_rate: 0.001 -> 0.5",
        "optimizer.freeze: () -> ('encoder/.*',)",
        "seed: 5 -> 6",
    ]


def test_workers_may_change_and_data_sets_may_not() -> None:
    before = replace(tiny.experiment(), data=DataConfig((DatasetConfig("a"), DatasetConfig("b"))))
    elsewhere = replace(before.data, workers=4, prefetch=9, data_dir="/elsewhere", needs="more")
    assert differences(before, replace(before, data=elsewhere)) == []
    brighter = replace(before.data.train[1], augment=AugmentConfig(flip_probability=0.5))
    other = replace(before.data, train=(DatasetConfig("c"), brighter), mixing="mix")
    assert differences(before, replace(before, data=other)) == [
        "data.train.0.name: 'a' -> 'c'",
        "data.train.1.augment.flip_probability: 0.0 -> 0.5",
        "data.mixing: 'shuffle' -> 'mix'",
    ]
    fewer = replace(before.data, train=(DatasetConfig("a"),))
    assert any(line.startswith("data.train.1: {") for line in differences(before, replace(before, data=fewer)))


def test_a_router_that_appears_is_a_difference() -> None:
    assert any(
        line.startswith("model.router: None -> ") for line in differences(tiny.experiment(), tiny.experiment_nk())
    )


def test_an_experiment_is_found_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from zoe_jax.train.experiment import Experiment\n\ndef config():\n    return Experiment('mine')\n")
    assert find_experiment(str(file)) == Experiment("mine")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"no function config\(\)"),
        ("def config():\n    return 3\n", "returns int"),
        (None, "no such experiment file"),
    ],
)
def test_a_file_without_an_experiment(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        find_experiment(str(file))


@pytest.mark.parametrize("name", ["zoed_m12_q", "../zoed_m12_n", "os.path:join", ""])
def test_a_name_without_an_experiment(name: str) -> None:
    with pytest.raises(ConfigError):
        find_experiment(name)
