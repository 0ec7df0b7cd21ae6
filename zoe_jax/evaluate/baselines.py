"""Predictions that look at no image: what a model must beat to have learnt anything."""

import warnings

import numpy as np
from jaxtyping import Bool, Float

N_CANDIDATES = 256


class TrainingDepths:
    """What a training set says about depth before any image is seen, gathered image by image.

    Args:
        min_depth_m: the least depth evaluated.
        max_depth_m: the greatest.
    """

    def __init__(self, min_depth_m: float, max_depth_m: float) -> None:
        self._min_depth_m, self._max_depth_m = min_depth_m, max_depth_m
        self._depths_m: list[np.ndarray] = []

    def add(self, depth_m: Float[np.ndarray, "h w"], valid_mask: Bool[np.ndarray, "h w"]) -> None:
        """One image of the training set; all have one size."""
        self._depths_m.append(np.where(valid_mask, depth_m, np.nan).astype(np.float32))

    def best_constant_m(self) -> float:
        """Of constants spaced evenly in log depth, the one of least abs_rel over all images."""
        low = max(self._min_depth_m, self._max_depth_m / 1000)
        candidates = np.geomspace(low, self._max_depth_m, N_CANDIDATES)
        total = np.zeros(N_CANDIDATES)
        for depth_m in self._depths_m:
            valid = depth_m[np.isfinite(depth_m)]
            if valid.size:
                total += _mean_abs_rel(candidates, valid)
        return float(candidates[np.argmin(total)])

    def median_map_m(self) -> Float[np.ndarray, "h w"]:
        """The median of each pixel over the images that are valid there; `max_depth_m` where none is."""
        rows = (np.stack([depth_m[row] for depth_m in self._depths_m]) for row in range(len(self._depths_m[0])))
        return np.stack([_median_of_valid(row, self._max_depth_m) for row in rows])


def _mean_abs_rel(constants_m: Float[np.ndarray, "c"], depth_m: Float[np.ndarray, "n"]) -> Float[np.ndarray, "c"]:
    """Mean of |constant - depth| / depth for many constants at once, by prefix sums over the sorted depths."""
    depth = np.sort(depth_m.astype(np.float64))
    inverse = np.concatenate([[0], np.cumsum(1 / depth)])
    below = np.searchsorted(depth, constants_m)  # those are overestimated
    above = len(depth) - below
    over = constants_m * inverse[below] - below
    under = above - constants_m * (inverse[-1] - inverse[below])
    return (over + under) / len(depth)


def _median_of_valid(depths_m: Float[np.ndarray, "n w"], otherwise_m: float) -> Float[np.ndarray, "w"]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")  # answered below
        median = np.nanmedian(depths_m, axis=0)
    return np.where(np.isnan(median), otherwise_m, median).astype(np.float32)
