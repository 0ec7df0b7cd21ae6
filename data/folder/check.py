"""Every pair is looked at before anything is written: what is odd, what that means, and what is in the depth."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from zoe_jax.errors import ZoeJaxError
from zoe_jax.input.prepare import PreparationError, Progress
from zoe_jax.input.records import DepthMetadata, valid_depth
from zoe_jax.input.summary import DepthStatistics, OddFile, SplitSummary
from zoe_jax.predict.images import ImageError, read_image

from ..depth_files import DepthFileError, read_depth, read_mask
from .pairing import Pair

PLAUSIBLE_MEDIAN_M = (0.01, 1000.0)
"""A median depth outside means that the scale is wrong."""

COMMON_UNITS_PER_M = (1, 1000, 256, 100, 5000, 10000)
"""Metres, millimetres, KITTI, centimetres, TUM RGB-D, tenths of a millimetre."""
COMMON_MEDIAN_M = (0.3, 80.0)
"""Where the median of an ordinary scene lies."""


@dataclass(frozen=True)
class CheckedPair:
    """A pair that can be used."""

    pair: Pair
    size: tuple[int, int]
    """Height and width."""
    depth: DepthStatistics
    odd_files: tuple[OddFile, ...] = ()
    """What its owner should know; it is used nevertheless."""


class _UnusableError(Exception):
    """A pair is left out: path, kind, reason."""


@dataclass(frozen=True)
class Checker:
    """How pairs are judged."""

    metadata: DepthMetadata
    units_per_m: float
    depth_key: str | None

    def check(self, pairs: Sequence[Pair], jobs: int, progress: Progress) -> tuple[list[CheckedPair], list[OddFile]]:
        """The pairs that can be used, in their order, and all that is odd."""
        checked, odd_files = [], []
        with ThreadPoolExecutor(jobs) as pool:
            for result in progress(pool.map(self._judge, pairs), "looking at all pairs", len(pairs)):
                if isinstance(result, OddFile):
                    odd_files.append(result)
                else:
                    checked.append(result)
                    odd_files += result.odd_files
        return checked, odd_files

    def _judge(self, pair: Pair) -> CheckedPair | OddFile:
        try:
            return self._check(pair)
        except _UnusableError as error:
            path, kind, reason = error.args
            return OddFile(str(path), kind, reason)

    def _check(self, pair: Pair) -> CheckedPair:
        try:
            height, width = read_image(pair.image).shape[:2]
        except ImageError as error:
            raise _UnusableError(pair.image, "unreadable image", _without_path(error, pair.image)) from error
        try:
            depth_m = read_depth(pair.depth, self.units_per_m, self.depth_key)
        except DepthFileError as error:
            raise _UnusableError(pair.depth, "unreadable depth", str(error)) from error
        if depth_m.shape != (height, width):
            raise _UnusableError(pair.depth, "depth of another size", _sizes(depth_m.shape, (height, width)))
        valid = valid_depth(depth_m, self.metadata.min_depth_m, self.metadata.max_depth_m)
        self._check_scale(pair, depth_m, valid)
        if pair.mask is not None:
            try:
                mask = read_mask(pair.mask)
            except ZoeJaxError as error:
                raise _UnusableError(pair.mask, "unreadable mask", _without_path(error, pair.mask)) from error
            if mask.shape != depth_m.shape:
                raise _UnusableError(pair.mask, "mask of another size", _sizes(mask.shape, (height, width)))
            valid &= mask
        if not valid.any():
            reason = f"no pixel is above {self.metadata.min_depth_m:g} and below {self.metadata.max_depth_m:g} m"
            raise _UnusableError(pair.depth, "no valid depth", reason + (" within the mask" if pair.mask else ""))
        return CheckedPair(pair, (height, width), DepthStatistics.of(depth_m, valid), _odd_values(pair, depth_m))

    def _check_scale(self, pair: Pair, depth_m: Float32[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"]) -> None:
        """Raises _UnusableError where the median of all depth cannot be.

        Unless most of it is a value for missing depth: then the valid rest looks like an ordinary scene. A plausible
        rest would not be enough: taken for metres, the nearest metre of a scene in millimetres is valid.
        """
        measured = depth_m[np.isfinite(depth_m) & (depth_m > 0)]
        if not measured.size or _is_within(PLAUSIBLE_MEDIAN_M, median_m := _median(measured)):
            return
        if not (valid.any() and _is_within(COMMON_MEDIAN_M, _median(depth_m[valid]))):
            raise _UnusableError(pair.depth, "wrong scale", self._scale_hint(median_m))

    def _scale_hint(self, median_m: float) -> str:
        text = f"its median depth would be {median_m:.3g} m"
        stored = median_m * self.units_per_m
        fitting = [
            f"{stored / units:.3g} m with --depth-units-per-m {units}"
            for units in COMMON_UNITS_PER_M
            if _is_within(COMMON_MEDIAN_M, stored / units)
        ]
        hint = " or ".join(fitting) or "--depth-units-per-m is the value that stands for one metre"
        return f"{text}; {hint}"


def _odd_values(pair: Pair, depth_m: Float32[np.ndarray, "h w"]) -> tuple[OddFile, ...]:
    finite = np.isfinite(depth_m)
    counts = {
        "negative depth, taken as invalid": int((depth_m[finite] < 0).sum()),
        "NaN or infinite depth, taken as invalid": int(depth_m.size - finite.sum()),
    }
    return tuple(OddFile(str(pair.depth), kind, f"{count} pixels", "kept") for kind, count in counts.items() if count)


def _median(values: Float32[np.ndarray, "n"]) -> float:
    """That of an even number is the upper of the two in the middle."""
    return float(np.partition(values, values.size // 2)[values.size // 2])


def _is_within(limits: tuple[float, float], value: float) -> bool:
    return limits[0] <= value <= limits[1]


def refuse_if_nothing_is_left(checked: Sequence[CheckedPair], odd_files: Sequence[OddFile], strict: bool) -> None:
    """Raises PreparationError where no pair can be used or, with `strict`, where one cannot."""
    left_out = [odd for odd in odd_files if odd.fate == "left out"]
    if checked and not (strict and left_out):
        return
    counts = Counter(odd.kind for odd in left_out).most_common()
    first = next(odd for odd in left_out if odd.kind == counts[0][0])
    text = ", ".join(f"{kind}: {count}" for kind, count in counts) + f"; {first.name}: {first.reason or first.kind}"
    if not checked:
        raise PreparationError(f"no pair can be used; {text}")
    raise PreparationError(f"--strict refuses to leave out any file; {text}")


def summarize_checked(checked: Sequence[CheckedPair]) -> SplitSummary:
    """What a split of these pairs would hold."""
    sizes = Counter(item.size for item in checked)
    return SplitSummary(len(checked), dict(sizes), sum((item.depth for item in checked), DepthStatistics()))


def _sizes(shape: tuple[int, ...], image: tuple[int, int]) -> str:
    return f"it is {shape[1]}x{shape[0]}, its image {image[1]}x{image[0]} (width x height)"


def _without_path(error: Exception, path: Path) -> str:
    """The reason without the file's name, which stands before it in the report."""
    return str(error).removeprefix(f"{path} ").removeprefix(f"cannot read {path}: ")
