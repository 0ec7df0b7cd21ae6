"""The pipeline: the same bits for any number of workers and hosts and after any resume; sizes, memory, bad data."""

import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.input import tiny_data
from tests.input.in_memory_source import InMemorySource
from tests.train import tiny
from zoe_jax.config import ZoeDepthConfig
from zoe_jax.input.config import AugmentConfig, DataConfig, DatasetConfig
from zoe_jax.input.run_data import open_data
from zoe_jax.input.source import DataError, DataSource, HostBatch, RunData

AUGMENT = AugmentConfig(
    max_rotation_degrees=5.0, random_crop=(20, 28), max_translation=3, flip_probability=0.5, colour_probability=0.5
)
ROOMS = DatasetConfig("zoe_tiny/png", augment=AUGMENT)
ROADS = DatasetConfig("zoe_tiny/roads", augment=AUGMENT, weight=3.0)
BATCH = 8
ROWS = np.arange(BATCH)


def opened(data_dir: Path, *train: DatasetConfig, seed: int = 3, **options: Any) -> RunData:
    config = DataConfig(train or (ROOMS, ROADS), (), str(data_dir), **options)
    return open_data(config, tiny.MODEL_NK, seed)


def first(source: DataSource, n: int, position: int = 0, rows: np.ndarray = ROWS) -> list[HostBatch]:
    batches: Any = source.training_batches(position, BATCH, rows)
    try:
        return [copied(batch) for batch in itertools.islice(batches, n)]
    finally:
        batches.close()


def copied(batch: HostBatch) -> HostBatch:
    arrays: Any = {name: np.array(array) for name, array in batch.arrays.items()}
    return HostBatch(arrays, batch.ids)


def assert_same(batches: list[HostBatch], others: list[HostBatch]) -> None:
    assert [batch.ids for batch in batches] == [batch.ids for batch in others]
    for batch, other in zip(batches, others, strict=True):
        assert batch.arrays.keys() == other.arrays.keys()
        for name, array in batch.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name], strict=True)  # type: ignore[literal-required]


@pytest.mark.parametrize("mixing", ["shuffle", "alternate", "mix"])
def test_any_position_gives_what_the_uninterrupted_run_would_have(data_dir: Path, mixing: str) -> None:
    from_the_start = first(opened(data_dir, mixing=mixing).train, 9)
    for k in (1, 4, 8):
        assert_same(first(opened(data_dir, mixing=mixing).train, 1, position=k * BATCH), from_the_start[k : k + 1])
    # the augmentation of an example is another each time
    images = {batch.arrays["image"][i].tobytes() for batch in from_the_start for i in ROWS}
    assert len(images) == len([name for batch in from_the_start for name in batch.ids if name]) or mixing == "alternate"


def test_a_position_in_the_middle_of_a_batch_goes_on_there(data_dir: Path) -> None:
    whole = first(opened(data_dir).train, 2)
    (late,) = first(opened(data_dir).train, 1, position=3)
    assert late.ids == whole[0].ids[3:] + whole[1].ids[:3]
    np.testing.assert_array_equal(late.arrays["image"][:5], whole[0].arrays["image"][3:])
    np.testing.assert_array_equal(late.arrays["image"][5:], whole[1].arrays["image"][:3])


def test_the_seed_decides_order_and_augmentation(data_dir: Path) -> None:
    (one,), (same,), (other,) = (first(opened(data_dir, seed=seed).train, 1) for seed in (1, 1, 2))
    assert_same([one], [same])
    assert one.ids != other.ids


def children() -> list[int]:
    tasks = Path("/proc/self/task")
    return [int(pid) for task in tasks.iterdir() for pid in of_the_living(task / "children").split()]


def command_line(pid: int) -> str:
    return of_the_living(Path(f"/proc/{pid}/cmdline")).replace("\0", " ")


