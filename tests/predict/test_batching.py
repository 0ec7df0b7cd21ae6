from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from zoe_jax.predict.batching import group, in_order, map_ahead


@given(keys=st.lists(st.sampled_from("abcd")), batch_size=st.integers(1, 5), look_ahead=st.integers(1, 9))
def test_grouping_loses_nothing_and_bounds_the_wait(keys, batch_size, look_ahead):
    read = 0

    def items():
        nonlocal read
        for key in keys:
            read += 1
            yield key

    seen = []
    for batch in group(items(), lambda key: key, batch_size, look_ahead):
        assert 1 <= len(batch) <= batch_size
        assert len({key for _, key in batch}) == 1
        # Whoever has waited longest is out before more than look_ahead items were read after it.
        assert read - 1 - batch[0][0] <= look_ahead
        seen += batch
    assert sorted(seen) == list(enumerate(keys))


def test_full_batches_go_out_first_and_the_rest_at_the_end():
    batches = list(group("abaabb", str, batch_size=2, look_ahead=9))
    assert batches == [[(0, "a"), (2, "a")], [(1, "b"), (4, "b")], [(3, "a")], [(5, "b")]]


def test_items_without_a_key_go_out_at_once():
    batches = list(group(["a", "", "a"], lambda item: item or None, batch_size=2, look_ahead=9))
    assert batches == [[(1, "")], [(0, "a"), (2, "a")]]


@given(order=st.permutations(range(8)))
def test_results_come_in_order(order):
    assert list(in_order((i, str(i)) for i in order)) == list("01234567")


def test_a_result_comes_as_soon_as_all_before_it_have():
    numbered = iter([(1, "b"), (0, "a"), (2, "c")])
    ordered = in_order(numbered)
    assert [next(ordered), next(ordered)] == ["a", "b"]
    assert next(numbered) == (2, "c")


def test_mapping_ahead_reads_no_further_than_asked():
    taken = []
    with ThreadPoolExecutor(2) as pool:
        squares = map_ahead(pool, lambda x: x * x, (taken.append(x) or x for x in range(100)), ahead=3)
        assert next(squares) == 0
        assert taken == [0, 1, 2, 3]
        assert list(squares) == [x * x for x in range(1, 100)]
