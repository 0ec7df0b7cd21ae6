"""What stands at each place of the global order, for one and for several data sets."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoe_jax.input.mixture import Choice, Mixing, Mixture

BATCH = 4
ROUNDING = 1e-3
"""A weight is taken to within a millionth, and here of at most 660 examples."""


def choices(mixture: Mixture, n: int, batch_size: int = BATCH) -> list[Choice]:
    return [mixture.choose(place, batch_size) for place in range(n)]


def batches(order: list[Choice], batch_size: int) -> list[list[Choice]]:
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def test_shuffle_goes_through_all_data_sets_before_any_example_returns() -> None:
    order = choices(Mixture([5, 9, 1]), 45)
    everything = {(0, i) for i in range(5)} | {(1, i) for i in range(9)} | {(2, 0)}
    passes = [[choice[:2] for choice in order[i : i + 15]] for i in (0, 15, 30)]
    assert all(set(one) == everything for one in passes)
    assert passes[0] != passes[1] != passes[2]


@pytest.mark.parametrize("mixing", ["shuffle", "alternate", "mix"])
def test_an_order_depends_on_seed_and_place(mixing: Mixing) -> None:
    order = choices(Mixture([7, 20], mixing, seed=1), 100)
    assert choices(Mixture([7, 20], mixing, seed=1), 100)[60:] == order[60:]
    assert [Mixture([7, 20], mixing, seed=1).choose(place, BATCH) for place in (99, 3)] == [order[99], order[3]]
    assert choices(Mixture([7, 20], mixing, seed=2), 100) != order


@pytest.mark.parametrize(
    ("mixing", "expected"),
    [
        ("shuffle", [(1, 5), (1, 1), (1, 0), (1, 3), (0, 2), (0, 1)]),
        ("alternate", [(0, 2), (0, 1), (0, 0), (1, 1), (1, 4), (1, 3)]),
        ("mix", [(0, 2), (1, 1), (0, 1), (0, 0), (1, 4), (1, 3)]),
    ],
)
def test_an_order_stays_what_it_is(mixing: Mixing, expected: list[tuple[int, int]]) -> None:
    """What a run of today must find again tomorrow, with another release of NumPy."""
    assert [choice[:2] for choice in choices(Mixture([3, 6], mixing, seed=7), 6, batch_size=3)] == expected


def test_alternating_is_the_original_s_round_robin(reference: Path) -> None:
    """Batch by batch beside the original's loader, whose pass e counts from 1 and is cached after the second."""
    for golden in json.loads((reference / "train" / "input" / "round_robin.json").read_text()):
        # the last batch of each data set is not full
        lengths = {"n": golden["len_nyu"], "k": golden["len_kitti"]}
        sizes = [(length - 1) * BATCH + 3 for length in lengths.values()]
        expected = golden["sequence_epoch1"] + golden["sequence_epoch2"]
        order = choices(Mixture(sizes, "alternate"), BATCH * len(expected))
        assert len(expected) == 2 * golden["declared_len"]

        passes: dict[tuple[int, str], list[Choice]] = {}
        for i, tag in enumerate(expected):
            batch = order[BATCH * i : BATCH * (i + 1)]
            (part,) = {choice.part for choice in batch}
            assert "nk"[part] == tag[0]
            number, original_pass = map(int, tag[1:].split("e"))
            assert [choice.filler for choice in batch] == [False] * 3 + [number == lengths[tag[0]] - 1]
            # the number of a pass in its epoch
            turn = i % golden["declared_len"] // 2
            assert number == turn % lengths[tag[0]]
            epoch, passed = i // golden["declared_len"], turn // lengths[tag[0]]
            assert original_pass == 2 * epoch + 1 + min(passed, 1)
            passes.setdefault((2 * epoch + passed if passed < 2 else 10 * i, tag[0]), []).extend(batch)
        for (_, tag), passed_through in passes.items():
            seen = [choice.example for choice in passed_through if not choice.filler]
            assert len(seen) == len(set(seen))
            if len(passed_through) == BATCH * lengths[tag]:
                assert set(seen) == set(range(sizes["nk".index(tag)]))
        # a pass has an order of its own
        assert len({tuple(choices) for choices in passes.values()}) > len(passes) // 2


