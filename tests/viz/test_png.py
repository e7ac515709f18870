"""What is written as PNG reads back as it was, in Pillow, which checks every sum."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pcseg.viz import png
from pcseg.viz.png import png_bytes


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (128, 3), (129, 2), (400, 90)])
def test_pixels_come_back(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    pixels = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    with Image.open(io.BytesIO(png_bytes(pixels))) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_bands_are_one_stream_that_ends(rng: np.random.Generator) -> None:
    content = png_bytes(rng.integers(0, 9, (300, 20, 3)).astype(np.uint8))
    start = content.index(b"IDAT")
    length = struct.unpack(">I", content[start - 4 : start])[0]
    stream = zlib.decompressobj()  # it checks the sum of all rows
    assert len(stream.decompress(content[start + 4 : start + 4 + length])) == 300 * 61
    assert stream.eof
    assert not stream.unused_data


def test_smooth_pictures_pack_well() -> None:
    y, x = np.indices((600, 800))
    pixels = np.stack([x // 4, y // 3, (x + y) // 6], axis=2).astype(np.uint8)
    pillow = io.BytesIO()
    Image.fromarray(pixels).save(pillow, format="PNG", compress_level=1)
    assert len(png_bytes(pixels)) < 1.2 * len(pillow.getvalue())
    assert png_bytes(pixels) == png_bytes(pixels)


def test_what_is_drawn_fits_one_band_or_many(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = rng.integers(0, 256, (10, 7, 3)).astype(np.uint8)
    monkeypatch.setattr(png, "_BAND", 3)
    with Image.open(io.BytesIO(png_bytes(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
