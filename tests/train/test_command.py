"""The sub-commands: overrides, dry run, joining other hosts, exit statuses."""

import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest

from tests.train import tiny
from zoe_jax.config import ConfigError
from zoe_jax.input.config import DatasetConfig
from zoe_jax.input.hosts import Distribution, join_other_hosts
from zoe_jax.train import command, initial
from zoe_jax.train.command import Train, parse_train
from zoe_jax.train.dry_run import describe_run
from zoe_jax.train.experiment import find_experiment
from zoe_jax.train.loop import Finished
from zoe_jax.train.sharding import ShardingConfig


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text("from tests.train import tiny\n\ndef config():\n    return tiny.experiment_nk()\n")
    return str(path)


def test_fields_are_overridden_by_name(file: str) -> None:
    parsed = parse_train(
        [
            *(file, "--run-dir", "somewhere", "--optimizer.learning-rate", "3e-4", "--model.head.n-bins", "12"),
            *("--optimizer.groups", "encoder/.*", "0.1", "router/.*", "2", "--data.train.0.name", "a.npz"),
            *("--objective.router", "auto", "--steps", "7", "--sharding.fsdp", "2"),
        ]
    )
    assert parsed.run_dir == Path("somewhere")
    experiment = parsed.experiment
    assert experiment.optimizer.learning_rate == 3e-4
    assert experiment.optimizer.groups == (("encoder/.*", 0.1), ("router/.*", 2.0))
    assert experiment.model.head is not None
    assert experiment.model.head.n_bins == 12
    assert experiment.data.train == (DatasetConfig("a.npz"),)
    assert (experiment.steps, experiment.objective.router, experiment.sharding.fsdp) == (7, "auto", 2)
    # and nothing else
    untouched = tiny.experiment_nk()
    assert (experiment.batch_size, experiment.seed, experiment.name) == (8, 5, "tiny_nk")
    assert experiment.optimizer.ema_decay == untouched.optimizer.ema_decay
    assert experiment.model.router == untouched.model.router


def test_data_sets_are_overridden_one_by_one() -> None:
    parsed = parse_train(
        [
            *("zoed_m12_nk", "--data.train.0.name", "zoe_folder/flat", "--data.train.1.name", "streets.npz"),
            *("--data.train.1.size", "352", "1216", "--data.train.1.augment.flip-probability", "0.25"),
            *("--data.validation.0.name", "zoe_folder/flat", "--data.workers", "4", "--data.mixing", "mix"),
        ]
    )
    data, before = parsed.experiment.data, find_experiment("zoed_m12_nk").data
    flat, streets = data.train
    assert flat == replace(before.train[0], name="zoe_folder/flat")
    augment = replace(before.train[1].augment, flip_probability=0.25)
    assert streets == replace(before.train[1], name="streets.npz", size=(352, 1216), augment=augment)
    assert data.validation == (replace(before.validation[0], name="zoe_folder/flat"),)
    assert (data.workers, data.mixing) == (4, "mix")