def of_the_living(file: Path) -> str:
    """What a file says of a process or thread; nothing where that is gone."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_four_processes_change_nothing(data_dir: Path) -> None:
    """Six batches, so that two of the four make a second one; and none of them is left."""
    alone = first(opened(data_dir, mixing="mix").train, 6)
    assert_same(first(opened(data_dir, mixing="mix", workers=4, prefetch=1).train, 6), alone)
    assert not [child for child in children() if "spawn_main" in command_line(child)]


def test_processes_begin_where_threads_ended(data_dir: Path) -> None:
    alone = first(opened(data_dir, mixing="alternate").train, 5)
    assert_same(first(opened(data_dir, mixing="alternate", workers=1).train, 2, position=3 * BATCH), alone[3:])


@pytest.mark.parametrize("threads", [0, 1, 7])
def test_threads_change_nothing(data_dir: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = first(opened(data_dir).train, 4)
    monkeypatch.setattr("zoe_jax.input.pipeline._cores", lambda: threads)
    assert_same(first(opened(data_dir, prefetch=3).train, 4), alone)


@pytest.mark.parametrize("mixing", ["shuffle", "alternate", "mix"])
def test_hosts_share_one_global_batch(data_dir: Path, mixing: str) -> None:
    whole = first(opened(data_dir, mixing=mixing).train, 5, position=2 * BATCH)
    for rows in (np.array([0, 1, 4, 5]), np.array([2, 3, 6, 7])):
        for host, batch in zip(
            first(opened(data_dir, mixing=mixing).train, 5, position=2 * BATCH, rows=rows), whole, strict=True
        ):
            assert host.ids == tuple(batch.ids[i] for i in rows)
            for name, array in host.arrays.items():
                np.testing.assert_array_equal(array, batch.arrays[name][rows])  # type: ignore[literal-required]


def test_every_example_of_an_epoch_is_there_once(data_dir: Path) -> None:
    plain = DatasetConfig("zoe_tiny/png")
    batches = first(opened(data_dir, plain, replace(ROADS, augment=AugmentConfig())).train, 13)
    order = [name for batch in batches for name in batch.ids]
    everything = tiny_data.ids("png") + tiny_data.ids("roads")
    assert sorted(order[:26]) == sorted(order[26:52]) == sorted(everything)
    # images, depths and domains go with the ids
    for batch in batches:
        for i, name in enumerate(batch.ids):
            number = int(name[-3:])
            np.testing.assert_array_equal(batch.arrays["depth_m"][i], tiny_data.depth(number))
            assert batch.arrays["domain"][i] == name.startswith("roads")
            assert np.abs(np.asarray(batch.arrays["image"][i]).astype(int) - tiny_data.picture(number)).max() <= 4


def test_a_mixture_has_its_ratio_in_every_batch(data_dir: Path) -> None:
    for batch in first(opened(data_dir, mixing="mix").train, 6):
        assert sum(name.startswith("roads") for name in batch.ids) == 6
        assert np.asarray(batch.arrays["domain"]).tolist() == [name.startswith("roads") for name in batch.ids]


def test_alternating_data_sets_may_differ_in_size_and_fill_their_last_batch(data_dir: Path) -> None:
    rooms, roads = (replace(dataset, augment=AugmentConfig()) for dataset in (ROOMS, ROADS))
    source = opened(data_dir, rooms, replace(roads, size=(16, 40)), mixing="alternate").train
    batches = first(source, 6)
    assert [batch.arrays["image"].shape[1:3] for batch in batches] == [(24, 32), (16, 40)] * 3
    assert [batch.arrays["depth_m"].shape[1:] for batch in batches] == [(24, 32), (16, 40)] * 3
    # 13 examples are a batch of 8, one of 5, and the turn of the next pass that ends the original's epoch
    assert [int(np.sum(batch.arrays["example_mask"])) for batch in batches] == [8, 8, 5, 5, 8, 8]
    assert sorted(name for batch in batches[0:4:2] for name in batch.ids if name) == tiny_data.ids("png")
    assert all(
        not mask or name
        for batch in batches
        for name, mask in zip(batch.ids, batch.arrays["example_mask"], strict=True)
    )


def validation(data_dir: Path, *datasets: DatasetConfig, rows: np.ndarray = ROWS) -> list[HostBatch]:
    config = DataConfig((ROOMS,), datasets, str(data_dir))
    source = open_data(config, tiny.MODEL_NK, 0).validation
    assert source is not None
    return [copied(batch) for batch in source.validation_batches(BATCH, rows)]


def test_validation_sees_every_example_once_in_the_order_of_ids_and_marks_padding(data_dir: Path) -> None:
    sets = [DatasetConfig("zoe_tiny/png"), DatasetConfig("zoe_tiny/roads", "validation")]
    batches = validation(data_dir, *sets)
    ids = [name for batch in batches for name in batch.ids]
    assert ids == tiny_data.ids("png") + tiny_data.ids("roads", "validation") + [""] * 6
    mask = np.concatenate([batch.arrays["example_mask"] for batch in batches])
    assert mask.tolist() == [True] * 18 + [False] * 6
    hosts = [validation(data_dir, *sets, rows=rows) for rows in (ROWS[:4], ROWS[4:])]
    # the second host has nothing but padding in the end, and as many batches
    assert [len(host) for host in hosts] == [3, 3]
    assert [batch.ids for batch in hosts[1]] == [batch.ids[4:] for batch in batches]


def test_validation_refuses_augmentation(data_dir: Path) -> None:
    with pytest.raises(DataError, match="validation data 'zoe_tiny/png' cannot be augmented: only kb_crop"):
        validation(data_dir, DatasetConfig("zoe_tiny/png", augment=AugmentConfig(flip_probability=0.5)))


def test_depth_that_is_no_depth_is_masked_counted_and_survived(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batches = first(opened(data_dir, DatasetConfig("zoe_tiny/odd")).train, 13)
    for batch in batches:
        assert np.isfinite(batch.arrays["depth_m"]).all()
        for i, name in enumerate(batch.ids):
            valid = np.asarray(batch.arrays["valid_mask"][i])
            assert not valid[:2].any()
            assert valid[2:].all() == valid[2:].any() == (name != "odd-train-000")
            assert batch.arrays["example_mask"][i]
    # 104 examples are 8 passes through 13, each with the one that has no depth at all
    assert sum(name == "odd-train-000" for batch in batches for name in batch.ids) == 8
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"{n} examples so far have no valid pixel, the last is odd-train-000" for n in (1, 2, 4, 8)]


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_is_named_by_threads_and_by_processes(own_data: Callable[..., Path], workers: int) -> None:
    folder = own_data("png")
    (file,) = folder.glob("*train.array_record*")
    content = bytearray(file.read_bytes())
    content[2000:2040] = bytes(40)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"record \d+ of split 'train' cannot be read"):
        first(opened(folder, DatasetConfig(str(folder)), workers=workers).train, 4)


def test_a_process_makes_batches_through_ctrl_c_and_its_death_is_an_error_that_says_so(data_dir: Path) -> None:
    batches = opened(data_dir, workers=1, prefetch=1).train.training_batches(0, BATCH, ROWS)
    next(batches)
    (worker,) = (child for child in children() if "spawn_main" in command_line(child))
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker, number)
    assert len(list(itertools.islice(batches, 6))) == 6  # more than it had made ahead
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(DataError, match=r"a process that makes batches has died .* or fewer --data.workers"):
        for _ in batches:
            pass


def test_a_process_ends_with_the_one_it_works_for() -> None:
    program = """if True:
        import multiprocessing, time
        from zoe_jax.input.pipeline import _begin_worker

        def work():
            _begin_worker(0, 1)
            print("begun", flush=True)
            time.sleep(600)

        multiprocessing.get_context("fork").Process(target=work).start()
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"begun\n"
        parent.kill()
        assert parent.communicate(timeout=60) == (b"", None)  # it would have the pipe open as long as it lives
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


