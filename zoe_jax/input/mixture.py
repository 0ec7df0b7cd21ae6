"""The order of training: which example of which data set stands at a place of the global order.

It is a pure function of seed, place and batch size. Places are counted over all hosts and from the start of the run, so
nothing has to be remembered to go on from any of them.
"""

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

Mixing = Literal["shuffle", "alternate", "mix"]


class Choice(NamedTuple):
    """What stands at a place."""

    part: int
    """Index of the data set."""
    example: int
    """Index within the data set."""
    filler: bool = False
    """The row only fills up the last batch of a pass."""


class Mixture:
    """Several data sets in one order.

    `shuffle`: all examples alike, each once before any returns.

    `alternate`: batch i is of data set i mod n, as in the original (RepetitiveRoundRobinDataLoader in
    zoedepth/data/data_mono.py). Each passes through its own examples in batches, the last of which is filled up. An
    epoch ends one batch after the longest of them has passed through, and all begin anew. Within an epoch a shorter one
    passes several times; each pass has an order and augmentations of its own, where the original's third pass repeats
    the batches of its second (for NYU and KITTI there is no third).

    `mix`: every batch has each data set by its weight: exactly, where that comes to whole examples, otherwise to within
    one of two data sets (n - 1 of n), and in the long run without a bias. Which rows they take is random. Each data set
    passes through its examples at its own pace.
    """

    def __init__(
        self, sizes: Sequence[int], mixing: Mixing = "shuffle", weights: Sequence[float] | None = None, seed: int = 0
    ) -> None:
        """An order over data sets of these sizes; `weights` are relative, and by default alike."""
        self._sizes = tuple(sizes)
        self._mixing = mixing if len(self._sizes) > 1 else "shuffle"
        self._seed = seed
        weights = weights or [1.0] * len(self._sizes)
        shares = [_share(weight / max(weights)) for weight in weights]
        self._share_of_rest = [shares[i] / sum(shares[i:]) for i in range(len(shares))]

    def choose(self, place: int, batch_size: int) -> Choice:
        """What stands at a place of the global order, counted from 0."""
        if self._mixing == "alternate":
            return self._alternating(place, batch_size)
        if self._mixing == "mix":
            return self._mixed(place, batch_size)
        passes, index = divmod(place, sum(self._sizes))
        example = int(self._order(0, sum(self._sizes), passes)[index])
        for part, size in enumerate(self._sizes[:-1]):
            if example < size:
                return Choice(part, example)
            example -= size
        return Choice(len(self._sizes) - 1, example)

    def _alternating(self, place: int, batch_size: int) -> Choice:
        batch, row = divmod(place, batch_size)
        turn, part = divmod(batch, len(self._sizes))
        lengths = [math.ceil(size / batch_size) for size in self._sizes]
        turns = max(lengths) + 1
        epoch, turn = divmod(turn, turns)
        passed, batch_of_pass = divmod(turn, lengths[part])
        index = batch_of_pass * batch_size + row
        if index >= self._sizes[part]:
            return Choice(part, 0, filler=True)
        passes = epoch * math.ceil(turns / lengths[part]) + passed
        return Choice(part, int(self._order(part, self._sizes[part], passes)[index]))

    def _mixed(self, place: int, batch_size: int) -> Choice:
        batch, row = divmod(place, batch_size)
        # micro-batches take every so-manieth row: in an order that repeats, one could be of a single data set
        place = batch * batch_size + int(_random_order(batch_size, self._seed, len(self._sizes), batch)[row])
        for part, share in enumerate(self._share_of_rest):
            before, after = (math.floor(share * n + Fraction(1, 2)) for n in (place, place + 1))
            if after > before:
                passes, index = divmod(before, self._sizes[part])
                return Choice(part, int(self._order(part, self._sizes[part], passes)[index]))
            place -= before
        raise AssertionError("the last share is 1")

    def _order(self, part: int, size: int, passes: int) -> Int[np.ndarray, "n"]:
        """In which a pass goes through a data set."""
        return _random_order(size, self._seed, part, passes)


def _share(weight: float) -> Fraction:
    """0.1 is meant as a tenth, so that ten examples have exactly one; but less than a millionth is not nothing."""
    return Fraction(weight).limit_denominator(10**6) or Fraction(weight)


@functools.lru_cache(maxsize=64)  # some for each data set, since passes overlap
def _random_order(size: int, *key: int) -> Int[np.ndarray, "n"]:
    # Of NumPy's generators only the raw numbers are promised to stay the same from release to release.
    bits = np.random.Philox(np.random.SeedSequence(key))
    return np.argsort(bits.random_raw(size), kind="stable").astype(np.int32)
