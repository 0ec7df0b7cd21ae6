"""A model on a data set: the same digits however it is run, no image computed twice, every problem by name."""

import time
from collections.abc import Iterable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.evaluate.evaluations import seen_by, stopped_after
from tests.evaluate.little import Little, damage, odd_scenes, scene, scenes, write
from tests.synthetic import tiny_config, tiny_params
from zoe_jax.depth_model import DepthModel
from zoe_jax.evaluate import examples, runner
from zoe_jax.evaluate.metrics import depth_metrics
from zoe_jax.evaluate.results import METRICS, Evaluation, EvaluationError, OutcomeLog
from zoe_jax.evaluate.rules import Rule
from zoe_jax.evaluate.runner import Evaluator, RunOptions
from zoe_jax.input.prepare import silent
from zoe_jax.input.reader import PreparedReader
from zoe_jax.input.source import DataError
from zoe_jax.ops.resize import resize_bilinear_align_corners
from zoe_jax.predict.predictor import PredictOptions
from zoe_jax.predict.protocols import PROTOCOLS, protocol

pytestmark = pytest.mark.usefixtures("quick_compilation")

RULE = Rule(1e-3, 10)
SIZE = (64, 96)
MIXED = 7
"""Images, of two sizes."""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("little")
    write(folder, "mixed", scenes(MIXED))
    write(folder, "odd", odd_scenes())
    write(folder, "roads", {"road": scene(0)}, domain="kitti")
    write(folder, "elsewhere", {"place": scene(0)}, domain="mars")
    return folder


@pytest.fixture
def read(data_dir):
    return lambda name: PreparedReader(f"zoe_little/{name}", "test", str(data_dir))


@pytest.fixture
def log(tmp_path):
    return lambda name="log": OutcomeLog(tmp_path / f"{name}.jsonl", {"made of": "this"})


def evaluator(variant="N", batch_size=3, protocol_name="evaluate", params=None, config=None, **options):
    config = config or replace(tiny_config(variant), network_size=SIZE)
    return Evaluator(config, params or tiny_params(variant), protocol(protocol_name), RunOptions(batch_size, **options))


def assert_same_digits(some, others, tolerance=1e-6):
    assert [outcome.id for outcome in some] == [outcome.id for outcome in others]
    for one, other in zip(some, others, strict=True):
        assert replace(one, metrics={}, abs_rel_sums=()) == replace(other, metrics={}, abs_rel_sums=())
        assert one.metrics == pytest.approx(other.metrics, rel=tolerance, abs=tolerance)
        assert one.abs_rel_sums == pytest.approx(other.abs_rel_sums, rel=tolerance, abs=tolerance)


def test_the_size_of_a_batch_changes_no_digit(read, log):
    """Of four images of a size three in a batch leave one over."""
    one, three = (evaluator("NK", size, threads=size).run(read("mixed"), RULE, log(str(size))) for size in (1, 3))
    assert [outcome.id for outcome in one] == sorted(scenes(MIXED))
    assert {outcome.status for outcome in one} == {"evaluated"}
    assert {outcome.routed for outcome in one} <= {"nyu", "kitti"}
    assert_same_digits(one, three)


def test_the_order_of_records_and_their_company_change_no_digit(read, log, tmp_path):
    few = {name: record for name, record in scenes(MIXED).items() if name in ("scene_06", "scene_01")}
    reader = PreparedReader(write(tmp_path, "few", few), "test", str(tmp_path))
    run = evaluator("NK")
    whole = {outcome.id: outcome for outcome in run.run(read("mixed"), RULE, log("whole"))}
    part = run.run(reader, RULE, log("part"))
    assert_same_digits(part, [whole[name] for name in ("scene_01", "scene_06")])


@pytest.fixture(scope="module")
def model():
    return DepthModel(replace(tiny_config("N"), network_size=SIZE), tiny_params("N"))


@pytest.mark.parametrize(
    "name",
    # of 384x512 pixels whatever the model
    ["infer", "evaluate", pytest.param("huggingface", marks=pytest.mark.slow)],
)
def test_depth_is_that_of_prediction_by_the_same_protocol(name, model, read):
    wide = Rule(0, 1e6)
    chosen = "scene_01"
    (record,) = (record for record in map(read("mixed").__getitem__, range(MIXED)) if record.id == chosen)
    depths_m = []
    for flip in (True, False):
        found = evaluator("N", 1, name, flip=flip).depth_of(read("mixed"), wide, [chosen, "nobody"])
        assert list(found) == [chosen]
        example, depth_m = found[chosen]
        predicted = model.predict(record.image, protocol=name, flip=flip)
        assert depth_m.shape == example.truth_m.shape == predicted.shape
        np.testing.assert_allclose(depth_m, predicted, rtol=1e-5)
        depths_m.append(depth_m)
    assert np.abs(depths_m[1] / depths_m[0] - 1).max() > 1e-3


