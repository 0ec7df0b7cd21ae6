"""DDAD: both layouts become the same records; the owner's scenes are projected without the owner's library."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.data import dgp_scenes, miniature
from tests.data.raw_sets import assert_as_golden, assert_refused, golden, prepare, records, stored
from zoe_jax.input.prepare import PreparationError
from zoe_jax_data.ddad import PREPARATION
from zoe_jax_data.ddad.builder import DdadOptions, find, read_points
from zoe_jax_data.ddad.projection import Intrinsics, Pose, depth_of_points

NAME = "zoe_ddad/lidar"
HERE = Pose((1, 0, 0, 0), (0, 0, 0))
CAMERA = Intrinsics(10, 10, 4, 3)
SIZE = (6, 8)


# ---- projection


def test_points_land_in_known_pixels() -> None:
    points = np.array(
        [
            [0.0, 0.0, 2.0],  # the principal point: pixel (3, 4)
            [-0.8, -0.6, 2.0],  # the very corner: (0, 0)
            [0.799, 0.599, 2.0],  # just inside the other: (5, 7)
            [0.8, 0.0, 2.0],  # one pixel beyond
            [0.0, 0.0, -2.0],  # behind the camera
            [0.0, 0.0, 0.0],  # in it
            [0.3, 0.0, 30.0],  # (3, 4) again, and further away
            [np.nan, 0.0, 1.0],
            [0.0, np.inf, 1.0],
        ]
    )
    expected = np.zeros(SIZE, np.float32)
    expected[3, 4] = expected[0, 0] = expected[5, 7] = 2
    for order in (slice(None), slice(None, None, -1)):
        np.testing.assert_array_equal(depth_of_points(points[order], HERE, HERE, CAMERA, SIZE), expected)


def test_the_owners_library_keeps_the_last_point() -> None:
    points = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 9.0], [0.0, 0.0, 5.0]])
    assert depth_of_points(points, HERE, HERE, CAMERA, SIZE, "last")[3, 4] == 5
    assert depth_of_points(points, HERE, HERE, CAMERA, SIZE, "nearest")[3, 4] == 2
    assert not depth_of_points(points[:0], HERE, HERE, CAMERA, SIZE).any()


def test_depth_is_along_the_axis_of_the_moved_camera() -> None:
    # the camera looks along the x axis of the world, as a camera in front of a car: its z is their x, its x their -y
    forward = Pose((0.5, -0.5, 0.5, -0.5), (1, 0, 1.5))
    np.testing.assert_allclose(forward.rotation_matrix() @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(forward.rotation_matrix() @ [1, 0, 0], [0, -1, 0], atol=1e-12)
    lidar = Pose((1, 0, 0, 0), (0, 0, 2))
    # in the world (11, -2, 1.5): 10 m ahead of the camera, 2 m to its right, at its height
    depth_m = depth_of_points(np.array([[11.0, -2.0, -0.5]]), lidar, forward, CAMERA, SIZE)
    assert np.argwhere(depth_m).tolist() == [[3, 6]]
    assert depth_m[3, 6] == pytest.approx(10)


def test_poses_mean_what_the_owner_means() -> None:
    """In a scene of the owner where the car stands, the poses and the calibration tell the same place of the camera."""
    lidar, camera = Pose(*dgp_scenes.LIDAR_POSE), Pose(*dgp_scenes.CAMERA_POSE)
    in_vehicle = Pose(*dgp_scenes.CAMERA_IN_VEHICLE)
    rotation = lidar.rotation_matrix().T @ camera.rotation_matrix()
    np.testing.assert_allclose(rotation, in_vehicle.rotation_matrix(), atol=1e-6)
    translation = lidar.rotation_matrix().T @ np.subtract(camera.translation_m, lidar.translation_m)
    np.testing.assert_allclose(translation, in_vehicle.translation_m, atol=1e-5)


def test_pixels_are_those_of_opencv() -> None:
    """The owner's library projects by cv2.projectPoints; its pixels, for points all over and beyond the image."""
    camera, intrinsics = Pose(*dgp_scenes.CAMERA_POSE), Intrinsics(**dgp_scenes.INTRINSICS)
    random = np.random.default_rng(0)
    in_camera = random.uniform((-30, -20, 5), (30, 20, 60), (2000, 3))
    matrix = np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy], [0, 0, 1]])
    pixels, _ = cv2.projectPoints(in_camera, np.zeros(3), np.zeros(3), matrix, np.zeros(5))
    expected = np.zeros((1216, 1936), np.float32)
    for (u, v), depth in zip(pixels[:, 0].astype(int), in_camera[:, 2], strict=True):
        if 0 <= u < 1936 and 0 <= v < 1216:
            expected[v, u] = depth
    world = in_camera @ camera.rotation_matrix().T + camera.translation_m
    found = depth_of_points(world, HERE, camera, intrinsics, (1216, 1936), "last")
    assert 400 < (expected > 0).sum() < 1900
    # 400 m from the origin, float64 leaves 1e-13 m; float32 rounds 60 m to 4e-6
    np.testing.assert_allclose(found, expected, atol=1e-5)


