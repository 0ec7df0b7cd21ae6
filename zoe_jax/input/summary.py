"""What came of a preparation, for the human and as JSON."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32

SUMMARY_FILE = "zoe_summary.json"
"""Beside the records: what a data set was made of, and what came of it."""

DEPTH_EDGES_M = (
    0,
    0.1,
    0.25,
    0.5,
    1,
    1.5,
    2,
    3,
    4,
    5,
    7.5,
    10,
    15,
    20,
    30,
    40,
    60,
    80,
    120,
    200,
    500,
    1000,
    float("inf"),
)
"""Bounds of the histogram's bins; fixed, so that the histograms of parts add up."""

ODD_FILES_SHOWN = 20
"""How many odd files of one reason the text names; the JSON names all."""

BAR_WIDTH = 40
"""Characters of the histogram's longest bar."""


Fate = Literal["left out", "kept", "ignored"]


@dataclass(frozen=True)
class OddFile:
    """A file that its owner should know of."""

    name: str
    """Path, as the user would look for it."""
    kind: str
    """A few words that are the same for all files of this kind, such as `unreadable image`."""
    reason: str = ""
    """What is wrong with this very file."""
    fate: Fate = "left out"
    """left out: its example is not in the data set; kept: it is, nevertheless; ignored: it is no part of an example."""


