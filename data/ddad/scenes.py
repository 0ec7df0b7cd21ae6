"""The owner's format of scenes (dgp): JSON files that name images, point clouds, poses and calibrations.

Source of the fields: github.com/TRI-ML/dgp, dgp/proto/{dataset,scene,sample,image,point_cloud,geometry}.proto.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoe_jax.input.prepare import PreparationError

from .projection import Intrinsics, Pose

VALIDATION = "1"
"""Number of the split in `scene_splits`: 0 is training, 2 test."""

LIDAR = "LIDAR"

UNDISTORTED = ("fx", "fy", "cx", "cy", "skew", "fov")
"""Numbers of a calibration that may differ from 0; any other is a distortion."""


@dataclass(frozen=True)
class Frame:
    """An image, and the point cloud of the same moment."""

    id: str
    """`000150/15621787638931470`: folder of the scene, and name of the image."""
    image: Path
    point_cloud: Path
    camera: Pose
    lidar: Pose
    intrinsics: Intrinsics
    descriptions: tuple[Path, Path]
    """Scene and calibration, which decide the truth as well."""


def validation_frames(scenes: Path, camera: str) -> list[Frame]:
    """The frames of all validation scenes that `ddad.json` names, in its order.

    Raises:
        PreparationError: a JSON file is missing or damaged, lacks a field, or knows no such camera.
    """
    filenames = _field(_read(scenes), "scene_splits", VALIDATION, "filenames", file=scenes)
    return [frame for name in filenames for frame in _scene_frames(_inside(scenes.parent, name, scenes), camera)]


def _scene_frames(path: Path, camera: str) -> Iterator[Frame]:
    scene = _read(path)
    data = {_field(datum, "key", file=path): datum for datum in _field(scene, "data", file=path)}
    for sample in _field(scene, "samples", file=path):
        sensors = {}
        for key in _field(sample, "datum_keys", file=path):
            if key not in data:
                raise PreparationError(f"{path}: a sample names the datum {key}, which is not there")
            # the owner's own library does not tell capitals from small letters
            sensors[str(_field(data[key], "id", "name", file=path)).upper()] = data[key]
        for name in (camera, LIDAR):
            if name.upper() not in sensors:
                raise PreparationError(f"{path}: a sample lacks {name}; it has {', '.join(sorted(sensors))}")
        image = _field(sensors[camera.upper()], "datum", "image", file=path)
        cloud = _field(sensors[LIDAR], "datum", "point_cloud", file=path)
        columns = _field(cloud, "point_format", file=path)
        if columns[:3] != ["X", "Y", "Z"]:
            raise PreparationError(f"{path}: points have the columns {columns}; expected are X, Y, Z first")
        calibration = path.parent / "calibration" / f"{_field(sample, 'calibration_key', file=path)}.json"
        image_path = _inside(path.parent, _field(image, "filename", file=path), path)
        yield Frame(
            f"{path.parent.name}/{image_path.stem}",
            image_path,
            _inside(path.parent, _field(cloud, "filename", file=path), path),
            _pose(image, path),
            _pose(cloud, path),
            _intrinsics(calibration, camera),
            (path, calibration),
        )


def _intrinsics(path: Path, camera: str) -> Intrinsics:
    calibration = _read(path)
    names = [str(name).upper() for name in _field(calibration, "names", file=path)]
    if camera.upper() not in names:
        raise PreparationError(f"{path}: there is no calibration of {camera}; there are {', '.join(names)}")
    of_camera = _field(calibration, "intrinsics", names.index(camera.upper()), file=path)
    if distortion := [name for name, value in of_camera.items() if name not in UNDISTORTED and value]:
        raise PreparationError(f"{path}: {camera} has the distortion {', '.join(distortion)}; expected are none")
    fx, fy, cx, cy = (_number(of_camera, name, file=path) for name in ("fx", "fy", "cx", "cy"))
    if min(fx, fy) <= 0:
        raise PreparationError(f"{path}: {camera} has the focal lengths {fx}, {fy}; expected are positive ones")
    # protobuf may leave out a field that is 0
    skew = _number(of_camera, "skew", file=path) if "skew" in of_camera else 0.0
    return Intrinsics(fx, fy, cx, cy, skew)


def _pose(datum: Mapping[str, Any], path: Path) -> Pose:
    w, x, y, z = (_number(datum, "pose", "rotation", name, file=path) for name in ("qw", "qx", "qy", "qz"))
    if abs(math.hypot(w, x, y, z) - 1) > 1e-3:
        raise PreparationError(f"{path}: a pose has the quaternion {w, x, y, z}; expected is one of length 1")
    tx, ty, tz = (_number(datum, "pose", "translation", name, file=path) for name in "xyz")
    return Pose((w, x, y, z), (tx, ty, tz))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise PreparationError(f"{path} cannot be read as JSON: {error}") from error


def _field(value: Any, *keys: str | int, file: Path) -> Any:
    for index, key in enumerate(keys):
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            place = ".".join(map(str, keys[: index + 1]))
            raise PreparationError(f"{file} is not as its owner ships it: the field {place} is missing") from error
    return value


def _number(value: Any, *keys: str | int, file: Path) -> float:
    number = _field(value, *keys, file=file)
    if not isinstance(number, int | float) or not math.isfinite(number):
        raise PreparationError(f"{file}: the field {'.'.join(map(str, keys))} is {number!r}; it should be a number")
    return float(number)


def _inside(folder: Path, name: Any, file: Path) -> Path:
    relative = Path(str(name))
    if relative.is_absolute() or ".." in relative.parts:
        raise PreparationError(f"{file} names the file {name}, which is outside of {folder}")
    return folder / relative
