"""Baselines against their definitions, and the run of a source through a network."""

import numpy as np
import pytest

from tests.input.in_memory_source import InMemorySource
from zoe_jax.config import preset
from zoe_jax.evaluate.baselines import TrainingDepths
from zoe_jax.evaluate.compare import depth_of_domain, evaluate_source, mean_metrics
from zoe_jax.evaluate.metrics import DepthMetrics

RANDOM = np.random.default_rng(0)
DEPTH_M = RANDOM.uniform(1, 9, (5, 4, 6)).astype(np.float32)
VALID = RANDOM.random((5, 4, 6)) < 0.7


@pytest.fixture
def statistics() -> TrainingDepths:
    statistics = TrainingDepths(1e-3, 10.0)
    for depth_m, valid in zip(DEPTH_M, VALID, strict=True):
        statistics.add(depth_m, valid)
    return statistics


def test_no_constant_has_less_abs_rel_than_the_best(statistics: TrainingDepths) -> None:
    def mean_abs_rel(constant_m: float) -> float:
        images = zip(DEPTH_M, VALID, strict=True)
        return float(np.mean([np.mean(np.abs(constant_m - d[v]) / d[v]) for d, v in images]))

    best = statistics.best_constant_m()
    others = np.geomspace(0.01, 10, 500)
    # the candidates are 2.7 % apart, so that one in between may be better by a little
    assert mean_abs_rel(best) <= min(map(mean_abs_rel, others)) * 1.001


def test_the_median_map_ignores_invalid_pixels(statistics: TrainingDepths) -> None:
    statistics.add(np.full((4, 6), 1000.0, np.float32), np.zeros((4, 6), bool))
    median = statistics.median_map_m()
    expected = [[np.median(DEPTH_M[VALID[:, y, x], y, x]) for x in range(6)] for y in range(4)]
    np.testing.assert_allclose(median, expected, rtol=1e-6)


def test_a_pixel_that_is_never_valid_gets_the_greatest_depth() -> None:
    statistics = TrainingDepths(1e-3, 10.0)
    valid = np.ones((2, 2), bool)
    valid[0, 1] = False
    statistics.add(np.full((2, 2), 3.0, np.float32), valid)
    np.testing.assert_array_equal(statistics.median_map_m(), [[3, 10], [3, 3]])


def test_every_image_of_a_source_gets_its_own_metrics_over_its_valid_pixels() -> None:
    config = preset("reference_nk")
    depth_m = np.stack([np.full((8, 8), value, np.float32) for value in (2, 4, 40)])
    depth_m[0, :4] = 0  # invalid
    part = {
        "image": np.zeros((3, 8, 8, 3), np.uint8),
        "depth_m": depth_m,
        "domain": np.array(["nyu", "nyu", "kitti"]),
        "id": np.array(["a", "b", "c"]),
    }
    source = InMemorySource([part], config)
    network = depth_of_domain([np.full((8, 8), 3.0, np.float32), np.full((8, 8), 200.0, np.float32)])
    results = list(evaluate_source(network, source, config, batch_size=2))
    assert [result.id.split("/")[-1] for result in results] == ["a", "b", "c"]
    assert [(result.domain, result.routed) for result in results] == [(0, 0), (0, 0), (1, 1)]
    # 200 m is clipped to the 80 m of the domain
    np.testing.assert_allclose([result.metrics.abs_rel for result in results], [0.5, 0.25, 1.0], rtol=1e-6)
    assert mean_metrics(results[:2]).abs_rel == pytest.approx(0.375)


def test_images_without_truth_do_not_count_in_the_mean() -> None:
    def of(abs_rel: float) -> DepthMetrics:
        return DepthMetrics(*(abs_rel for _ in DepthMetrics._fields))

    from zoe_jax.evaluate.compare import ImageResult

    results = [
        ImageResult("a", 0, 0, of(0.2)),
        ImageResult("b", 0, 0, of(float("nan"))),
        ImageResult("c", 0, 0, of(0.4)),
    ]
    assert mean_metrics(results).abs_rel == pytest.approx(0.3)
