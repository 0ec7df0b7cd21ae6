"""The TFDS builder of `zoe_rooms_and_roads/rooms` and `zoe_rooms_and_roads/roads`: scenes to records, exactly."""

import dataclasses
import io
import multiprocessing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from zoe_jax.input.records import DepthMetadata

from ..record_builder import RecordBuilder, RecordConfig
from .rendering import render
from .roads import MAX_DEPTH_M as ROADS_MAX_DEPTH_M
from .rooms import MAX_DEPTH_M as ROOMS_MAX_DEPTH_M

METADATA = {
    kind: DepthMetadata(0.001, max_depth_m, None, kind)
    for kind, max_depth_m in (("rooms", ROOMS_MAX_DEPTH_M), ("roads", ROADS_MAX_DEPTH_M))
}
"""Of each kind; nothing is rounded: the depth is that of the renderer, bit by bit."""

FIRST_INDEX = {"train": 0, "validation": 1 << 40, "test": 2 << 40}
"""Of each split: however many scenes one has, no other repeats them, and scene i of it is the same."""

SCENES_A_PROCESS = 256
"""A process takes as long to start as to render so many small ones."""

SCENES_AT_ONCE = 16
"""Rendered by a process before it hands them over."""


@dataclass
class RoomsAndRoadsConfig(RecordConfig):
    """One kind of scene; `name` says which."""

    size: tuple[int, int] = (64, 96)
    """Height and width in pixels."""
    counts: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: {"train": 2000, "validation": 200, "test": 200}
    )
    """Scenes in each split."""
    seed: int = 0
    jobs: int = 1
    """Processes that render; the records do not depend on it."""


class ZoeRoomsAndRoads(RecordBuilder[RoomsAndRoadsConfig], skip_registration=True):
    """Rendered rooms or roads with exact depth and intrinsics."""

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config = self._config
        return {
            split: Examples(config.name, config.size, config.seed, split, count, config.jobs)
            for split, count in config.counts.items()
            if count
        }


@dataclass(frozen=True)
class Examples:
    """The examples of a split, rendered as they are asked for."""

    kind: str
    size: tuple[int, int]
    seed: int
    split: str
    count: int
    jobs: int = 1

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        processes = min(self.jobs, self.count // SCENES_A_PROCESS)
        if processes < 2:
            yield from map(self.example, range(self.count))
            return
        # Not forked: the parent may have threads, of JAX for instance.
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            yield from pool.imap(self.example, range(self.count), SCENES_AT_ONCE)

    def example(self, i: int) -> tuple[str, dict[str, Any]]:
        """Its key, and what `record_features` names."""
        key = f"{self.kind}_{self.split}_{i:07d}"
        scene = render(self.kind, self.size, self.seed, FIRST_INDEX[self.split] + i)
        png = io.BytesIO()
        # Noise hardly gets smaller by trying harder, which takes as long as rendering.
        Image.fromarray(scene.image).save(png, "png", compress_level=1)
        return key, {"id": key, "image": png.getvalue(), "depth": scene.depth_m, "intrinsics": scene.intrinsics}
