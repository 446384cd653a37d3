"""Decoding and resizing: every colour mode and kind of file, and damage of every kind."""

import io
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from imaging import attempt, encode, pixels
from PIL import Image, ImageOps

from orchestrator.data.images import MAX_PIXELS, ImageDecoder, resize
from orchestrator.errors import DataError


@pytest.mark.parametrize(
    ("mode", "kind"),
    [(mode, kind) for mode in ("1", "L", "LA", "P", "RGB", "RGBA") for kind in ("PNG", "TIFF")] + [("CMYK", "TIFF")],
)
def test_every_colour_mode_becomes_three_channels(mode, kind):
    image = Image.fromarray(pixels(0)).convert(mode)
    result = ImageDecoder(None).decode([("x", encode(image, kind))])
    assert torch.equal(result[0].permute(1, 2, 0), torch.from_numpy(np.array(image.convert("RGB"))))
    if mode in ("1", "L", "LA"):
        assert torch.equal(result[:, 0], result[:, 1])
        assert torch.equal(result[:, 0], result[:, 2])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_orientation_of_exif_is_applied(orientation, kind):
    image = Image.fromarray(pixels(0, 4, 6)).resize((24, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=exif)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(buffer.getvalue()))).convert("RGB")
    decoder = ImageDecoder(None)
    result = decoder.decode([("x", buffer.getvalue())])
    assert torch.equal(result[0].permute(1, 2, 0), torch.from_numpy(np.array(shown)))
    assert decoder.notes() == (() if orientation == 1 else ("images turned upright, as EXIF says: 1",))
    assert result.shape[2:] == ((24, 16) if orientation > 4 else (16, 24))


def shape_in_alpha(colour: int) -> Image.Image:
    """A square of one colour, all of whose form is in the alpha channel."""
    layers = np.full((8, 8, 4), colour, dtype=np.uint8)
    layers[..., 3] = 0
    layers[2:6, 2:6, 3] = 255
    return Image.fromarray(layers, "RGBA")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_seen_on_white_and_counted(mode):
    decoder = ImageDecoder(None)
    image = shape_in_alpha(0).convert(mode)
    opaque = Image.fromarray(pixels(0, 8, 8)).convert("RGBA")
    result = decoder.decode([("x", encode(image)), ("y", encode(opaque))])
    expected = torch.full((8, 8), 255, dtype=torch.uint8)
    expected[2:6, 2:6] = 0
    assert all(torch.equal(channel, expected) for channel in result[0])
    assert torch.equal(result[1].permute(1, 2, 0), torch.from_numpy(pixels(0, 8, 8)))
    assert decoder.notes() == ("images with an alpha channel, composited onto white: 1",)


def test_a_shape_that_vanishes_on_white_is_refused():
    with pytest.raises(DataError, match=r"x\.png: its shape is in its alpha channel alone .*another\s+colour"):
        ImageDecoder(None).decode([("x.png", encode(shape_in_alpha(255)))])


def test_a_colour_that_means_transparent_is_white():
    buffer = io.BytesIO()
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    image.putpixel((1, 1), (200, 0, 0))
    image.save(buffer, "PNG", transparency=(10, 20, 30))
    result = ImageDecoder(None).decode([("x", buffer.getvalue())])[0]
    assert result[:, 0, 0].tolist() == [255, 255, 255]
    assert result[:, 1, 1].tolist() == [200, 0, 0]


def test_transparent_palettes_do_not_warn():
    image = Image.fromarray(pixels(0)).convert("P")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ImageDecoder(None).decode([("x", buffer.getvalue())]).shape == (1, 3, 4, 6)


def test_sixteen_bits_are_refused_rather_than_clipped():
    image = Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16))
    with pytest.raises(DataError, match=r"x\.png: colour mode I;16"):
        ImageDecoder(None).decode([("x.png", encode(image))])


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40), st.integers(8, 40))
@settings(max_examples=40, deadline=None)
def test_resizing_is_pillows_bilinear(seed, height, width, size):
    image = pixels(seed, height, width)
    ours = resize(torch.from_numpy(image).permute(2, 0, 1)[None], size)[0].permute(1, 2, 0).numpy().astype(int)
    theirs = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(ours - theirs).max() <= 2  # Pillow rounds after each of the two directions


def test_resizing_to_its_own_size_changes_nothing():
    image = torch.from_numpy(pixels(0, 16, 16)).permute(2, 0, 1)[None]
    assert torch.equal(resize(image, 16), image)


def test_many_images_are_the_same_as_few(monkeypatch):
    pairs = [(str(i), encode(pixels(i))) for i in range(20)]
    whole = ImageDecoder(None).decode(pairs)
    monkeypatch.setattr("orchestrator.data.images.CHUNK_BYTES", 100)
    assert torch.equal(ImageDecoder(None).decode(pairs), whole)


def test_decompression_bombs_are_refused_before_they_are_decoded():
    side = int(MAX_PIXELS**0.5) + 1
    bomb = encode(Image.new("1", (side, side)))
    assert len(bomb) < 100_000
    with pytest.raises(DataError, match=r"bomb\.png: 8193 × 8193 pixels; at most"):
        ImageDecoder(32).decode([("bomb.png", bomb)])


@pytest.mark.parametrize("content", [b"", b"not an image", encode(pixels(0), "JPEG")[:40], b"GIF89a", b"BM", b"P6 x"])
def test_a_refusal_says_nothing_of_what_it_was_decoded_from(content):
    with pytest.raises(DataError, match=r"^x\.png: damaged or not what it says it is \([^<>]*\)$"):
        ImageDecoder(None).decode([("x.png", content)])


PNG = encode(pixels(0, 9, 9))
ENCODED = {kind: encode(pixels(0, 9, 9), kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")}


@given(st.integers(0, len(PNG) * 8 - 1))
def test_any_flipped_bit_of_a_png_is_refused(bit):
    content = bytearray(PNG)
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DataError, match=r"^some file, row 7: "):
        ImageDecoder(None).decode([("some file, row 7", bytes(content))])


@given(st.integers(0, len(PNG) - 1))
def test_any_truncated_png_is_refused(length):
    with pytest.raises(DataError, match=r"^some file, row 7: "):
        ImageDecoder(None).decode([("some file, row 7", PNG[:length])])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(ENCODED)), st.data())
def test_damaged_images_of_every_kind_are_decoded_or_refused(kind, data):
    content = bytearray(ENCODED[kind])
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    result = attempt(lambda: ImageDecoder(16).decode([("here", bytes(content))]))
    if isinstance(result, DataError):
        assert str(result).startswith("here: ")
        assert " at 0x" not in str(result)
    else:
        assert result.shape == (1, 3, 16, 16)
        assert result.dtype == torch.uint8
