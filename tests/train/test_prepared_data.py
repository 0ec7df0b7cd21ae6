"""Training on a prepared data set from disk, broken off and resumed: losses and parameters are the same bits."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.input import tiny_data
from tests.train import tiny
from zoe_jax.config import preset
from zoe_jax.input.config import AugmentConfig, DataConfig, DatasetConfig
from zoe_jax.input.pipeline import Pipeline
from zoe_jax.train import initial, loop
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.loop import Finished, train

AUGMENT = AugmentConfig(max_rotation_degrees=1.0, flip_probability=0.5, colour_probability=0.5)


@pytest.fixture
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    data_dir = tmp_path_factory.mktemp("data")
    tiny_data.prepare(data_dir, "png")
    return replace(
        tiny.experiment(),
        name="prepared",
        model=preset("reference_n"),
        data=DataConfig(
            train=(DatasetConfig("zoe_tiny/png", augment=AUGMENT),),
            validation=(DatasetConfig("zoe_tiny/png", "validation"),),
            data_dir=str(data_dir),
        ),
        batch_size=4,
        steps=5,
        validate_every=5,
        checkpoint_every=2,
        log_every=2,
    )


@pytest.fixture(autouse=True)
def compile_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of this test have the same steps; compiling them is most of the time."""
    for name in ("make_train_step", "make_eval_step"):
        monkeypatch.setattr(loop, name, once(getattr(loop, name)))
    monkeypatch.setattr(initial, "init", tiny.cheap_init)


def once(make: Callable[..., Any]) -> Callable[..., Any]:
    """Makes it the first time, and gives that again whatever the arguments are."""
    made: list[Any] = []

    def first(*arguments: Any) -> Any:
        made.extend([] if made else [make(*arguments)])
        return made[0]

    return first


class PowerCutError(Exception):
    """What takes a run down."""


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_a_broken_run_goes_on_bit_for_bit(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(experiment, tmp_path / "whole", progress=False)

    with monkeypatch.context() as patch:
        batches = Pipeline.training_batches

        def until_the_fourth(*arguments: Any) -> Iterator[Any]:
            for step, batch in enumerate(batches(*arguments), 1):
                if step == 4:
                    raise PowerCutError
                yield batch

        patch.setattr(Pipeline, "training_batches", until_the_fourth)
        with pytest.raises(PowerCutError):
            train(experiment, tmp_path / "run", progress=False)
    # workers are free to change; the checkpoint after step 2 is in the middle of an epoch
    resumed = train(replace(experiment, data=replace(experiment.data, workers=1)), tmp_path / "run", progress=False)

    assert_same_end(resumed, whole)
    for name in ("metrics.jsonl", "validation.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    steps = records(tmp_path / "whole" / "metrics.jsonl")
    assert [record["accepted"] for record in steps] == [True] * 5
    assert len({record["loss"] for record in steps}) == 5


def assert_same_end(a: Finished, b: Finished) -> None:
    assert (a.step, a.stopped_by) == (b.step, b.stopped_by) == (5, None)
    jax.tree.map(np.testing.assert_array_equal, a.state, b.state)
