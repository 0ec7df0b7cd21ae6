"""DDAD as its owner ships it, small: scenes in the format of dgp, their point clouds made from known depth maps."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.data import miniature

# the field names, the calibration and both poses are those of the scene that dgp's own tests use (TRI-ML/dgp,
# tests/data/dgp/test_scene/scene_01), a parked car: there, poses and extrinsics must agree
CAMERA_POSE = (
    (0.61311094238411, -0.6216371356613251, -0.348672631921702, 0.34071929743477103),
    (399.3249350472359, -258.9284766421493, 13.842218114864506),
)
LIDAR_POSE = (
    (0.28545389542589, -0.004540543911506, -0.007592118056907001, 0.9583516143830411),
    (400.8593689910042, -259.6111707515531, 12.499000373030404),
)
CAMERA_IN_VEHICLE = (
    (0.5070133140571369, -0.5062291287161697, 0.49932480799532714, -0.4871799510740341),
    (1.652009334535535, 0.24504276930284163, 1.3548472228341417),
)
INTRINSICS = {
    "fx": 2167.6926048451924,
    "fy": 2156.230994942208,
    "cx": 951.519334127026,
    "cy": 604.9892891421556,
    "skew": 0.0,
}
CALIBRATION = "c0e1a6f1c439b282be0066d8dfcad9dd54782030"

Pose = tuple[Sequence[float], Sequence[float]]


def pose_json(pose: Pose) -> dict[str, Any]:
    rotation, translation = pose
    return {
        "rotation": dict(zip(("qw", "qx", "qy", "qz"), rotation, strict=True)),
        "translation": dict(zip("xyz", translation, strict=True)),
    }


def rotate(rotation: Sequence[float], points: np.ndarray) -> np.ndarray:
    """By a quaternion w, x, y, z, as v + 2 q x (q x v + w v): another formula than that of the package."""
    w, axis = rotation[0], np.asarray(rotation[1:])
    return points + 2 * np.cross(axis, np.cross(axis, points) + w * points)


def inverse(rotation: Sequence[float]) -> tuple[float, ...]:
    return (rotation[0], *(-value for value in rotation[1:]))


def points_of(depth_m: np.ndarray, intrinsics: dict[str, float] = INTRINSICS) -> np.ndarray:
    """The point cloud [n, 4], in the LiDAR's frame, that a depth map is the picture of."""
    rows, columns = np.nonzero(depth_m)
    z = depth_m[rows, columns].astype(np.float64)
    # the middle of each pixel, that rounding may not move a point to the next
    x = (columns + 0.5 - intrinsics["cx"]) / intrinsics["fx"] * z
    y = (rows + 0.5 - intrinsics["cy"]) / intrinsics["fy"] * z
    world = rotate(CAMERA_POSE[0], np.stack([x, y, z], axis=1)) + CAMERA_POSE[1]
    points = rotate(inverse(LIDAR_POSE[0]), world - LIDAR_POSE[1])
    return np.column_stack([points, np.full(len(points), 0.5)])


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))
    return path


def write_scene(
    root: Path, folder: str, names: Sequence[str], images: Sequence[bytes], clouds: Sequence[np.ndarray]
) -> str:
    """A scene, and its file's name as `ddad.json` has it."""
    data, samples = [], []
    for name, image, cloud in zip(names, images, clouds, strict=True):
        rgb, points = f"rgb/CAMERA_01/{name}.png", f"point_cloud/LIDAR/{name}.npz"
        for path in (root / folder / rgb, root / folder / points):
            path.parent.mkdir(parents=True, exist_ok=True)
        (root / folder / rgb).write_bytes(image)
        np.savez_compressed(root / folder / points, data=cloud)
        keys = [f"{folder}_{name}_{sensor}" for sensor in ("lidar", "camera")]
        point_cloud = {
            "filename": points,
            "point_format": ["X", "Y", "Z", "INTENSITY"],
            "point_fields": [],
            "pose": pose_json(LIDAR_POSE),
        }
        picture = {"filename": rgb, "height": 1216, "width": 1936, "channels": 3, "pose": pose_json(CAMERA_POSE)}
        data.append({"key": keys[0], "id": {"name": "LIDAR", "index": "0"}, "datum": {"point_cloud": point_cloud}})
        data.append({"key": keys[1], "id": {"name": "CAMERA_01", "index": "0"}, "datum": {"image": picture}})
        samples.append({"calibration_key": CALIBRATION, "datum_keys": keys, "metadata": {}})
    write_json(root / folder / "scene_0123.json", {"data": data, "samples": samples, "name": folder})
    none = dict.fromkeys(INTRINSICS, 0.0)
    calibration = {
        "names": ["LIDAR", "CAMERA_01"],
        "intrinsics": [none, INTRINSICS],
        "extrinsics": [pose_json(((1, 0, 0, 0), (0, 0, 0))), pose_json(CAMERA_IN_VEHICLE)],
    }
    write_json(root / folder / f"calibration/{CALIBRATION}.json", calibration)
    return f"{folder}/scene_0123.json"


def write_ddad(root: Path, scenes: Sequence[str], training: Sequence[str] = ()) -> Path:
    """`ddad.json`."""
    splits = {"0": {"filenames": list(training)}, "1": {"filenames": list(scenes)}}
    return write_json(root / "ddad.json", {"metadata": {"name": "DDAD"}, "scene_splits": splits})


def write_small(root: Path) -> Path:
    """Two scenes of two frames and one, images of 32x48 pixels; one return, of 12 m, is in view of the last."""
    image = miniature.write_image(root / "pixels.png", np.full((32, 48, 3), 9, np.uint8)).read_bytes()
    depth_m = np.zeros((32, 48))
    depth_m[5, 7] = 12
    behind, in_view = np.array([[-5.0, 0.0, 0.0, 0.5]]), points_of(depth_m)
    write_scene(root / "ddad_train_val", "000150", ["15", "16"], [image, image], [behind, behind])
    write_scene(root / "ddad_train_val", "000151", ["17"], [image], [np.concatenate([behind, in_view])])
    (root / "pixels.png").unlink()
    write_ddad(root / "ddad_train_val", ["000150/scene_0123.json", "000151/scene_0123.json"])
    return root
