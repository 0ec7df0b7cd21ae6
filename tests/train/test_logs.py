"""Logs: each step exactly once over restarts, bytes of an uninterrupted run, speed, operations."""

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from tests.train.tiny import records
from zoe_jax.train.flops import PEAK_FLOPS, count_flops, peak_flops
from zoe_jax.train.logs import LogError, RunLog, SpeedMeter, keep_until


def write_steps(run: Path, first: int, last: int, done: int) -> None:
    with RunLog(run, done, 100, progress=False) as logs:
        for step in range(first, last + 1):
            logs.step(step, {"loss": step / 3, "losses": {"silog": step / 3}, "accepted": True, "routed": [True]})
            if step % 2 == 0:
                logs.validation(step, {"abs_rel": 1 / step})
            logs.flush()


def test_a_restart_leaves_the_bytes_of_an_uninterrupted_run(tmp_path: Path) -> None:
    write_steps(tmp_path / "whole", 1, 9, 0)
    write_steps(tmp_path / "broken", 1, 7, 0)
    with (tmp_path / "broken" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # a line that a kill tore
    write_steps(tmp_path / "broken", 5, 9, 4)
    for name in ("metrics.jsonl", "validation.jsonl"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert [record["step"] for record in records(tmp_path / "broken" / "metrics.jsonl")] == list(range(1, 10))


def test_a_torn_line_goes_even_where_its_step_counts(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1}\n{"step": 2')
    keep_until(log, 2)
    assert log.read_text() == '{"step": 1}\n'


@pytest.mark.parametrize(
    ("content", "step", "message"),
    [
        ('{"step": 1}\n{"step": 3}\n', 3, "one line for each of the steps 1 to 3"),
        ('{"step": 1}\n{"step": 1}\n{"step": 2}\n', 2, "one line for each"),
        ('{"step": 1}\n', 2, "one line for each"),
        ('{"step": 1}\nnonsense\n{"step": 2}\n', 2, "line 2 is no record of a step"),
        ("", 1, "one line for each"),
    ],
)
def test_a_log_of_something_else_is_refused(tmp_path: Path, content: str, step: int, message: str) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(content)
    with pytest.raises(LogError, match=message):
        keep_until(log, step, contiguous=True)
    assert log.read_text() == content


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, 1, progress=False) as logs:
        logs.step(1, {"loss": float("nan"), "losses": {"silog": float("inf")}})
    assert records(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": None, "losses": {"silog": None}}]


def test_tensorboard_gets_scalars_and_pictures(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, 1, progress=False) as logs:
        logs.step(1, {"loss": 2.5, "losses": {"silog": 2.5}})
        logs.speed(1, {"examples_per_s": 3.0})
        logs.picture(1, "validation/0", np.zeros((4, 4, 3), np.uint8))
    (file,) = (tmp_path / "tensorboard").iterdir()
    content = file.read_bytes()
    for tag in (b"train/loss", b"train/losses/silog", b"speed/examples_per_s", b"validation/0", b"\x89PNG"):
        assert tag in content
    # the value itself, as the record format stores it: field 2, a little-endian float
    assert b"\x15" + struct.pack("<f", 2.5) in content


def events(file: Path) -> Iterator[event_pb2.Event]:
    """Of a TensorBoard file, whose records stand between a length with its checksum and a checksum."""
    content = file.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield event_pb2.Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]


@pytest.mark.parametrize("done", [0, 2])
def test_tensorboard_forgets_the_steps_of_an_attempt_that_was_killed(tmp_path: Path, done: int) -> None:
    write_steps(tmp_path, 1, 4, 0)
    (before,) = (tmp_path / "tensorboard").iterdir()
    before.rename(before.with_name("events.out.tfevents.0"))  # files are named by the second
    write_steps(tmp_path, done + 1, 3, done)
    (file,) = (path for path in (tmp_path / "tensorboard").iterdir() if not path.name.endswith(".0"))
    begun = [event.step for event in events(file) if event.session_log.status == event_pb2.SessionLog.START]
    assert begun == [done + 1]


def test_a_validation_that_does_not_count_is_taken_out(tmp_path: Path) -> None:
    write_steps(tmp_path, 1, 4, 0)
    with RunLog(tmp_path, 4, 100, validated=False, progress=False):
        pass
    assert [record["step"] for record in records(tmp_path / "validation.jsonl")] == [2]
    assert [record["step"] for record in records(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]


def test_only_one_host_writes(tmp_path: Path) -> None:
    with RunLog(tmp_path / "run", 0, 1, writing=False) as logs:
        logs.step(1, {"loss": 1.0})
        logs.validation(1, {"abs_rel": 1.0})
        logs.speed(1, {})
        logs.picture(1, "x", np.zeros((4, 4, 3), np.uint8))
        logs.flush()
    assert not (tmp_path / "run").exists()


def test_a_log_that_cannot_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(LogError, match="cannot be written"):
        RunLog(tmp_path / "run", 0, 1, progress=False)


def test_speed() -> None:
    meter = SpeedMeter(batch_size=8, peak_flops=1e6)
    assert meter.read() == {}
    meter.step_flops = 1e4
    meter.restart()
    start = time.perf_counter()
    for _ in range(2):
        with meter.waiting_for_input():
            time.sleep(0.02)
        time.sleep(0.02)
    measured = meter.read()
    elapsed_s = time.perf_counter() - start
    # both clocks started and stopped within microseconds of each other
    assert measured["examples_per_s"] == pytest.approx(16 / elapsed_s, rel=0.05)
    assert measured["flop_utilisation"] == pytest.approx(2e4 / elapsed_s / 1e6, rel=0.05)
    assert 0.04 / elapsed_s <= measured["input_wait_share"] < 1
    assert meter.read() == {}


def test_operations_are_counted_as_often_as_a_loop_runs() -> None:
    def stack(weights: jax.Array, x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0].sum()

    weights, x = jnp.ones((5, 8, 8)), jnp.ones((3, 8))
    forward = 5 * 2 * 3 * 8 * 8
    assert count_flops(stack, weights, x) == forward
    assert count_flops(jax.jit(stack), weights, x) == forward
    # backward: one product for the gradient of each of the two factors
    assert count_flops(jax.grad(stack), weights, x) == 3 * forward
    assert count_flops(jax.grad(jax.checkpoint(stack)), weights, x) == 4 * forward


def test_operations_of_a_convolution_and_of_its_transpose() -> None:
    image, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 4))
    layout = ("NHWC", "HWIO", "NHWC")

    def conv(image: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=layout)

    assert count_flops(conv, image) == 2 * (2 * 6 * 6 * 4) * (3 * 3 * 3)
    apart = jnp.ones((2, 6, 6, 3))

    def transposed(image: jax.Array) -> jax.Array:
        return jax.lax.conv_transpose(image, jnp.ones((2, 2, 3, 4)), (2, 2), "VALID", dimension_numbers=layout)

    # every input pixel meets every tap once
    assert count_flops(transposed, apart) == 2 * (2 * 6 * 6 * 3) * (2 * 2 * 4)


def test_peak() -> None:
    class Known:
        device_kind = "NVIDIA H100 80GB HBM3"

    assert peak_flops(Known()) == PEAK_FLOPS["NVIDIA H100"]
    assert 1e8 < peak_flops(jax.devices()[0]) < 1e14
