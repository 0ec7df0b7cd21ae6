"""The owner's split v1: which frames it calls test."""

import csv
from pathlib import Path
from typing import NamedTuple

from zoe_jax.input.prepare import PreparationError

from ..split_lists import fetch

NAME = "metadata_images_split_scene_v1.csv"
COMMIT = "8d92d18dcd71980134ca283f71ccd4ed1231bdd2"
"""The one in which the file came into the repository."""

URL = f"https://raw.githubusercontent.com/apple/ml-hypersim/{COMMIT}/evermotion_dataset/analysis/{NAME}"

COLUMNS = (
    "scene_name",
    "camera_name",
    "frame_id",
    "included_in_public_release",
    "exclude_reason",
    "split_partition_name",
)


class Frame(NamedTuple):
    """As the folders and files of the download are named."""

    scene: str
    camera: str
    frame: str
    """Four digits."""


def read_test_frames(place: Path | None) -> list[Frame]:
    """The test frames of the public release.

    Args:
        place: the owner's table, or a folder that it is in; None: it is fetched.

    Raises:
        PreparationError: it cannot be had or read, or has no test frame.
    """
    path = fetch(URL, NAME) if place is None else place / NAME if place.is_dir() else place
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns, lines = tuple(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PreparationError(f"{path} cannot be read: {error}; it should be the owner's {NAME}") from error
    if columns != COLUMNS:
        raise PreparationError(f"{path} has the columns {', '.join(columns)}; {NAME} has {', '.join(COLUMNS)}")
    frames = [
        Frame(line["scene_name"], line["camera_name"], line["frame_id"].zfill(4))
        for line in lines
        if line["split_partition_name"] == "test" and line["included_in_public_release"] == "True"
    ]
    if not frames:
        raise PreparationError(f"{path} has no line of the public release whose split_partition_name is test")
    return frames
