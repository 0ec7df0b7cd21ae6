"""From prepared records to batches: what the model sees under a rule, which pixels count, what is refused."""

import math

import numpy as np
import pytest

from tests.data.raw_sets import assert_as_golden, golden
from tests.evaluate.little import damage, odd_scenes, scene, scenes, write
from tests.evaluate.prepared import prepare
from zoe_jax.evaluate.examples import batches, count_batches, list_contents, make_example, seen_under
from zoe_jax.evaluate.rules import BENCHMARKS, Rule
from zoe_jax.input.reader import PreparedReader, Record
from zoe_jax.input.source import DataError
from zoe_jax.predict.protocols import protocol

GOLDENS = {"nyu": "nyu_online_eval", "kitti": "kitti_online_eval", "hypersim": "hypersim_test"}
# decoders differ by a grey level or two; PNG has no such excuse
JPEG = {"nyu", "sunrgbd", "hypersim", "vkitti2"}
WITH_MASK = {"nyu", "kitti"}
RULE = Rule(1e-3, 10)


def plan_of(name):
    return lambda size: protocol(name).plan(size, (64, 96))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return prepare(BENCHMARKS, tmp_path_factory.mktemp("benchmarks"))


@pytest.fixture(scope="module")
def little_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("little")
    write(folder, "odd", odd_scenes())
    write(folder, "mixed", scenes(7))
    return folder


def records_of(name, data_dir):
    benchmark = BENCHMARKS[name]
    reader = PreparedReader(benchmark.prepared, benchmark.split, str(data_dir))
    return [reader[index] for index in reader.evaluation_order()]


def channels_last(stored):
    """The original's evaluation loaders of NYU and KITTI give depth with the channel at the end."""
    shape = stored["shape"]
    return stored | {"shape": [shape[2], *shape[:2]]} if shape[2] == 1 else stored


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "vkitti"])
def test_images_and_truth_are_those_of_the_originals_loader(name, data_dir, reference):
    rule = BENCHMARKS[name].rules["released"]
    # of an image without truth KITTI's loader gives the image alone
    goldens = [example for example in golden(reference, GOLDENS.get(name, name)) if example["depth"]]
    with_truth = [record for record in records_of(name, data_dir) if (record.depth_m > 0).any()]
    assert len(with_truth) == len(goldens) == 2
    for record, expected in zip(with_truth, goldens, strict=True):
        image, truth_m, valid = seen_under(rule, record)
        in_range = image if image.dtype == np.float32 else image.astype(np.float32) / np.float32(255)
        counts = {"n_zero": int((in_range == 0).sum()), "n_neg1": 0}
        assert_as_golden(in_range, expected["image"] | counts, 0.01 if name in JPEG else 1e-5)
        depth = channels_last(expected["depth"])
        assert list(truth_m.shape) == depth["shape"][1:]
        assert not valid[truth_m == 0].any()
        for row, column, (value,) in depth["probes"]:
            counted = rule.min_depth_m < value < rule.max_depth_m
            assert truth_m[row, column] == (pytest.approx(value, abs=1e-5) if counted else 0)
        if rule.min_depth_m < depth["max"] < rule.max_depth_m:
            assert truth_m.max() == pytest.approx(depth["max"], abs=1e-5)
        if name in WITH_MASK:
            # the original's mask, before the crop
            assert (truth_m == 0).sum() == expected["mask"]["n_zero"]
        invalid = depth["n_zero"] + depth["n_neg1"] + depth["n_nan"]
        if rule.min_depth_m < depth["max"] < rule.max_depth_m and rule.min_depth_m < 1:
            # nothing is out of range, but what the original marks
            assert (truth_m == 0).sum() == invalid
        else:
            assert (truth_m == 0).sum() >= invalid


def test_the_virtual_kitti_of_no_list_is_in_metres(data_dir, reference):
    """Where the original takes centimetres for metres, and normalises the image."""
    rule = BENCHMARKS["vkitti"].rules["released"]
    for record, expected in zip(records_of("vkitti", data_dir), golden(reference, "vkitti"), strict=True):
        image, truth_m, _ = seen_under(rule, record)
        assert [3, *image.shape[:2]] == expected["image"]["shape"]
        for row, column, (centimetres,) in expected["depth"]["probes"]:
            wanted = centimetres / 100 if centimetres < 8000 else 0
            assert truth_m[row, column] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("name", ["diode_indoor", "ddad"])