@pytest.mark.parametrize("name", PROTOCOLS)
def test_plans_are_those_of_prediction(name, model):
    predicted = model.predictor._prepare(scene(0).image, PredictOptions(protocol=name))
    assert evaluator(protocol_name=name).plan((48, 64)) == predicted.plan


def test_depth_of_a_protocol_that_keeps_the_aspect_goes_on_to_the_truths_size(model, tmp_path, log):
    """Where the image is resized beforehand, it comes back to that size first."""
    rule = replace(RULE, image_size=(40, 72))
    reader = PreparedReader(write(tmp_path, "one", {"one": scene(0)}), "test", str(tmp_path))
    run = evaluator("N", 1, "infer")
    ((example, depth_m),) = run.depth_of(reader, rule, ["one"]).values()
    image, _, _ = examples.seen_under(rule, reader[0])
    predicted = jnp.asarray(model.predict(image))[None, ..., None]
    wanted = jnp.clip(resize_bilinear_align_corners(predicted, (48, 64))[0, ..., 0], 1e-3, 10)
    np.testing.assert_allclose(depth_m, wanted, rtol=1e-5)
    metrics = depth_metrics(*(jnp.asarray(array)[None] for array in (wanted, example.truth_m, example.valid_mask)))
    (outcome,) = run.run(reader, rule, log())
    assert outcome.metrics["abs_rel"] == pytest.approx(float(metrics.abs_rel[0]), rel=1e-5)


def test_a_limit_takes_the_first_by_name(read, log):
    run = evaluator()
    few = run.run(read("mixed"), RULE, log(), limit=2)
    assert [outcome.id for outcome in few] == ["scene_00", "scene_01"]
    # what is there is taken, and what is missing is added
    assert len(run.run(read("mixed"), RULE, log())) == MIXED
    assert run.run(read("mixed"), RULE, log(), limit=2) == few


# ---- going on


def test_an_interrupted_run_goes_on_and_computes_nothing_twice(read, log, tmp_path, monkeypatch):
    run = evaluator("NK", 3)
    uninterrupted = run.run(read("mixed"), RULE, log("uninterrupted"))
    with pytest.raises(KeyboardInterrupt):
        run.run(read("mixed"), RULE, log(), stopped_after(2))
    path = tmp_path / "log.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    # two batches were started, and the second was not waited for
    assert len(lines) == 1 + 3
    # the power went while the last line was written
    path.write_text("".join(lines)[:-20])
    finished = set(log().outcomes)
    assert len(finished) == 2
    computed = seen_by(monkeypatch)
    assert run.run(read("mixed"), RULE, log()) == uninterrupted
    assert sorted(computed) == sorted(scenes(MIXED).keys() - finished)
    computed.clear()
    assert run.run(read("mixed"), RULE, log()) == uninterrupted
    assert not computed


def test_progress_is_told_of_the_batches_that_are_left(read, log):
    told = []

    def progress(items: Iterable, task: str, total=None):
        told.append((task, total))
        yield from items

    run = evaluator("N", 3)
    run.run(read("mixed"), RULE, log(), progress, limit=4)
    run.run(read("mixed"), RULE, log(), progress)
    run.run(read("mixed"), RULE, log(), progress)
    # two of each size, then two and one, then none
    assert told == [("zoe_little/mixed", 2), ("zoe_little/mixed", 2), ("zoe_little/mixed", 0)]


# ---- problems, each by name


def test_every_problem_is_named_and_counts_for_nothing(read, log):
    outcomes = evaluator().run(read("odd"), RULE, log())
    assert {outcome.id: outcome.status for outcome in outcomes} == {
        "a_good_one": "evaluated",
        "all_masked_out": "no valid pixel",
        "in_millimetres": "wrong scale",
        "out_of_range": "no valid pixel",
        "without_truth": "no truth",
    }
    details = {outcome.id: outcome.detail for outcome in outcomes}
    assert details["in_millimetres"].startswith("its nearest depth is")
    assert details["without_truth"] == "its depth is 0 everywhere"
    evaluation = Evaluation("tiny", "odd", outcomes)
    assert evaluation.metrics() == dict(outcomes[0].metrics)
    assert np.isfinite(list(evaluation.metrics().values())).all()
    assert [kind for _, kind, _ in evaluation.problems()] == [
        "no valid pixel",
        "wrong scale",
        "no valid pixel",
        "no truth",
    ]