def test_archives_and_prepared_data_sets_go_together(data_dir: Path, tmp_path: Path) -> None:
    images = np.stack([tiny_data.picture(i) for i in range(4)])
    depths = np.stack([tiny_data.depth(i) for i in range(4)])
    np.savez(tmp_path / "mine.npz", image=images.astype(np.float32) / 255, depth_m=depths)
    mine = DatasetConfig(str(tmp_path / "mine.npz"), domain="kitti")
    (batch,) = first(opened(data_dir, DatasetConfig("zoe_tiny/png"), mine, mixing="mix").train, 1)
    assert batch.arrays["image"].dtype == np.float32
    assert np.asarray(batch.arrays["image"]).max() <= 1
    assert sorted(batch.arrays["domain"]) == [0] * 4 + [1] * 4


def test_a_source_says_what_it_has(data_dir: Path) -> None:
    lines = opened(data_dir, ROOMS).train.describe()
    assert lines == ["zoe_tiny/png train: 13 examples, image 20x28x3 float32, depth 20x28 float32"]


def test_different_sizes_are_refused_before_training(data_dir: Path) -> None:
    with pytest.raises(DataError, match="bring them to one size, as with --data"):
        opened(data_dir, DatasetConfig("zoe_tiny/png"), DatasetConfig("zoe_tiny/roads", size=(16, 40)))


def resident_mib() -> float:
    """Of this process and of its workers."""
    found = [of_the_living(Path(f"/proc/{pid}/statm")).split() for pid in [os.getpid(), *children()]]
    pages = sum(int(resident) for _, resident, *_ in filter(None, found))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth_mib(batches: Iterator[HostBatch], n: int) -> float:
    """Of the resident memory over n batches, after a tenth as many."""
    for _ in itertools.islice(batches, n // 10):
        pass
    gc.collect()
    before = resident_mib()
    for _ in itertools.islice(batches, n):
        pass
    gc.collect()
    return resident_mib() - before


def small_source(model: ZoeDepthConfig = tiny.MODEL_NK) -> InMemorySource:
    def small(n: int, domain: str) -> dict[str, np.ndarray]:
        arrays = {name: array[:, :8, :8] if array.ndim > 2 else array for name, array in tiny.arrays(n, 0).items()}
        return arrays | {"domain": np.array([domain] * n)}

    return InMemorySource([small(7, "nyu"), small(13, "kitti")], model, mixing="mix")


BOUND_MIB = 8
"""A leak of 1 kB a batch comes to 10 MiB in 10 000; arenas and caches move by 1 or 2."""


def test_memory_is_flat_over_ten_thousand_batches() -> None:
    assert growth_mib(small_source().training_batches(0, 2, np.arange(2)), 10_000) < BOUND_MIB


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_is_flat_over_ten_thousand_batches_from_disk(data_dir: Path, workers: int) -> None:
    source = opened(data_dir, mixing="alternate", workers=workers).train
    assert growth_mib(source.training_batches(0, 2, np.arange(2)), 10_000) < BOUND_MIB
