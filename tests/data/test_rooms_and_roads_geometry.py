"""The renderer of rooms and roads: depth, shadows and textures against formulas and against brute force."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zoe_jax_data.rooms_and_roads import Scene, render, textures
from zoe_jax_data.rooms_and_roads.casting import NEAR_M, NOTHING, place, points_of, see, view
from zoe_jax_data.rooms_and_roads.furniture import box
from zoe_jax_data.rooms_and_roads.rendering import MAKERS, render_world, world
from zoe_jax_data.rooms_and_roads.shadows import lit
from zoe_jax_data.rooms_and_roads.shapes import Shape, enter_and_leave, gauge, outward
from zoe_jax_data.rooms_and_roads.world import Air, Camera, Lens, Light, Material, Solid, World

SIZE = (32, 48)
KINDS = tuple(MAKERS)
GREY = Material("plain", (0.4, 0.4, 0.4), (0.5, 0.5, 0.5))


def scene_of(solids: list[Solid], camera: Camera, size: tuple[int, int] = SIZE, **changes: Any) -> Scene:
    lamp = Light((0.0, 0.0, 1000.0), (1.0, 1.0, 1.0), (0.2, 0.2, 0.2), 1000.0)
    lens = Lens(0.3, (1.0, 1.0, 1.0), 0.0, 0.0, 0.0)
    air = Air((0.5, 0.5, 0.5), 1e6, (0.2, 0.3, 0.5), 0.0)
    nowhere = ((-math.inf,) * 3, (math.inf,) * 3)
    plain = World(solids, camera, lamp, air, lens, nowhere, 80.0)._replace(**changes)
    return render_world(plain, size, np.random.default_rng(0))


def offsets(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """(u - cx) / fx as a row and (v - cy) / fy as a column, in float64."""
    height, width = scene.depth_m.shape
    fx, fy, cx, cy = scene.intrinsics.astype(float)
    return (np.arange(width) - cx)[None] / fx, (np.arange(height) - cy)[:, None] / fy


# ---- depth against formulas


@pytest.mark.parametrize("pitch_degrees", [-12.0, 0.0, 5.0])
@pytest.mark.parametrize("height_m", [1.2, 1.65])
def test_a_ground_plane_is_as_deep_as_its_formula(pitch_degrees: float, height_m: float) -> None:
    pitch = math.radians(pitch_degrees)
    ground = box(0, 0, -1, (1000, 1000, 1), GREY)
    scene = scene_of([ground], Camera((0.0, 0.0, height_m), 0.0, pitch, 0.0, 0.8))
    _, rows = offsets(scene)
    falls = rows * math.cos(pitch) - math.sin(pitch)  # how far a ray goes down for a metre of depth
    expected = np.where((falls > 0) & (height_m < 80 * falls), height_m / np.maximum(falls, 1e-9), 0)
    # A ray's slope is rounded by 6e-8, which counts depth / height times: up to 70.
    np.testing.assert_allclose(scene.depth_m, np.broadcast_to(expected, SIZE), rtol=70 * 6e-8)
    assert (scene.depth_m > 0).mean() > 0.3


def test_without_pitch_the_depth_of_the_ground_is_h_f_over_y_minus_cy() -> None:
    ground = box(0, 0, -1, (1000, 1000, 1), GREY)
    scene = scene_of([ground], Camera((0.0, 0.0, 1.5), 0.3, 0.0, 0.0, 0.8))
    _, fy, _, cy = scene.intrinsics.astype(float)
    below = np.arange(24, 32)
    expected = 1.5 * fy / (below - cy)
    np.testing.assert_allclose(scene.depth_m[24:], np.broadcast_to(expected[:, None], (8, 48)), rtol=1e-6)


@pytest.mark.parametrize("yaw_degrees", [0.0, 20.0, -65.0])
def test_an_empty_room_is_as_deep_as_its_walls_are_far(yaw_degrees: float) -> None:
    # Inside -2..2.5, -3..4, 0..2.7; the camera stands at (0.5, -1, 1.4) and is neither tilted nor rolled.
    low, high, eye = np.array([-2, -3, 0.0]), np.array([2.5, 4, 2.7]), np.array([0.5, -1, 1.4])
    walls = []
    for axis in range(3):
        for side, bound in ((-1, low), (1, high)):
            center, half = (low + high) / 2, (high - low) / 2 + 0.2
            center[axis], half[axis] = bound[axis] + side * 0.1, 0.1
            walls.append(Solid(Shape.BOX, tuple(center.tolist()), tuple(half.tolist()), GREY))
    yaw = math.radians(yaw_degrees)
    scene = scene_of(walls, Camera((0.5, -1.0, 1.4), yaw, 0.0, 0.0, 0.6))
    right, down = (np.broadcast_to(offset, SIZE) for offset in offsets(scene))
    rays = np.stack([right * math.cos(yaw) - math.sin(yaw), right * math.sin(yaw) + math.cos(yaw), -down])
    with np.errstate(divide="ignore"):
        to_planes = np.where(rays > 0, (high - eye)[:, None, None], (low - eye)[:, None, None]) / rays
    np.testing.assert_allclose(scene.depth_m, to_planes.min(0), rtol=2e-6)


def test_a_ball_and_a_wheel_in_the_middle_are_nearest_by_their_radius() -> None:
    camera = Camera((0.0, 0.0, 1.0), 0.0, 0.0, 0.0, 0.8)
    for shape in (Shape.BALL, Shape.UPRIGHT_CYLINDER, Shape.LYING_CYLINDER, Shape.BOX):
        scene = scene_of([Solid(shape, (0.0, 5.0, 1.0), (0.7, 0.7, 0.7), GREY)], camera, (33, 49))
        assert scene.depth_m[16, 24] == pytest.approx(4.3, rel=1e-6)
        assert scene.depth_m[scene.depth_m > 0].min() == pytest.approx(4.3, rel=1e-6)


# ---- depth against brute force


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", range(6))
def test_every_pixel_sees_the_nearest_of_all_solids(kind: str, index: int) -> None:
    scenery = world(kind, 3, index)
    camera, placement = view(scenery, SIZE), place(scenery.solids)
    visible = see(placement, camera)
    ones = np.ones(SIZE)
    right, down = np.meshgrid(camera.columns.astype(float), camera.rows.astype(float))
    rays = np.einsum("khw,kj->jhw", np.stack([right, down, ones]), camera.axes)
    nearest = np.full(SIZE, np.inf)
    for i, solid in enumerate(scenery.solids):
        origin = placement.to_unit[i] @ (camera.position_m - placement.center_m[i])
        enter, leave = enter_and_leave(
            solid.shape, origin[:, None, None], np.einsum("ij,jhw->ihw", placement.to_unit[i], rays)
        )
        hit = (enter <= leave) & (enter > NEAR_M)
        nearest[hit] = np.minimum(nearest[hit], enter[hit])
    both = np.isfinite(nearest) & np.isfinite(visible.depth_m)
    with np.errstate(invalid="ignore"):
        same = (np.abs(visible.depth_m - nearest) <= 1e-4 * nearest) | (np.isinf(nearest) & np.isinf(visible.depth_m))
    # In float32 a ray that grazes an edge may pass on its other side: a pixel in a thousand.
    assert (~same).mean() < 1e-3
    assert both.mean() > 0.3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", range(6))
def test_every_pixel_back_in_space_lies_on_a_surface(kind: str, index: int) -> None:
    scenery, scene = world(kind, 4, index), render(kind, SIZE, 4, index)
    right, down = (np.broadcast_to(offset, SIZE) for offset in offsets(scene))
    axes, eye = scenery.camera.axes(), np.array(scenery.camera.position_m)
    points = scene.depth_m * (axes[0][:, None, None] * right + axes[1][:, None, None] * down + axes[2][:, None, None])
    points = points[:, scene.depth_m > 0] + eye[:, None]
    placement = place(scenery.solids)
    distance_m = np.full(points.shape[1], np.inf)
    for i, solid in enumerate(scenery.solids):
        unit = placement.to_unit[i] @ (points - placement.center_m[i][:, None])
        # To first order: how far the gauge is from 1, by how fast it grows for each metre.
        scaled = gauge(solid.shape, unit)
        normal = outward(solid.shape, unit)
        growth = placement.to_unit[i].T @ (normal * (scaled / (normal * unit).sum(0)))
        distance_m = np.minimum(distance_m, np.abs(scaled - 1) / np.linalg.norm(growth, axis=0))
    # A rounding of float32 is 0.5 micrometres at 10 m, 4 at 80 m; some of them add up.
    assert distance_m.max() < {"rooms": 1e-5, "roads": 1e-4}[kind]


@given(
    shape=st.sampled_from(list(Shape)),
    origin=st.tuples(*[st.floats(-5, 5)] * 3),
    target=st.tuples(*[st.floats(-1.2, 1.2)] * 3),
)
def test_between_enter_and_leave_a_line_is_within_the_solid(
    shape: Shape, origin: tuple[float, ...], target: tuple[float, ...]
) -> None:
    start = np.array(origin)
    direction = np.array(target) - start
    assume(np.linalg.norm(direction) > 1e-3)
    enter, leave = enter_and_leave(shape, start[:, None], direction[:, None])
    t = np.linspace(-2, 3, 301)
    distance = gauge(shape, start[:, None] + direction[:, None] * t)
    # Near a surface the comparison is rounding's, all along a line that lies in a face; these are far more than that.
    clearly = (np.minimum(np.abs(t - enter), np.abs(t - leave)) > 1e-6) & (np.abs(distance - 1) > 1e-9)
    np.testing.assert_array_equal(((t >= enter) & (t <= leave))[clearly], (distance <= 1)[clearly])


@pytest.mark.parametrize("shape", list(Shape))
def test_normals_point_to_where_the_gauge_grows(shape: Shape) -> None:
    directions = np.random.default_rng(0).standard_normal((3, 200))
    points = directions / gauge(shape, directions)
    normals = outward(shape, points)
    step = 1e-5 * normals / np.linalg.norm(normals, axis=0)
    assert (gauge(shape, points + step) > 1 + 2e-6).all()
    tangent = np.cross(step, np.eye(3)[:, [0]], axis=0)
    # Along a tangent the gauge changes by the second order only (at an edge, by the first, but then it is rare).
    assert np.median(np.abs(gauge(shape, points + tangent) - 1)) < 1e-8


@pytest.mark.parametrize("shape", list(Shape))
def test_unit_solids_fill_their_cube(shape: Shape) -> None:
    directions = np.random.default_rng(1).standard_normal((3, 20000))
    points = directions / gauge(shape, directions)
    assert np.abs(points).max() <= 1 + 1e-6, "windows of pixels are found by the cube's corners"
    # Six-sided ones touch the faces of y with an edge only, at cos(30 degrees).
    assert (np.abs(points).max(1) > 0.85).all()


# ---- shadows


def test_the_shadow_of_a_box_ends_where_the_sun_says() -> None:
    sun = (0.0, -math.cos(math.radians(45)) * 5000, math.sin(math.radians(45)) * 5000)
    solids = [box(0, 0, -1, (100, 100, 1), GREY, shadow=False), box(0, 0, 0, (2, 2, 3), GREY)]
    y = np.linspace(1.05, 6, 100)
    points = np.stack([np.zeros(100), y, np.zeros(100)]).astype(np.float32)
    bright = lit(place(solids), np.array([1]), points, np.zeros(100, np.int32), sun)
    # A sun at 5000 m is lower by 3 / 5000 for the top of the box: 2 mm on 3 m.
    np.testing.assert_array_equal(bright[np.abs(y - 4) > 0.01], (y > 4)[np.abs(y - 4) > 0.01])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", range(4))
def test_shadows_are_those_of_brute_force(kind: str, index: int) -> None:
    scenery = world(kind, 5, index)
    camera, placement = view(scenery, SIZE), place(scenery.solids)
    visible = see(placement, camera)
    surface = visible.solid != NOTHING
    points = points_of(visible, camera)[:, surface] + camera.position_m.astype(np.float32)[:, None]
    owner = visible.solid[surface]
    casters = np.flatnonzero([solid.casts_shadow for solid in scenery.solids])
    bright = lit(placement, casters, points, owner, scenery.light.position_m)
    expected = np.ones(owner.size, bool)
    lamp = np.array(scenery.light.position_m)
    for i in casters:
        start = placement.to_unit[i] @ (points - placement.center_m[i][:, None])
        goal = placement.to_unit[i] @ (lamp - placement.center_m[i])
        enter, leave = enter_and_leave(scenery.solids[i].shape, start, goal[:, None] - start)
        expected &= ~((enter <= leave) & (leave > 0) & (owner != i))
    # A point where two solids touch is on either side of both.
    below = points[2] < lamp[2]  # the ceiling does not face the lamp, which is all that `lit` is asked about
    assert (bright != expected)[below].mean() < 0.005
    assert expected[below].mean() > 0.02
    assert expected[below].mean() < 1 or kind == "rooms"  # a room may have nothing that casts a shadow


def test_what_is_in_the_shadow_is_darker_in_the_picture() -> None:
    solids = [box(0, 0, -1, (100, 100, 1), GREY, shadow=False), box(0, 6, 2.5, (1, 1, 0.1), GREY)]
    camera = Camera((0.0, 0.0, 2.0), 0.0, math.radians(-18), 0.0, 0.8)
    image = scene_of(solids, camera, (33, 49)).image.astype(float).mean(2)
    _, fy, _, cy = scene_of(solids, camera, (33, 49)).intrinsics
    row = round(cy + fy * math.tan(math.atan2(2.0, 6.0) - math.radians(18)))
    assert image[row, 24] < 0.8 * image[row, 2], "the sun is overhead, the shadow below the plate"


# ---- textures


def test_a_texture_repeats_and_fades_to_its_mean() -> None:
    u, v = np.random.default_rng(0).random((2, 500)).astype(np.float32)
    for name, index in textures.INDEX.items():
        pattern = np.full(500, index)
        fine = textures.sample(pattern, u, v, np.full(500, 1e-6, np.float32))
        assert fine.min() >= 0, name
        assert fine.max() <= 1, name
        # Sums of u with 3 and 5 round to 1e-7 of a repetition; an edge may then fall on the next of 256 texels.
        again = textures.sample(pattern, u + 3, v - 5, np.full(500, 1e-6, np.float32))
        assert np.abs(again - fine).mean() < 1e-3, name
        coarse = textures.sample(pattern, u, v, np.full(500, 1.0, np.float32))
        np.testing.assert_allclose(coarse, textures.PATTERNS[name]().clip(0, 1).mean(), atol=1e-3, err_msg=name)


def test_texels_are_interpolated() -> None:
    checker = textures.PATTERNS["clouds"]()
    rows, columns = np.array([10, 200]), np.array([77, 255])
    index = np.full(2, textures.INDEX["clouds"])
    u, v = ((x + 0.5).astype(np.float32) / textures.SIZE for x in (columns, rows))
    area = np.full(2, 1e-6, np.float32)
    np.testing.assert_allclose(textures.sample(index, u, v, area), checker[rows, columns], atol=1e-4)
    half = textures.sample(index, u + np.float32(0.5 / textures.SIZE), v, area)
    expected = (checker[rows, columns] + checker[rows, (columns + 1) % textures.SIZE]) / 2
    np.testing.assert_allclose(half, expected, atol=1e-4)