@dataclass(frozen=True)
class DepthStatistics:
    """Valid and invalid pixels of depth; those of several images add up."""

    pixels: int = 0
    valid_pixels: int = 0
    min_depth_m: float = float("inf")
    max_depth_m: float = 0.0
    histogram: tuple[int, ...] = (0,) * (len(DEPTH_EDGES_M) - 1)
    """Valid pixels between each two of DEPTH_EDGES_M."""

    @classmethod
    def of(cls, depth_m: Float32[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"]) -> "DepthStatistics":
        """The statistics of one depth map, in metres."""
        depths = depth_m[valid]
        if not depths.size:
            return cls(pixels=depth_m.size)
        # searchsorted beats np.histogram here: a few comparisons a pixel, no arithmetic on uneven bins
        bins = np.searchsorted(np.asarray(DEPTH_EDGES_M[1:-1], np.float32), depths, side="right")
        counts = np.bincount(bins, minlength=len(DEPTH_EDGES_M) - 1)
        return cls(depth_m.size, depths.size, float(depths.min()), float(depths.max()), tuple(map(int, counts)))

    def __add__(self, other: "DepthStatistics") -> "DepthStatistics":
        """The statistics of both."""
        return DepthStatistics(
            self.pixels + other.pixels,
            self.valid_pixels + other.valid_pixels,
            min(self.min_depth_m, other.min_depth_m),
            max(self.max_depth_m, other.max_depth_m),
            tuple(a + b for a, b in zip(self.histogram, other.histogram, strict=True)),
        )

    @property
    def invalid_share(self) -> float:
        """Share of all pixels that are invalid."""
        return 1 - self.valid_pixels / self.pixels if self.pixels else 0.0


@dataclass(frozen=True)
class SplitSummary:
    """One split of a data set."""

    count: int
    sizes: Mapping[tuple[int, int], int]
    """Height and width of images -> how many there are."""
    depth: DepthStatistics
    checksum: str = ""
    """SHA-256 over all records, whatever their order; empty where nothing was written."""

    def to_json(self) -> dict[str, Any]:
        """For `json.dump`."""
        some = self.depth.valid_pixels > 0
        return {
            "count": self.count,
            "sizes": [{"height": h, "width": w, "count": n} for (h, w), n in sorted(self.sizes.items())],
            "pixels": self.depth.pixels,
            "valid_pixels": self.depth.valid_pixels,
            "invalid_share": self.depth.invalid_share,
            "min_depth_m": self.depth.min_depth_m if some else None,
            "max_depth_m": self.depth.max_depth_m if some else None,
            "depth_edges_m": [*DEPTH_EDGES_M[:-1], None],
            "histogram": list(self.depth.histogram),
            "checksum": self.checksum,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "SplitSummary":
        """What `to_json` gave."""
        sizes = {(size["height"], size["width"]): size["count"] for size in data["sizes"]}
        if data["min_depth_m"] is None:
            depth = DepthStatistics(data["pixels"])
        else:
            depth = DepthStatistics(
                data["pixels"],
                data["valid_pixels"],
                data["min_depth_m"],
                data["max_depth_m"],
                tuple(data["histogram"]),
            )
        return cls(data["count"], sizes, depth, data["checksum"])


@dataclass(frozen=True)
class DataSetSummary:
    """One data set: a builder with one configuration."""

    name: str
    """As the input's configuration names it: `zoe_folder/my_room`."""
    splits: Mapping[str, SplitSummary]
    odd_files: Sequence[OddFile] = ()
    folder: str | None = None
    """Where it lies; None where nothing was written."""
    was_there: bool = False
    """Whether it had been prepared before, and was left as it is."""
    notes: Sequence[str] = field(default=())
    """Sentences for the human."""

    def to_json(self) -> dict[str, Any]:
        """For `json.dump`."""
        return {
            "name": self.name,
            "folder": self.folder,
            "was_there": self.was_there,
            "notes": list(self.notes),
            "splits": {name: split.to_json() for name, split in self.splits.items()},
            "odd_files": [dataclasses.asdict(odd) for odd in self.odd_files],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "DataSetSummary":
        """What `to_json` gave."""
        return cls(
            data["name"],
            {name: SplitSummary.from_json(split) for name, split in data["splits"].items()},
            tuple(OddFile(**odd) for odd in data["odd_files"]),
            data["folder"],
            data["was_there"],
            tuple(data["notes"]),
        )

    def __str__(self) -> str:
        """A report of some lines: splits, depths, odd files."""
        state = "nothing was written" if self.folder is None else self.folder
        lines = [f"{self.name}: {state}" + (" (had been prepared before; left as it is)" if self.was_there else "")]
        for name, split in self.splits.items():
            lines += ["", *_split_lines(name, split)]
        if self.odd_files:
            lines += ["", *_odd_lines(self.odd_files)]
        return "\n".join([*lines, *(["", *self.notes] if self.notes else [])])


@dataclass(frozen=True)
class Summary:
    """What one call of `zoe-jax prepare` did: one data set, or several of one kind."""

    data_sets: Sequence[DataSetSummary]

    def to_json(self) -> dict[str, Any]:
        """For `json.dump`."""
        return {"data_sets": [data_set.to_json() for data_set in self.data_sets]}

    def __str__(self) -> str:
        """The reports of all."""
        return "\n\n".join(map(str, self.data_sets))


def _split_lines(name: str, split: SplitSummary) -> list[str]:
    commonest = sorted(split.sizes.items(), key=lambda item: (-item[1], item[0]))
    sizes = ", ".join(f"{w}x{h}" + (f" ({n})" if len(commonest) > 1 else "") for (h, w), n in commonest[:4])
    more = f" and {len(commonest) - 4} more sizes" if len(commonest) > 4 else ""
    lines = [
        f"  {name}: {split.count} image{'s' * (split.count != 1)}"
        + (f", width x height {sizes}{more}" if sizes else "")
    ]
    depth = split.depth
    if not depth.valid_pixels:
        return lines
    lines.append(
        f"  depth {depth.min_depth_m:.3g} to {depth.max_depth_m:.3g} m, {100 * depth.invalid_share:.1f} % invalid"
    )
    if split.checksum:
        lines.append(f"  checksum {split.checksum}")
    present = [index for index, count in enumerate(depth.histogram) if count]
    most = max(depth.histogram)
    for index in range(present[0], present[-1] + 1):
        low, high, count = DEPTH_EDGES_M[index], DEPTH_EDGES_M[index + 1], depth.histogram[index]
        share, bar = 100 * count / depth.valid_pixels, "#" * round(BAR_WIDTH * count / most)
        lines.append(f"  {low:>8g} ..{high:>6g} m {share:5.1f} % {bar}".rstrip())
    return lines


def _odd_lines(odd_files: Sequence[OddFile]) -> list[str]:
    lines = []
    for (fate, kind), count in sorted(Counter((odd.fate, odd.kind) for odd in odd_files).items(), reverse=True):
        lines.append(f"  {fate}, {kind}: {count}")
        files = [odd for odd in odd_files if (odd.fate, odd.kind) == (fate, kind)]
        lines += [f"    {odd.name}" + (f": {odd.reason}" if odd.reason else "") for odd in files[:ODD_FILES_SHOWN]]
        if count > ODD_FILES_SHOWN:
            lines.append(f"    and {count - ODD_FILES_SHOWN} more; the JSON report names all")
    return lines