# ---- the two layouts


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniature.make("ddad", tmp_path_factory.mktemp("ddad"))


def test_records_are_what_the_original_reads(tmp_path: Path, original: Path, reference: Path) -> None:
    summary = prepare(PREPARATION, tmp_path / "out", original)
    assert (summary.name, summary.splits["validation"].count) == (NAME, 2)
    found = records(tmp_path / "out", NAME, "validation")
    assert [record.id for record in found] == ["000000", "000001"]
    for record, expected in zip(found, golden(reference, "ddad"), strict=True):
        assert record.image.shape == (1216, 1936, 3)
        assert record.domain == "kitti"
        image = cv2.resize(np.asarray(record.image, np.float32) / 255, (1216, 352), interpolation=cv2.INTER_LINEAR)
        # OpenCV weighs neighbours in float32, as torch does, in another order
        assert_as_golden(image, expected["image"], 1e-5)
        assert_as_golden(record.depth_m, expected["depth"], 1e-5)


def test_the_owners_layout_gives_the_same_records(tmp_path: Path, original: Path) -> None:
    depths = [np.load(original / f"00000{index}_depth.npy") for index in (0, 1)]
    images = [(original / f"00000{index}_rgb.png").read_bytes() for index in (0, 1)]
    folder = tmp_path / "raw/ddad_train_val"
    clouds = [dgp_scenes.points_of(depth_m) for depth_m in depths]
    scene = dgp_scenes.write_scene(folder, "000150", ["15", "16"], images, clouds)
    dgp_scenes.write_ddad(folder, [scene], training=["000000/scene_of_training.json"])
    prepare(PREPARATION, tmp_path / "out", tmp_path / "raw")
    found = records(tmp_path / "out", NAME, "validation")
    assert [record.id for record in found] == ["000150/15", "000150/16"]
    for record, depth_m in zip(found, depths, strict=True):
        np.testing.assert_array_equal(record.depth_m > 0, depth_m > 0)
        # through two poses and back in float64, then rounded to float32: 200 m to 8e-6
        np.testing.assert_allclose(record.depth_m, depth_m, rtol=1e-6)
    for record, image in zip(stored(tmp_path / "out", NAME, "validation"), images, strict=True):
        assert record["image"] == image
        expected = [dgp_scenes.INTRINSICS[name] for name in ("fx", "fy", "cx", "cy")]
        np.testing.assert_array_equal(record["intrinsics"], np.float32(expected))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return dgp_scenes.write_small(tmp_path / "raw")


