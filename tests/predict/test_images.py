import io
import struct
import warnings
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from zoe_jax.predict import ImageError, read_image

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
GREY = RGB[:, :, 0]


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def test_bytes_come_through_whatever_holds_them(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(RGB))
    for source in (path, str(path), Image.open(path), Image.fromarray(RGB), RGB, jnp.asarray(RGB)):
        pixels = read_image(source)
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, RGB)


def test_floats_become_float32():
    pixels = read_image(RGB / 255)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, RGB / 255, rtol=1e-7)


def test_names_may_have_any_letters(tmp_path):
    path = saved(tmp_path / "écran № 5 深度 🙂.png", Image.fromarray(RGB))
    np.testing.assert_array_equal(read_image(path), RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright(tmp_path, orientation):
    upright = np.arange(12, dtype=np.uint8).reshape(3, 4)[:, :, None].repeat(3, 2) * 20
    # What the camera stores, so that the given orientation makes it upright (EXIF 2.32, tag 0x0112).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(read_image(path), upright)


def test_grey_becomes_three_equal_channels(tmp_path):
    for mode in ("L", "1"):
        image = Image.fromarray(GREY).convert(mode)
        pixels = read_image(saved(tmp_path / f"{mode}.png", image))
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("L"))[:, :, None].repeat(3, 2))


def test_transparency_is_dropped_not_blended(tmp_path):
    for mode, source in (("RGBA", RGB), ("LA", GREY)):
        image = Image.fromarray(source).convert(mode)
        image.putalpha(Image.fromarray(255 - GREY))
        pixels = read_image(saved(tmp_path / f"{mode}.png", image))
        np.testing.assert_array_equal(pixels, source if source.ndim == 3 else source[:, :, None].repeat(3, 2))


def test_palettes_with_and_without_transparency(tmp_path):
    image = Image.fromarray(RGB).quantize(16)
    expected = np.asarray(image.convert("RGB"))
    plain = saved(tmp_path / "plain.png", image)
    see_through = saved(tmp_path / "see_through.png", image, transparency=bytes([0, 100] + [255] * 14))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in (plain, see_through):
            np.testing.assert_array_equal(read_image(path), expected)


def test_cmyk(tmp_path):
    image = Image.fromarray(RGB).convert("CMYK")
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.tif", image)), RGB)
    flat = Image.new("RGB", (16, 16), (200, 100, 50)).convert("CMYK")
    pixels = read_image(saved(tmp_path / "a.jpg", flat, quality=100))
    # JPEG keeps a flat colour to within its rounding.
    np.testing.assert_allclose(pixels[8, 8], (200, 100, 50), rtol=0, atol=3)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_of_grey(tmp_path, suffix):
    grey = (GREY.astype(np.uint16) << 8) + 17
    pixels = read_image(saved(tmp_path / f"a.{suffix}", Image.fromarray(grey)))
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, (grey / np.float32(65535))[:, :, None].repeat(3, 2))


def test_sixteen_bits_of_colour_are_read_as_eight(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGB.astype(np.uint16) * 257)
    header = struct.pack(">IIBBBBB", 20, 12, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


def test_float_grey_must_be_in_range(tmp_path):
    grey = (GREY / 255).astype(np.float32)
    pixels = read_image(saved(tmp_path / "a.tif", Image.fromarray(grey)))
    np.testing.assert_array_equal(pixels, grey[:, :, None].repeat(3, 2))
    with pytest.raises(ImageError, match=r"a\.tif has float pixels in 0..\d+"):
        read_image(saved(tmp_path / "a.tif", Image.fromarray(grey * 255)))


def test_grey_of_more_than_sixteen_bits_is_refused(tmp_path):
    with pytest.raises(ImageError, match="only 8 and 16 bits"):
        read_image(Image.fromarray(np.full((4, 4), 70000, np.int32)))


def test_of_several_frames_the_first_is_taken(tmp_path):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    path = saved(tmp_path / "a.gif", first, save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_image(path)[0, 0], (255, 0, 0))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp", "gif"])
def test_truncated_files_are_refused(tmp_path, suffix):
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(RGB.repeat(8, 0).repeat(8, 1)))
    data = path.read_bytes()
    for length in (len(data) // 2, 10, 1):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError, match=rf"a\.{suffix}"):
            read_image(path)


@pytest.mark.filterwarnings("ignore")  # Pillow has its own words about some of the damage
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "tiff", "bmp", "webp"])
def test_damaged_headers_never_raise_anything_else(tmp_path, kind):
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, kind)
    outcomes = set()
    for _ in range(60):
        data = bytearray(stream.getvalue())
        for place in rng.integers(0, min(len(data), 120), 4):
            data[place] = rng.integers(256)
        (tmp_path / "a").write_bytes(data)
        try:
            pixels = read_image(tmp_path / "a")
        except ImageError as error:
            outcomes.add(str(tmp_path / "a") in str(error))
        else:
            outcomes.add(pixels.ndim == 3 and pixels.shape[2] == 3)
    assert outcomes == {True}


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"there is no image file .*gone\.png"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    path = saved(tmp_path / "bomb.png", Image.fromarray(RGB))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"bomb\.png would decompress to too many pixels.*240 pixels"):
        read_image(path)


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (GREY, r"shape \(12, 20\)"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"shape \(1, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.uint16), "type uint16"),
        (np.zeros((4, 4, 3), bool), "type bool"),
        (np.full((4, 4, 3), 200.0), r"200\.\.200"),
        (np.full((4, 4, 3), -1.0), r"-1\.\.-1"),
        (np.full((4, 4, 3), np.nan), r"nan\.\.nan"),
    ],
)
def test_other_arrays_are_refused(array, complaint):
    with pytest.raises(ImageError, match=complaint):
        read_image(array)