def test_a_good_image_has_the_same_digits_beside_bad_ones(read, log, tmp_path):
    reader = PreparedReader(write(tmp_path, "alone", {"a_good_one": scene(0)}), "test", str(tmp_path))
    alone = evaluator().run(reader, RULE, log("alone"))
    assert_same_digits(alone, evaluator().run(read("odd"), RULE, log("odd"))[:1])


def test_a_prediction_that_is_no_number_is_named(read, log):
    params = jax.tree.map(lambda leaf: leaf, tiny_params("N"))
    head = params["metric_head"]["seed_bins"]["fc1"]
    params["metric_head"]["seed_bins"]["fc1"] = head | {"bias": head["bias"] * jnp.nan}
    outcomes = evaluator(params=params).run(read("mixed"), RULE, log(), limit=2)
    assert [outcome.nonfinite_pixels for outcome in outcomes] == [SIZE[0] * SIZE[1]] * 2
    evaluation = Evaluation("tiny", "mixed", outcomes)
    assert [problem[:2] for problem in evaluation.problems()] == [
        (name, "prediction not finite") for name in ("scene_00", "scene_01")
    ]
    # nan becomes the least depth, as in the original: an error near 1, and no silent nan
    assert evaluation.metrics()["abs_rel"] == pytest.approx(1, abs=0.01)
    at_zero = evaluator(params=params).run(read("mixed"), replace(RULE, min_depth_m=0), log("zero"), limit=1)
    kinds = [kind for _, kind, _ in Evaluation("tiny", "mixed", at_zero).problems()]
    assert kinds == ["prediction not finite", "metric not finite"]


def test_damaged_records_and_images_of_odd_sizes_are_named(tmp_path, log):
    random = np.random.default_rng(0)
    records = {
        f"noise_{index}": Little(random.integers(0, 256, (48, 64, 3), np.uint8), scene(index).depth_m)
        for index in range(5)
    }
    name = write(tmp_path, "damaged", records | {"too_small": scene(0, 4, 4)})
    damage(tmp_path, name, 0.2)
    outcomes = evaluator(protocol_name="infer").run(PreparedReader(name, "test", str(tmp_path)), RULE, log())
    assert len(outcomes) == 6
    refused = {outcome.id: outcome for outcome in outcomes if outcome.status == "unreadable"}
    assert len(refused) == 2
    assert "too small to be padded" in refused.pop("too_small").detail
    ((place, outcome),) = refused.items()
    assert place.startswith("record ")
    assert "prepare the data set anew" in outcome.detail
    assert sum(outcome.status == "evaluated" for outcome in outcomes) == 4


def test_a_record_that_cannot_be_decoded_is_named_in_at_most_a_kilobyte(read, log, monkeypatch):
    def damaged(self, index):
        raise DataError("ü" * 2000)

    monkeypatch.setattr(PreparedReader, "__getitem__", damaged)
    outcomes = evaluator().run(read("mixed"), RULE, log(), limit=1)
    assert outcomes[0].status == "unreadable"
    assert 400 < len(outcomes[0].detail) < 1024
    assert set(outcomes[0].detail) == {"ü"}


def test_hosts_that_would_wait_for_each_other_are_told(read, log, monkeypatch):
    def of_two_hosts(array):
        return np.stack([array, array + np.uint8(1)])

    monkeypatch.setattr(runner.multihost_utils, "process_allgather", of_two_hosts)
    with pytest.raises(EvaluationError, match="one --output-dir that all see"):
        evaluator().run(read("mixed"), RULE, log())
    assert not log().outcomes


# ---- models of other kinds


def test_relative_depth_is_aligned_to_each_images_truth(read, log):
    config = replace(tiny_config("N"), network_size=SIZE, head=None)
    params = {part: tiny_params("N")[part] for part in ("encoder", "decoder")}
    run = evaluator(config=config, params=params)
    assert run.aligned
    outcomes = run.run(read("mixed"), RULE, log())
    model = DepthModel(config, params)
    records = {record.id: record for record in map(read("mixed").__getitem__, range(MIXED))}
    for outcome in outcomes[::2]:
        record = records[outcome.id]
        pixels = run.plan(record.image.shape[:2]).prepare(record.image)[None]
        views = model.apply(np.concatenate([pixels, pixels[:, :, ::-1]])).relative_depth
        relative = (views[:1] + views[1:, :, ::-1]) / 2
        at_truth = np.asarray(resize_bilinear_align_corners(relative[..., None], record.depth_m.shape)[0, ..., 0])
        valid = (record.depth_m > 1e-3) & (record.depth_m < 10)
        columns = np.stack([at_truth[valid], np.ones(valid.sum())], axis=1).astype(np.float64)
        fitted = np.linalg.lstsq(columns, 1 / record.depth_m[valid].astype(np.float64))[0]
        aligned_m = 1 / np.maximum(at_truth * fitted[0] + fitted[1], 1 / 10)
        errors = np.abs(aligned_m - record.depth_m)[valid] / record.depth_m[valid]
        assert outcome.metrics["abs_rel"] == pytest.approx(errors.mean(), rel=1e-4)
        # a scale and a shift do better than the best constant disparity
        constant_m = 1 / (1 / record.depth_m[valid]).mean()
        assert outcome.metrics["rmse"] < 1.05 * np.sqrt(((constant_m - record.depth_m[valid]) ** 2).mean())
    assert {outcome.routed for outcome in outcomes} == {""}


