import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.predict.resizing import resize
from zoe_jax.predict.resize import bicubic_taps, bilinear_taps, resample

TAPS = {"bilinear_ac1": bilinear_taps, "bicubic_ac0": bicubic_taps}
SIDES = st.integers(1, 40)
TWO_OR_MORE = st.integers(2, 40)  # torch reads the first sample, not the middle, for a size of 1


@pytest.mark.parametrize("mode", TAPS)
def test_resizes_agree_with_torch(inference, mode):
    arrays, tables = inference
    for case in tables["resize"]:
        source = arrays[f"resize/{case['index']}/in"][0].transpose(1, 2, 0)
        expected = arrays[f"resize/{case['index']}/{mode}"][0].transpose(1, 2, 0)
        exact = resize(source.astype(np.float64), tuple(case["out"]), TAPS[mode])
        # The references are float64; values lie in [-1, 2].
        np.testing.assert_allclose(exact, expected, rtol=0, atol=1e-14, err_msg=str(case))
        single = resize(source, tuple(case["out"]), TAPS[mode])
        assert single.dtype == np.float32
        # A handful of float32 roundings of numbers of size 2.
        np.testing.assert_allclose(single, expected, rtol=0, atol=1e-6, err_msg=str(case))


def test_resizes_stay_exact_at_real_sizes(inference):
    cases = inference[1]["resize_large"]
    assert {case["mode"] for case in cases} == set(TAPS)
    source = np.random.RandomState(3001).uniform(size=(384, 512)).astype(np.float32)
    for case in cases:
        resized = resize(source, tuple(case["out"]), TAPS[case["mode"]])
        # Float32 values near 1, exact coordinates; torch itself is off by up to 4e-5 here, for its are float32.
        np.testing.assert_allclose(resized[case["ys"], case["xs"]], case["f64"], rtol=0, atol=4e-7)
        assert float(resized.sum(dtype=np.float64)) == pytest.approx(case["sum_f64"], rel=1e-7)


@pytest.mark.parametrize("taps", [bilinear_taps, bicubic_taps])
@settings(max_examples=40)
@given(old=st.tuples(SIDES, SIDES), new=st.tuples(TWO_OR_MORE, TWO_OR_MORE), seed=st.integers(0, 99))
def test_flipping_commutes_to_the_last_bit(taps, old, new, seed):
    image = np.random.default_rng(seed).random((*old, 3), np.float32)
    np.testing.assert_array_equal(resize(image[:, ::-1], new, taps), resize(image, new, taps)[:, ::-1])
    np.testing.assert_array_equal(resize(image[::-1], new, taps), resize(image, new, taps)[::-1])


@pytest.mark.parametrize("taps", [bilinear_taps, bicubic_taps])
@given(old=SIDES, new=SIDES)
def test_weights_sum_to_one_and_read_inside(taps, old, new):
    table = taps(old, new)
    np.testing.assert_allclose(table.weights.sum(1), 1, rtol=1e-14)
    assert table.indices.min() >= 0
    assert table.indices.max() < old


@pytest.mark.parametrize("taps", [bilinear_taps, bicubic_taps])
def test_the_same_size_changes_nothing(taps):
    image = np.random.default_rng(0).random((7, 9, 2), np.float32)
    np.testing.assert_array_equal(resize(image, (7, 9), taps), image)


def test_reflection_is_that_of_torch(inference):
    arrays = inference[0]
    source = arrays["reflect/in"][0].transpose(1, 2, 0)
    for name, (pad_w, pad_h) in {"pad_w3_h5": (3, 5), "pad_w0_h4": (0, 4)}.items():
        padded = resample(
            source,
            bilinear_taps(7 + 2 * pad_h, 7 + 2 * pad_h).after_reflection(7, pad_h),
            bilinear_taps(9 + 2 * pad_w, 9 + 2 * pad_w).after_reflection(9, pad_w),
        )
        np.testing.assert_array_equal(padded, arrays[f"reflect/{name}"][0].transpose(1, 2, 0))


@settings(max_examples=40)
@given(height=st.integers(5, 40), width=st.integers(5, 40), new=st.tuples(SIDES, SIDES))
def test_reflected_taps_equal_an_array_that_was_padded(height, width, new):
    image = np.random.default_rng(0).random((height, width, 3))
    rows = bilinear_taps(height + 8, new[0]).after_reflection(height, 4)
    columns = bilinear_taps(width + 6, new[1]).after_reflection(width, 3)
    padded = np.pad(image, ((4, 4), (3, 3), (0, 0)), mode="reflect")
    np.testing.assert_allclose(resample(image, rows, columns), resize(padded, new, bilinear_taps), rtol=0, atol=1e-15)


def test_cropped_taps_equal_a_cropped_array():
    depth = np.random.default_rng(0).random((12, 16))
    cropped = resample(depth, bicubic_taps(12, 30).cropped(4, 20), bicubic_taps(16, 41).cropped(5, 30))
    np.testing.assert_allclose(cropped, resize(depth, (30, 41), bicubic_taps)[4:24, 5:35], rtol=0, atol=1e-15)