def test_corrected_rules_hand_the_image_over_as_it_is_and_use_masks(name, data_dir):
    corrected, released = (BENCHMARKS[name].rules[rule] for rule in ("corrected", "released"))
    for record in records_of(name, data_dir):
        image, truth_m, valid = seen_under(corrected, record)
        assert image is record.image
        _, truth_before, valid_before = seen_under(released, record)
        if record.valid_mask is None:
            np.testing.assert_array_equal(valid, valid_before)
            continue
        assert not truth_m[~record.valid_mask].any()
        # the released rule counts pixels that their owner calls invalid
        assert truth_before[~record.valid_mask].any()


def test_bounds_and_what_is_no_number_do_not_count():
    depth_m = np.array([[1, 1.5, 10, np.nan], [np.inf, -1, 0, 9.99]], np.float32)
    record = Record("r", np.zeros((2, 4, 3), np.uint8), depth_m, None, None)
    _, truth_m, valid = seen_under(Rule(1, 10), record)
    assert valid.tolist() == [[False, True, False, False], [False, False, False, True]]
    np.testing.assert_array_equal(truth_m, np.where(valid, depth_m, 0))


@pytest.mark.parametrize(
    ("rule", "image_size", "mask_size"), [(RULE, (4, 6), (4, 5)), (Rule(1e-3, 10, kb_crop=True), (5, 6), None)]
)
def test_parts_of_different_sizes_are_refused(rule, image_size, mask_size):
    mask = None if mask_size is None else np.ones(mask_size, bool)
    record = Record("odd_one", np.zeros((*image_size, 3), np.uint8), np.ones((4, 6), np.float32), mask, None)
    with pytest.raises(DataError, match=r"mask is \(4, 5\), not of its depth's \(4, 6\)|of 5x6, 4x6 and 4x6 pixels"):
        seen_under(rule, record)


def test_what_cannot_be_evaluated_says_so_and_is_empty(little_dir):
    reader = PreparedReader("zoe_little/odd", "test", str(little_dir))
    contents = list_contents(reader, RULE, plan_of("evaluate"), threads=2)
    assert not contents.odd
    examples = {entry.id: make_example(reader, entry, RULE) for entry in contents.entries}
    assert {name: example.status for name, example in examples.items()} == {
        "a_good_one": "evaluated",
        "all_masked_out": "no valid pixel",
        "in_millimetres": "wrong scale",
        "out_of_range": "no valid pixel",
        "without_truth": "no truth",
    }
    assert "is it in metres?" in examples["in_millimetres"].detail
    assert examples["out_of_range"].detail == "none within 0.001..10 m, mask and crop"
    for name, example in examples.items():
        assert example.valid_mask.any() == (name == "a_good_one")
        assert example.pixels.shape == (64, 96, 3)


def test_a_mask_that_a_rule_ignores_takes_nothing_away(little_dir):
    reader = PreparedReader("zoe_little/odd", "test", str(little_dir))
    unmasked = Rule(1e-3, 10, use_mask=False)
    examples = [
        make_example(reader, entry, unmasked)
        for entry in list_contents(reader, unmasked, plan_of("evaluate"), threads=2).entries
        if entry.id in ("a_good_one", "all_masked_out")
    ]
    assert [example.status for example in examples] == ["evaluated"] * 2
    np.testing.assert_array_equal(*(example.valid_mask for example in examples))


def test_images_that_are_no_input_are_named_beside_the_others(tmp_path):
    records = {"good": scene(0), "tiny": scene(1, 4, 4), "long": scene(2, 6, 600)}
    reader = PreparedReader(write(tmp_path, "sizes", records), "test", str(tmp_path))
    contents = list_contents(reader, RULE, plan_of("infer"), threads=2)
    assert [entry.id for entry in contents.entries] == ["good"]
    assert {status for status, _ in contents.odd.values()} == {"unreadable"}
    assert "too small to be padded" in contents.odd["tiny"][1]
    assert "too elongated" in contents.odd["long"][1]


