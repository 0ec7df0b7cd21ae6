"""Scenes of rooms and roads: always the same ones, plausible, and worth training on."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoe_jax.errors import ZoeJaxError
from zoe_jax_data.rooms_and_roads import Scene, furniture, render, street
from zoe_jax_data.rooms_and_roads.casting import place
from zoe_jax_data.rooms_and_roads.rendering import MAKERS, world
from zoe_jax_data.rooms_and_roads.shapes import Shape
from zoe_jax_data.rooms_and_roads.world import Draws, Material, Solid, moved

SIZE = (32, 48)
KINDS = tuple(MAKERS)
RANGES_M = {"rooms": 10.0, "roads": 80.0}
GREY = Material("plain", (0.4, 0.4, 0.4), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("kind", KINDS)
def test_a_scene_depends_on_seed_and_index_only(kind: str) -> None:
    first = render(kind, SIZE, 7, 11)
    render(kind, SIZE, 7, 12)
    again = render(kind, SIZE, 7, 11)
    for array, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(array, same)
    others = [render(kind, SIZE, 7, 12), render(kind, SIZE, 8, 11), render(kind, SIZE, 11, 7)]
    assert all((other.depth_m != first.depth_m).mean() > 0.5 for other in others)
    assert first.image.dtype == np.uint8
    assert first.depth_m.dtype == first.intrinsics.dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
def test_another_size_shows_the_same_world(kind: str) -> None:
    small, large = render(kind, (22, 32), 1, 5), render(kind, (66, 96), 1, 5)
    # Every third pixel of the large image has the centre of one of the small image.
    close = np.isclose(small.depth_m, large.depth_m[1::3, 1::3], rtol=1e-4)
    assert close.mean() > 0.995
    fx, fy, cx, cy = large.intrinsics.tolist()
    assert small.intrinsics.tolist() == pytest.approx([fx / 3, fy / 3, (cx - 1) / 3, (cy - 1) / 3])


@pytest.mark.parametrize(
    ("kind", "means_m"),
    [("rooms", [2.373, 4.985, 1.504, 3.757]), ("roads", [9.705, 6.508, 3.659, 9.327])],
)
def test_the_scenes_of_this_version_are_these(kind: str, means_m: list[float]) -> None:
    # Who changes them gives the builder a new VERSION: prepared data sets and results are told apart by it.
    means = [float(render(kind, SIZE, 0, index).depth_m.mean()) for index in range(4)]
    # Other machines round otherwise; a pixel on the edge of something may then be something else.
    assert means == pytest.approx(means_m, rel=5e-3)


@pytest.fixture(scope="module", params=KINDS)
def some(request: pytest.FixtureRequest) -> tuple[str, list[Scene]]:
    return request.param, [render(request.param, SIZE, 0, index) for index in range(250)]


def test_depths_are_in_range_and_the_sky_has_none(some: tuple[str, list[Scene]]) -> None:
    kind, scenes = some
    depth = np.stack([scene.depth_m for scene in scenes])
    valid = depth > 0
    assert np.isfinite(depth).all()
    assert depth.max() < RANGES_M[kind]
    assert depth[valid].min() > 0.1
    share = valid.mean((1, 2))
    if kind == "rooms":
        assert (share == 1).all(), "a room has no hole"
    else:
        assert 0.6 < share.mean() < 0.9
        assert share.min() > 0.3
        assert valid[:, -1].all(), "the lowest row is road"
        assert valid[:, 0].mean() < 0.5, "the highest row is mostly sky"


def test_an_average_of_scenes_is_a_poor_guess(some: tuple[str, list[Scene]]) -> None:
    kind, scenes = some
    depth = np.stack([scene.depth_m for scene in scenes])
    depth[depth == 0] = np.nan
    train, held_out = depth[:200], depth[200:]
    covered = np.isfinite(train).sum(0) > 20
    median = np.nanmedian(train[:, covered], 0)
    truth = held_out[:, covered]
    abs_rel = np.nanmean(np.abs(median - truth) / truth)
    assert abs_rel > {"rooms": 0.3, "roads": 0.15}[kind]


def test_depths_cover_their_range(some: tuple[str, list[Scene]]) -> None:
    kind, scenes = some
    depth = np.concatenate([scene.depth_m[scene.depth_m > 0] for scene in scenes])
    low, middle, high = np.percentile(depth, [5, 50, 99])
    if kind == "rooms":
        assert low < 1.6
        assert 2 < middle < 4
        assert high > 5.5
    else:
        assert low < 4
        assert 5 < middle < 15
        assert high > 50


def test_cameras_are_plausible_and_differ(some: tuple[str, list[Scene]]) -> None:
    kind, scenes = some
    intrinsics = np.stack([scene.intrinsics for scene in scenes])
    per_width = intrinsics[:, 0] / SIZE[1]
    original = {"rooms": 518.8579 / 640, "roads": 721.5377 / 1242}[kind]
    assert np.median(per_width) == pytest.approx(original, rel=0.05)
    assert (np.abs(np.log(per_width / original)) < 0.3).all()
    assert per_width.std() > 0.03 * original
    np.testing.assert_array_equal(intrinsics[:, 0], intrinsics[:, 1])
    np.testing.assert_array_equal(intrinsics[:, 2:], np.broadcast_to([(48 - 1) / 2, (32 - 1) / 2], (250, 2)))
    cameras = [world(kind, 0, index).camera for index in range(100)]
    heights = [camera.position_m[2] for camera in cameras]
    assert min(heights) > 1
    assert max(heights) < 2.15
    assert np.std([camera.pitch for camera in cameras]) > math.radians(2)
    assert np.std([camera.roll for camera in cameras]) > math.radians(1)


def test_pictures_are_neither_dark_nor_white_nor_alike(some: tuple[str, list[Scene]]) -> None:
    _, scenes = some
    images = np.stack([scene.image for scene in scenes]).astype(float) / 255
    brightness = images.mean((1, 2, 3))
    assert brightness.min() > 0.2
    assert brightness.max() < 0.8
    assert brightness.std() > 0.03
    assert np.median(images.std((1, 2)).mean(1)) > 0.08
    assert ((images == 1).mean((1, 2, 3)) > 0.5).mean() < 0.01


# ---- what is in them


@pytest.mark.parametrize("make", sorted({*furniture.AGAINST_WALLS, *furniture.FREE}, key=lambda make: make.__name__))
def test_furniture_stands_on_the_floor_it_asks_for(make: Any) -> None:
    for index in range(30):
        piece = make(Draws(np.random.default_rng(index)))
        corners = place(piece.solids).corners_m.reshape(-1, 3)
        low, high = corners.min(0), corners.max(0)
        assert low[2] == pytest.approx(0, abs=0.06)
        assert 0.05 < high[2] < 2.3
        if make is not furniture.plant:  # its leaves hang over
            # A television or a pillow may stand out by a hand.
            assert high[0] - low[0] < piece.width_m + 0.5
            assert high[1] - low[1] < piece.depth_m + 0.5


@pytest.mark.parametrize(
    ("make", "lengths_m", "heights_m"),
    [
        (street.car, (3.4, 5.0), (1.4, 1.85)),
        (street.van, (4.7, 6.4), (1.9, 2.8)),
        (street.truck, (7, 12.1), (2.7, 4.0)),
        (street.person, (0.2, 0.7), (1.5, 1.9)),
    ],
)
def test_who_is_on_the_road_has_a_plausible_size(make: Any, lengths_m: Any, heights_m: Any) -> None:
    for index in range(30):
        corners = place(make(Draws(np.random.default_rng(index)))).corners_m.reshape(-1, 3)
        size = np.ptp(corners, axis=0)
        assert lengths_m[0] < size[1] < lengths_m[1]
        assert heights_m[0] < size[2] < heights_m[1]
        assert corners[:, 2].min() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("index", range(40))
def test_nothing_in_a_room_is_outside_of_it_or_in_the_camera(index: int) -> None:
    scenery = world("rooms", 2, index)
    low, high = (np.array(corner) for corner in scenery.corners_m)
    corners = place(scenery.solids).corners_m
    inside = [c for c in corners if ((c.min(0) > low - 0.19) & (c.max(0) < high + 0.19)).all()]
    assert len(inside) == len(scenery.solids) - 6, "all but floor, ceiling and walls"
    eye = np.array(scenery.camera.position_m)
    assert not any(((c.min(0) < eye) & (eye < c.max(0))).all() for c in corners)
    assert np.linalg.norm(high - low) < 10
    casters = [c[:, 2].max() for c, s in zip(corners, scenery.solids, strict=True) if s.casts_shadow]
    assert scenery.light.position_m[2] > max(casters, default=0.0)  # a room may be bare


@given(yaw=st.floats(-4, 4), x=st.floats(-50, 50), y=st.floats(-50, 50))
def test_moving_turns_first(yaw: float, x: float, y: float) -> None:
    solid = Solid(Shape.BOX, (1.0, 0.0, 0.5), (0.2, 0.3, 0.5), GREY)
    (there,) = moved([solid], x, y, yaw, 2.0)
    assert there.center_m == pytest.approx((x + math.cos(yaw), y + math.sin(yaw), 2.5))
    (back,) = moved(moved([there], -x, -y, z=-2.0), 0, 0, -yaw)
    assert back.center_m == pytest.approx(solid.center_m, abs=1e-9)
    assert back.yaw == pytest.approx(0)


# ---- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gardens", SIZE, 0, 0), "no kind of scene 'gardens'; there are rooms, roads"),
        (("rooms", (4, 48), 0, 0), "size 4x48 is too small"),
        (("rooms", SIZE, -1, 0), "seed -1 and index 0"),
        (("rooms", SIZE, 0, 2**64), "must both be in 0"),
    ],
)
def test_what_cannot_be_rendered_is_said(arguments: Any, message: str) -> None:
    with pytest.raises(ZoeJaxError, match=message):
        render(*arguments)