def test_a_vote_of_the_batch_is_one_of_each_image(read, log):
    """The original evaluates one image at a time, whatever its router does with a batch."""
    config = replace(tiny_config("NK"), network_size=SIZE)
    voting = replace(config, routing="batch")
    params = of_two_minds(config, [read("mixed")[index].image for index in range(MIXED)])
    alone = evaluator(config=config, params=params).run(read("mixed"), RULE, log("alone"))
    assert {outcome.routed for outcome in alone} == {"nyu", "kitti"}
    assert evaluator(config=voting, params=params).run(read("mixed"), RULE, log("vote")) == alone


def of_two_minds(config, images):
    """Parameters whose router takes about half of these images for either domain."""
    params = jax.tree.map(lambda leaf: leaf, tiny_params("NK"))
    run = evaluator(config=config, params=params)
    pixels = np.stack([run.plan(image.shape[:2]).prepare(image) for image in images])
    logits = np.asarray(DepthModel(config, params).apply(pixels).domain_logits)
    last = params["router"]["fc2"]
    shift = np.float32([np.median(logits[:, 1] - logits[:, 0]), 0])
    params["router"] = params["router"] | {"fc2": last | {"bias": last["bias"] + shift}}
    return params


def test_a_model_that_has_to_be_told_the_head_takes_that_of_the_data_set(read, log):
    config = replace(tiny_config("NK"), network_size=SIZE, routing="label")
    run = evaluator(config=config, params=tiny_params("NK"))
    (road,) = run.run(read("roads"), RULE, log("roads"))
    (room,) = run.run(read("mixed"), RULE, log("rooms"), limit=1)
    assert (road.routed, room.routed) == ("kitti", "nyu")
    assert road.metrics["abs_rel"] != pytest.approx(room.metrics["abs_rel"], rel=1e-3)
    with pytest.raises(EvaluationError, match=r"says its domain is 'mars', .* has nyu, kitti; if it has a router"):
        run.run(read("elsewhere"), RULE, log("elsewhere"))


def test_with_one_head_there_is_nothing_to_be_told(read, log):
    told = replace(tiny_config("N"), network_size=SIZE, routing="label")
    (outcome,) = evaluator(config=told).run(read("elsewhere"), RULE, log("told"))
    (untold,) = evaluator().run(read("elsewhere"), RULE, log("untold"))
    assert_same_digits([outcome], [untold])


def test_the_clock_knows_where_the_time_went(read, log):
    run = evaluator("N", 3, profile=True)
    started = time.perf_counter()
    run.run(read("mixed"), RULE, log(), silent)
    seconds = time.perf_counter() - started
    stages = {"listing", "input", "transfer", "compiling", "forward", "metrics", "results"}
    assert set(run.clock.seconds) == stages
    # stages follow each other, and little is between them
    assert 0.7 * seconds < sum(run.clock.seconds.values()) <= seconds


def test_the_names_of_metrics_are_those_of_the_arrays(read, log):
    (outcome,) = evaluator().run(read("mixed"), RULE, log(), limit=1)
    ((example, depth_m),) = evaluator().depth_of(read("mixed"), RULE, [outcome.id]).values()
    valid = example.valid_mask
    assert tuple(outcome.metrics) == METRICS
    assert outcome.valid_pixels == sum(outcome.pixels_by_depth) == valid.sum()
    error = depth_m[valid] - example.truth_m[valid]
    assert outcome.metrics["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert outcome.metrics["abs_rel"] == pytest.approx((np.abs(error) / example.truth_m[valid]).mean(), rel=1e-5)
    assert sum(outcome.abs_rel_sums) == pytest.approx(outcome.metrics["abs_rel"] * outcome.valid_pixels, rel=1e-5)
