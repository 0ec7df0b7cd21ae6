import pytest

from zoe_jax.predict import ImageError
from zoe_jax.predict.geometry import check_network_size, check_padding, network_size, padding


def test_padding_agrees_with_the_original(inference):
    rows = inference[1]["pad"]
    assert len(rows) > 100
    for row in rows:
        assert padding((row["H"], row["W"]), row["fh"], row["fw"]) == (row["pad_h"], row["pad_w"]), row


def test_network_size_agrees_with_the_original(inference):
    tables = inference[1]["size_table"]
    assert {table["method"] for table in tables} == {"minimal", "lower_bound", "upper_bound"}
    for table in tables:
        for height, width, *expected in table["rows_H_W_newH_newW"]:
            size = network_size(
                (height, width),
                (table["net_h"], table["net_w"]),
                keep_aspect_ratio=table["keep_aspect_ratio"],
                multiple_of=table["multiple_of"],
                rule=table["method"],
            )
            assert size == tuple(expected), (height, width, table["method"], table["net_h"])


@pytest.mark.parametrize(
    ("padded", "target", "expected"),
    [
        # The input sizes of transformers' processor with its default multiple, 1/32: with and without padding.
        ((572, 746), (384, 512), (392, 512)),
        ((111, 143), (64, 96), (74, 96)),
        ((75, 101), (64, 96), (71, 96)),
        ((93, 181), (64, 96), (64, 124)),
        ((61, 133), (64, 96), (64, 139)),
    ],
)
def test_a_multiple_below_one_truncates_as_in_transformers(padded, target, expected):
    assert network_size(padded, target, multiple_of=1 / 32) == expected


def test_the_smallest_image_that_can_be_padded():
    check_padding((5, 5), padding((5, 5)))
    with pytest.raises(ImageError, match=r"4x9 .* height, 4, must be more than the padding, 4"):
        check_padding((4, 9), padding((4, 9)))


@pytest.mark.parametrize("image_size", [(48, 4000), (400, 30000)])
def test_elongated_images_are_refused(image_size):
    size = network_size(image_size, (384, 512))
    with pytest.raises(ImageError, match="too elongated"):
        check_network_size(image_size, size, (384, 512))


def test_panoramas_are_not_refused():
    size = network_size((1000, 8000), (384, 512))
    check_network_size((1000, 8000), size, (384, 512))
    assert size == (384, 3072)