def test_a_damaged_record_is_named_and_the_others_are_read(tmp_path):
    records = {f"noise_{seed}": noise(seed) for seed in range(6)}
    name = write(tmp_path, "damaged", records)
    damage(tmp_path, name)
    reader = PreparedReader(name, "test", str(tmp_path))
    contents = list_contents(reader, RULE, plan_of("evaluate"), threads=3)
    ((place, (status, detail)),) = contents.odd.items()
    assert place.startswith("record ")
    assert status == "unreadable"
    assert "cannot be read" in detail
    assert "prepare the data set anew" in detail
    assert len(contents.entries) == 5
    assert all(make_example(reader, entry, RULE).status == "evaluated" for entry in contents.entries)


def test_a_record_that_is_damaged_once_it_was_listed_is_unreadable(little_dir, monkeypatch):
    reader = PreparedReader("zoe_little/mixed", "test", str(little_dir))
    entry = list_contents(reader, RULE, plan_of("evaluate"), threads=1).entries[0]

    def damaged(index):
        raise DataError(f"record {index} cannot be read")

    monkeypatch.setattr(PreparedReader, "__getitem__", lambda self, index: damaged(index))
    example = make_example(reader, entry, RULE)
    assert (example.status, example.detail) == ("unreadable", f"record {entry.index} cannot be read")
    assert not example.valid_mask.any()


def noise(seed):
    """Does not compress, so that every record is a piece of the file."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (48, 64, 3), np.uint8)
    return scene(seed)._replace(image=image, depth_m=random.uniform(1, 9, (48, 64)).astype(np.float32))


def of_all_hosts(reader, batch_size, hosts, threads=2):
    """The batches of every host of a job."""
    entries = list_contents(reader, RULE, plan_of("evaluate"), threads).entries
    rows = np.array_split(np.arange(batch_size), hosts)
    found = [list(batches(reader, entries, RULE, batch_size, of_host, threads)) for of_host in rows]
    assert {len(of_host) for of_host in found} == {count_batches(entries, batch_size)}
    return entries, found


@pytest.mark.parametrize(("batch_size", "hosts", "threads"), [(1, 1, 1), (3, 1, 2), (4, 2, 1), (8, 2, 8)])
def test_every_image_is_in_one_batch_of_its_size(little_dir, batch_size, hosts, threads):
    reader = PreparedReader("zoe_little/mixed", "test", str(little_dir))
    entries, found = of_all_hosts(reader, batch_size, hosts, threads)
    members = [entry.id for batch in found[0] for entry in batch.entries]
    assert members == [entry.id for entry in entries]
    assert sorted(members) == sorted(scenes(7))
    # four and three of a size
    assert len(found[0]) == math.ceil(4 / batch_size) + math.ceil(3 / batch_size)
    for parts in zip(*found, strict=True):
        assert len({tuple(entry.id for entry in part.entries) for part in parts}) == 1
        rows = {row: example for part in parts for row, example in zip(part.rows, part.examples, strict=True)}
        assert sorted(rows) == list(range(batch_size))
        assert len({example.truth_m.shape for example in rows.values()}) == 1
        for row, example in rows.items():
            # rows that fill up have no valid pixel; others are their own entry's
            real = row < len(parts[0].entries)
            assert example.valid_mask.any() == real
            if real:
                alone = make_example(reader, parts[0].entries[row], RULE)
                np.testing.assert_array_equal(example.pixels, alone.pixels)
                np.testing.assert_array_equal(example.truth_m, alone.truth_m)


def test_under_the_crop_of_kitti_images_of_all_sizes_share_batches(data_dir):
    benchmark = BENCHMARKS["kitti"]
    reader = PreparedReader(benchmark.prepared, benchmark.split, str(data_dir))
    rule = benchmark.rules["released"]
    entries = list_contents(reader, rule, plan_of("evaluate"), threads=2).entries
    assert len({reader.header(index).image_size for index in range(3)}) == 2
    assert {(entry.plan.image_size, entry.truth_size) for entry in entries} == {((352, 1216), (352, 1216))}
    (batch,) = batches(reader, entries, rule, 4, np.arange(4), 2)
    assert [example.status for example in batch.examples] == ["evaluated", "evaluated", "no truth", "evaluated"]
    assert {example.truth_m.shape for example in batch.examples} == {(352, 1216)}
