"""The same records by Apache Beam: with `make beam-test`, in an environment of its own."""

from pathlib import Path
from typing import Any

import pytest

from tests.data.miniature import make
from tests.data.raw_sets import prepare, records
from zoe_jax.input.prepare import PreparationError
from zoe_jax_data import kitti_eigen, nyu_depth_v2
from zoe_jax_data.raw import RawPreparation

pytest.importorskip("apache_beam", reason="Apache Beam is not installed; `make beam-test` runs this where it is")

# In this process; without the option Beam may look for a runner that it would have to download.
HERE = {"beam_runner": "DirectRunner", "beam_option": ("direct_running_mode=in_memory",)}
# In others, so that examples, features and errors travel, as on a cluster.
ELSEWHERE = {
    "beam_runner": "DirectRunner",
    "beam_option": ("direct_running_mode=multi_processing", "direct_num_workers=2"),
}


@pytest.mark.parametrize(
    ("preparation", "sets", "pipeline"),
    [
        (nyu_depth_v2.PREPARATION, ("nyu_train", "nyu_test"), HERE),
        (kitti_eigen.PREPARATION, ("kitti_train", "kitti_test"), HERE),
        (kitti_eigen.PREPARATION, ("kitti_test",), ELSEWHERE),
    ],
    ids=["nyu", "kitti", "kitti in other processes"],
)
def test_records_are_the_same_and_lie_in_the_same_files(
    tmp_path: Path, preparation: RawPreparation, sets: tuple[str, ...], pipeline: dict[str, Any]
) -> None:
    for name in sets:
        make(name, tmp_path / "raw")
    without = prepare(preparation, tmp_path / "without", tmp_path / "raw", splits=tmp_path / "raw")
    on_beam = prepare(preparation, tmp_path / "beam", tmp_path / "raw", splits=tmp_path / "raw", **pipeline)
    assert on_beam.splits == without.splits  # checksums of all that is in the records
    for split in without.splits:
        some, others = (records(tmp_path / place, without.name, split) for place in ("without", "beam"))
        assert [record.id for record in some] == [record.id for record in others]
    shards = [sorted((tmp_path / place).glob("**/*.array_record*")) for place in ("without", "beam")]
    assert [shard.name for shard in shards[0]] == [shard.name for shard in shards[1]]


def test_what_is_finished_is_found_by_either_way(tmp_path: Path) -> None:
    raw = make("nyu_test", tmp_path / "raw")
    prepare(nyu_depth_v2.PREPARATION, tmp_path / "data", raw, splits=raw, **HERE)
    assert prepare(nyu_depth_v2.PREPARATION, tmp_path / "data", raw, splits=raw).was_there


@pytest.mark.parametrize("pipeline", [HERE, ELSEWHERE], ids=["here", "elsewhere"])
def test_a_damaged_file_is_named(tmp_path: Path, pipeline: dict[str, Any]) -> None:
    raw = make("nyu_test", tmp_path / "raw")
    image = raw / "official_splits/test/bathroom/rgb_00001.jpg"
    image.write_bytes(image.read_bytes()[:5000])
    with pytest.raises(
        PreparationError, match=r"^split test, on Apache Beam: \S*rgb_00001\.jpg cannot be read: [^\n]*$"
    ):
        prepare(nyu_depth_v2.PREPARATION, tmp_path / "data", raw, splits=raw, **pipeline)


def test_an_unknown_runner_is_named(tmp_path: Path) -> None:
    raw = make("nyu_test", tmp_path / "raw")
    with pytest.raises(PreparationError, match="Apache Beam has no runner 'HorseRunner'"):
        prepare(nyu_depth_v2.PREPARATION, tmp_path / "data", raw, splits=raw, beam_runner="HorseRunner")