def test_images_without_a_return_in_view_are_kept(tmp_path: Path, raw: Path) -> None:
    summary = prepare(PREPARATION, tmp_path / "out", raw)
    assert summary.splits["validation"].count == 3
    assert summary.splits["validation"].depth.valid_pixels == 1
    first, second, third = records(tmp_path / "out", NAME, "validation")
    assert not first.depth_m.any()
    assert not second.depth_m.any()
    assert third.depth_m[5, 7] == pytest.approx(12)
    # the folder of ddad.json itself will do as well
    assert len(find(DdadOptions(raw / "ddad_train_val"))[0].splits["validation"]) == 3


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "lidar"),
        ({"camera": "camera_01"}, "lidar"),
        ({"overlap": "last"}, "lidar_last"),
        ({"camera": "CAMERA_05"}, "lidar_camera_05"),
    ],
)
def test_other_truth_has_another_name(raw: Path, options: dict[str, Any], name: str) -> None:
    if options.get("camera") == "CAMERA_05":
        for path in (raw / "ddad_train_val").rglob("*.json"):
            path.write_text(path.read_text().replace("CAMERA_01", "CAMERA_05"))
    (config,) = find(DdadOptions(raw, **options))
    assert config.name == name
    assert [example.id for example in config.splits["validation"]] == ["000150/15", "000150/16", "000151/17"]


def test_structured_points_are_read(tmp_path: Path) -> None:
    points = np.array([(1, 2, 3, 0.5)], [(name, np.float32) for name in ("X", "Y", "Z", "INTENSITY")])
    np.savez(tmp_path / "points.npz", data=points)
    np.testing.assert_array_equal(read_points(tmp_path / "points.npz"), [[1, 2, 3]])


# ---- what is wrong is named


class Planted:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_pickled_points_are_refused(tmp_path: Path, raw: Path) -> None:
    cloud = raw / "ddad_train_val/000150/point_cloud/LIDAR/16.npz"
    np.savez(cloud, data=np.array([Planted(tmp_path / "planted")], object))
    with pytest.raises(PreparationError, match=r"LIDAR/16\.npz is no point cloud: .*allow_pickle"):
        prepare(PREPARATION, tmp_path / "out", raw)
    assert not (tmp_path / "planted").exists()


def test_pickled_depth_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    miniature.write_image(raw / "a_rgb.png", np.zeros((4, 6, 3), np.uint8))
    miniature.write_array(raw / "a_depth.npy", np.array([Planted(tmp_path / "planted")], object))
    with pytest.raises(PreparationError, match=r"a_depth\.npy, which should be depth: cannot be read: .*allow_pickle"):
        prepare(PREPARATION, tmp_path / "out", raw)
    assert not (tmp_path / "planted").exists()