def test_alternating_one_data_set_is_plain_shuffling() -> None:
    assert choices(Mixture([6], "alternate"), 12) == choices(Mixture([6]), 12)


@pytest.mark.parametrize(("weights", "in_a_batch"), [((1.0, 1.0), (4, 4)), ((3.0, 1.0), (6, 2)), ((0.1, 0.3), (2, 6))])
def test_whole_shares_of_a_batch_are_exact(weights: tuple[float, float], in_a_batch: tuple[int, int]) -> None:
    mixture = Mixture([5, 1000], "mix", weights)
    for batch in batches(choices(mixture, 2400, 8), 8):
        assert Counter(choice.part for choice in batch) == dict(enumerate(in_a_batch))


@pytest.mark.parametrize("weights", [(1e-7, 3e-7), (3e-7, 9e-7), (1e-9, 3e-9)])
def test_weights_are_relative_however_small(weights: tuple[float, float]) -> None:
    order = choices(Mixture([50, 50], "mix", weights), 4000)
    assert Counter(choice.part for choice in order) == {0: 1000, 1: 3000}


def test_the_least_weight_is_not_nothing() -> None:
    mixture = Mixture([50, 50], "mix", [1.0, 1e-8])
    # one in a hundred million, and that in the middle
    assert {mixture.choose(place, 1).part for place in range(50_000_000 - 5, 50_000_000 + 5)} == {0, 1}


@given(
    weights=st.lists(st.floats(0.01, 1), min_size=2, max_size=5),
    batch_size=st.integers(1, 33),
    first=st.integers(0, 10**6),
)
def test_shares_are_near_in_a_batch_and_exact_in_the_long_run(
    weights: list[float], batch_size: int, first: int
) -> None:
    mixture = Mixture([50] * len(weights), "mix", weights)
    parts: Counter[int] = Counter()
    for batch in range(first, first + 20):
        here = Counter(mixture.choose(batch * batch_size + row, batch_size).part for row in range(batch_size))
        for part, weight in enumerate(weights):
            assert abs(here[part] - batch_size * weight / sum(weights)) < len(weights) - 1 + ROUNDING
        parts += here
    for part, weight in enumerate(weights):
        assert abs(parts[part] - 20 * batch_size * weight / sum(weights)) < len(weights) - 1 + ROUNDING


def test_each_data_set_of_a_mixture_passes_through_its_examples() -> None:
    order = choices(Mixture([6, 30], "mix", [1, 3]), 80, batch_size=8)
    for part, size in ((0, 6), (1, 30)):
        seen = [choice.example for choice in order if choice.part == part]
        # in a batch the order is another than in the data set, so whole passes are found only at the end of batches
        assert set(Counter(seen).values()) <= {len(seen) // size, len(seen) // size + 1}


def test_data_sets_take_random_rows_of_a_batch() -> None:
    mixed = batches(choices(Mixture([9, 9], "mix"), 800, 8), 8)
    # of each row over 100 batches; 20 and 80 are six standard deviations away
    for row in range(8):
        assert 20 < sum(batch[row].part for batch in mixed) < 80


@pytest.mark.parametrize("mixing", ["shuffle", "alternate", "mix"])
def test_micro_batches_of_a_mixture_are_mixed(mixing: Mixing) -> None:
    """Micro-batch i takes rows i, i + 2, ...; see `zoe_jax.train.accumulation`."""
    order = choices(Mixture([64, 64], mixing), 640, batch_size=64)
    halves = [{choice.part for choice in batch[i::2]} for batch in batches(order, 64) for i in (0, 1)]
    assert all(len(half) == (1 if mixing == "alternate" else 2) for half in halves)