def test_an_unknown_option_is_refused(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_train([file, "--optimizer.learning-rat", "1"])
    assert stop.value.code == 2
    assert "learning-rate" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_the_experiment_comes_first(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="name an experiment first"):
        parse_train(arguments)


def test_a_contradiction_is_one_sentence(file: str) -> None:
    with pytest.raises((ConfigError, SystemExit)):
        parse_train([file, "--batch-size", "0"])


def test_a_dry_run_tells_everything_and_makes_nothing(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocate(*_: Any, **__: Any) -> None:
        raise AssertionError("a dry run allocated parameters")

    monkeypatch.setattr(initial, "initial_state", allocate)
    status = parse_train(
        [file, "--run-dir", str(tmp_path / "run"), "--dry-run", "--optimizer.groups", "encoder/.*", "0.1"]
    ).run()
    assert status == 0
    assert not (tmp_path / "run").exists()
    said = capsys.readouterr().out
    count = sum(leaf.size for leaf in jax.tree.leaves(initial.state_shapes(tiny.experiment_nk()).params))
    assert f"  all: {count:,}\n" in said
    mib = 4 * count / 2**20
    for line in (
        "data: no training data is named: give --data.train.0.name",
        "length: 12 steps",
        "batch: 8 examples, 8 on this host",
        f"parameters: {mib:,.1f} MiB",
        f"moving average: {mib:,.1f} MiB",
        f"gradients: {mib:,.1f} MiB",
        "0.0001: encoder/.* (",
        "0.001: all else (",
        "mesh: data 1, fsdp 1",
        "axis -1 over fsdp: encoder/.*/(kernel|qkv)",
        "by domain, nyu or kitti: metric_head/",
        "never: decoder/head/conv3/.* (2 arrays",
    ):
        assert line in said


def test_a_dry_run_counts_data(tmp_path: Path) -> None:
    experiment = tiny.experiment(**tiny.write_data(tmp_path), steps=None, epochs=5)
    said = describe_run(experiment)
    assert "train.npz: 20 examples, image 32x32x3 uint8, depth 32x32 float32" in said
    assert "validation.npz: 5 examples" in said
    # 5 epochs of 3 batches
    assert "length: 15 steps" in said
    assert "all parameters in every step" in said


def test_a_dry_run_refuses_what_training_would(file: str) -> None:
    with pytest.raises(ConfigError, match="does not use 1 devices"):
        describe_run(tiny.experiment(sharding=ShardingConfig(data=3)))


@pytest.mark.parametrize(
    ("stopped_by", "status"), [(None, 0), (signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["done", "TERM", "INT"]
)
def test_exit_status(
    file: str, monkeypatch: pytest.MonkeyPatch, stopped_by: signal.Signals | None, status: int
) -> None:
    calls = []
    state = initial.state_shapes(tiny.experiment_nk())

    def train(*arguments: Any, **options: Any) -> Any:
        calls.append((arguments, options))
        return Finished(state, 3, stopped_by)

    monkeypatch.setattr(command, "train", train)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_: None)
    parsed = parse_train([file, "--allow-config-change"])
    assert parsed.run() == status
    assert calls == [((parsed.experiment, Path("runs/tiny_nk")), {"allow_config_change": True})]


def test_hosts_are_joined_by_hand(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments: calls.append(arguments))
    parsed = parse_train([file, "--coordinator", "10.0.0.1:8476", "--num-processes", "4", "--process-id", "0"])
    join_other_hosts(parsed.distribution)
    assert calls == [("10.0.0.1:8476", 4, 0)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("10.0.0.1:8476",), "go together"),
        (("localhost", 2, 0), "--coordinator is localhost; it should be an address and a port"),
        (("localhost:8476", 2, 2), "--process-id is 2 of 2 processes; they are counted from 0"),
        (("localhost:8476", 2, -1), "--process-id is -1 of 2"),
    ],
)
def test_addresses_that_cannot_be_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        join_other_hosts(Distribution(*given))


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (ValueError("coordinator_address should be defined."), False),
        (RuntimeError("jax.distributed.initialize() must be called before any JAX calls"), False),
        (ValueError("Number of processes must be defined."), True),
    ],
)
def test_hosts_are_found_where_there_is_a_cluster(
    monkeypatch: pytest.MonkeyPatch, error: Exception, refused: bool
) -> None:
    def initialize() -> None:
        raise error

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    if refused:
        with pytest.raises(ConfigError, match=re.escape(str(error))):
            join_other_hosts(Distribution())
    else:
        join_other_hosts(Distribution())


def test_jax_says_so_where_there_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence that `join_other_hosts` relies on."""
    for name in ("JAX_COORDINATOR_ADDRESS", "SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri"):
        monkeypatch.delenv(name, raising=False)
    from jax._src.distributed import State

    with pytest.raises(ValueError, match="coordinator_address should be defined"):
        State().initialize(cluster_detection_method="deactivate")


def test_train_has_everything_from_its_arguments(file: str) -> None:
    parsed = parse_train([file])
    assert parsed == Train(file, tiny.experiment_nk())