def test_damaged_files_are_named(tmp_path: Path, raw: Path) -> None:
    scene = raw / "ddad_train_val/000150"

    def fails(path: Path, content: bytes | None, match: str) -> None:
        before = path.read_bytes()
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(PreparationError, match=match) as caught:
            prepare(PREPARATION, tmp_path / "out", raw)
        assert str(path) in str(caught.value)
        path.write_bytes(before)

    cloud, image = scene / "point_cloud/LIDAR/15.npz", scene / "rgb/CAMERA_01/15.png"
    fails(cloud, None, "1 file is missing")
    fails(cloud, cloud.read_bytes()[:-40], "is no point cloud")
    fails(cloud, b"", "is no point cloud")
    for arrays, match in (
        ({"points": np.zeros((1, 4))}, "expected is an .npz file with one array of numbers, data"),
        ({"data": np.zeros((4, 2))}, re.escape("data is an array float64 [4, 2]; expected are numbers [n, 4]")),
        ({"data": np.array([["a", "b", "c", "d"]])}, "expected are numbers"),
    ):
        np.savez(tmp_path / "other.npz", **arrays)
        fails(cloud, (tmp_path / "other.npz").read_bytes(), match)
    fails(image, image.read_bytes()[: len(image.read_bytes()) // 2], "cannot be read: .*truncated")
    fails(raw / "ddad_train_val/ddad.json", b"{", "cannot be read as JSON")
    calibration = scene / f"calibration/{dgp_scenes.CALIBRATION}.json"
    fails(calibration, None, "cannot be read as JSON")
    fails(calibration, b"[" * 100_000, "cannot be read as JSON")


def change(*keys: str | int, to: Any = None) -> Callable[[Any], None]:
    """Sets a value deep in a JSON file, or takes it out."""

    def apply(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        if to is None:
            del content[keys[-1]]
        else:
            content[keys[-1]] = to

    return apply


SCENE, CALIBRATION, DDAD = "000150/scene_0123.json", f"000150/calibration/{dgp_scenes.CALIBRATION}.json", "ddad.json"


@pytest.mark.parametrize(
    ("file", "mistake", "message"),
    [
        (DDAD, change("scene_splits", "1"), "the field scene_splits.1 is missing"),
        (DDAD, change("scene_splits", "1", "filenames", to=["../../other/scene.json"]), "which is outside of"),
        (DDAD, change("scene_splits", "1", "filenames", to=["000150/scene_9.json"]), "cannot be read as JSON"),
        (DDAD, change("scene_splits", "1", "filenames", to=[]), "split validation is empty"),
        (SCENE, change("samples"), "the field samples is missing"),
        (SCENE, change("samples", 0, "datum_keys", to=["nobody"]), "a sample names the datum nobody"),
        (SCENE, change("data", 1, "id", "name", to="CAMERA_05"), "a sample lacks CAMERA_01; it has CAMERA_05, LIDAR"),
        (SCENE, change("data", 0, "id", "name", to="RADAR"), "a sample lacks LIDAR"),
        (SCENE, change("data", 1, "datum", "image", "filename", to="/etc/passwd"), "which is outside of"),
        (SCENE, change("data", 1, "datum", "image", "pose", "rotation", "qw"), "pose.rotation.qw is missing"),
        (SCENE, change("data", 1, "datum", "image", "pose", "rotation", "qw", to=2.0), "expected is one of length 1"),
        (SCENE, change("data", 0, "datum", "point_cloud", "pose", "translation", "x", to="1"), "should be a number"),
        (SCENE, change("data", 0, "datum", "point_cloud", "point_format", to=["Y", "X", "Z"]), "expected are X, Y, Z"),
        (CALIBRATION, change("names", to=["LIDAR", "CAMERA_07"]), "no calibration of CAMERA_01; there are LIDAR"),
        (CALIBRATION, change("intrinsics", 1, "fx"), "the field fx is missing"),
        (CALIBRATION, change("intrinsics", 1, "fx", to=0.5 - 0.5), "expected are positive ones"),
        (CALIBRATION, change("intrinsics", 1, "k1", to=0.2), "CAMERA_01 has the distortion k1; expected are none"),
    ],
)
def test_wrong_descriptions_are_named(
    tmp_path: Path, raw: Path, file: str, mistake: Callable[[Any], None], message: str
) -> None:
    path = raw / "ddad_train_val" / file
    content = json.loads(path.read_text())
    mistake(content)
    path.write_text(json.dumps(content))
    assert_refused(PREPARATION, tmp_path / "out", raw, re.escape(message))


def test_wrong_folders_and_options_are_named(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()

    def fails(match: str, **options: Any) -> None:
        with pytest.raises(PreparationError, match=match):
            prepare(PREPARATION, tmp_path / "out", raw, **options)

    fails(r"holds no DDAD; expected is the owner's ddad\.json or ddad_train_val/ddad\.json, or images NAME_rgb\.png")
    miniature.write_image(raw / "a_rgb.png", np.zeros((4, 6, 3), np.uint8))
    fails(r"1 file is missing: .*a_depth\.npy")
    fails("--camera and --overlap need the owner's scenes", camera="CAMERA_05")
    fails("--camera and --overlap need the owner's scenes", overlap="last")
    fails("has no split lists", splits=raw)
    depth = miniature.write_array(raw / "a_depth.npy", np.ones((4, 6), np.float32))
    depth.write_bytes(depth.read_bytes()[:-8])
    fails(r"a_depth\.npy, which should be depth: cannot be read")
    miniature.write_array(depth, np.ones((4, 6, 2), np.float32))
    fails(r"a_depth\.npy, which should be depth: the array has shape \(4, 6, 2\)")
    miniature.write_array(depth, np.ones((4, 7), np.float32))
    fails(r"a_depth\.npy is 7x4, its image 6x4")
