"""The same digits on one device, on many, and on those of several processes."""

import functools

import pytest

from tests.evaluate.evaluations import table_of
from tests.processes import run_processes
from zoe_jax.evaluate.results import METRICS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def started(tmp_path_factory, data_dir):
    """Runs tests.evaluate.run_evaluation in processes of its own; gives the output folder."""

    def start(devices=1, processes=1, output=None, die_after=None):
        output = output or tmp_path_factory.mktemp("evaluation")
        last, status = ((), 0) if die_after is None else (("--die-after", die_after), 9)
        run = functools.partial(run_processes, devices=devices, processes=processes, status=status)
        run("tests.evaluate.run_evaluation", data_dir, output, *last)
        return output

    return start


@pytest.fixture(scope="module")
def on_one_device(started):
    return table_of(started())


def assert_same_tables(rows, others):
    assert len(rows) == 7 + 5
    for row, other in zip(rows, others, strict=True):
        for column, value in row.items():
            if column in METRICS and value:
                # another order of the sums over devices there is not, but XLA compiles for other batches
                assert float(value) == pytest.approx(float(other[column]), rel=1e-6, abs=1e-6), (row["id"], column)
            else:
                assert value == other[column], (row["id"], column)


@pytest.mark.parametrize("processes", [1, 2], ids=["8 devices", "2 processes of 4 devices"])
def test_digits_are_those_of_one_device(processes, started, on_one_device):
    """Batches are of eight, so that the last of each size is filled up; words about odd images come from any host."""
    output = started(8, processes)
    assert_same_tables(table_of(output), on_one_device)
    assert len(list((output / "images").iterdir())) == 2
    assert (output / "report.html").exists()


def test_a_killed_process_is_gone_on_from_on_other_devices(started, on_one_device, tmp_path):
    started(output=tmp_path, die_after=1)
    assert not (tmp_path / "results.json").exists()
    started(8, 2, output=tmp_path)
    assert_same_tables(table_of(tmp_path), on_one_device)
