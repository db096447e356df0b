"""Colours are those that a viewer shows: profiles of every kind of picture become sRGB, and what was converted is said once."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from ip2p.images import read_image, upright_rgb
from picture_files import (
    ADOBE_RGB,
    DISPLAY_P3,
    GREY,
    SRGB,
    grey_profile,
    png_16_bit,
    png_with,
    rgb_profile,
    saved,
    table_profile,
)

COLOURS = np.array([[(200, 120, 90), (128, 128, 128), (60, 100, 140), (250, 250, 250), (0, 0, 0), (150, 160, 60)]], np.uint8)
P3 = rgb_profile("Display P3", DISPLAY_P3)
ADOBE = rgb_profile("Adobe RGB (1998)", ADOBE_RGB, 2.19921875)


def notes(image: Image.Image) -> list[str]:
    return image.info.get("ip2p_notes", [])


def read(data: bytes) -> Image.Image:
    image = read_image(io.BytesIO(data))
    assert image.mode == "RGB" and "icc_profile" not in image.info, "written again, it would be converted twice"
    return image


def shown(colours: np.ndarray, primaries, gamma: float | None) -> np.ndarray:
    """Levels of a space → the same colours' levels in sRGB, by the definitions of both (IEC 61966-2-1)."""
    levels = colours / 255
    linear = levels**gamma if gamma else np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    linear = (linear @ np.array(primaries) @ np.linalg.inv(np.array(SRGB))).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


FORMATS = {"JPEG": {"quality": 100, "subsampling": 0}, "PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "name, data, primaries, gamma", [("Display P3", P3, DISPLAY_P3, None), ("Adobe RGB (1998)", ADOBE, ADOBE_RGB, 2.19921875)]
)
def test_a_photograph_with_a_profile_has_the_colours_that_a_viewer_shows(format, name, data, primaries, gamma):
    picture = Image.fromarray(COLOURS.repeat(16, 0).repeat(16, 1))
    image = read(saved(picture, format, icc_profile=data, **FORMATS[format]))
    expected = shown(COLOURS.astype(float), primaries, gamma)
    assert np.abs(np.asarray(image, float)[8, 8::16] - expected[0]).max() <= (4 if format == "JPEG" else 1.5)
    assert notes(image) == [f"converted from {name} to sRGB"]


def test_srgbs_own_profile_changes_nothing_whatever_its_name():
    image = read(saved(Image.fromarray(COLOURS), "PNG", icc_profile=rgb_profile("Display P3", SRGB)))
    assert np.array_equal(image, COLOURS) and notes(image) == []


def test_a_profile_called_srgb_that_is_another_is_obeyed():
    image = read(saved(Image.fromarray(COLOURS), "PNG", icc_profile=rgb_profile("sRGB", ADOBE_RGB, 2.19921875)))
    assert np.abs(np.asarray(image, float) - shown(COLOURS.astype(float), ADOBE_RGB, 2.19921875)).max() <= 1.5


def test_grey_with_a_gamma_has_its_lightness():
    grey = Image.fromarray(np.array([[0, 64, 128, 255]], np.uint8))
    linear = np.array([0, 64, 128, 255]) / 255
    expected = 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    for format in ("PNG", "TIFF"):
        assert np.abs(np.asarray(read(saved(grey, format, icc_profile=grey_profile(1.0))), float)[0, :, 0] - expected).max() <= 1.5


def test_16_bits_and_a_profile_are_said_in_one_sentence():
    file = png_with(png_16_bit([[(0,), (32896,), (65535,)]], GREY), b"iCCP", b"p\0\0" + zlib.compress(grey_profile(1.0)))
    image = read(file)
    assert notes(image) == ["converted from Grey 1.0 (16 bits) to sRGB (8 bits)"]
    assert np.abs(np.asarray(image, int)[0, :, 0] - [0, 188, 255]).max() <= 1


def test_cmyk_goes_by_the_tables_of_its_profile():
    # An ink "cyan" that prints mid grey, which no formula would guess.
    tables = table_profile(b"CMYK", lambda ink: 0 if ink[3] else 53.585 if ink[0] else 100)
    inks = Image.new("CMYK", (48, 16), (0, 0, 0, 0))
    inks.paste((255, 0, 0, 0), (16, 0, 32, 16))
    inks.paste((0, 0, 0, 255), (32, 0, 48, 16))
    for format, options in (("TIFF", {}), ("JPEG", {"quality": 100, "subsampling": 0})):
        image = read(saved(inks, format, icc_profile=tables, **options))
        assert np.abs(np.asarray(image, int)[8, 8::16] - [[255] * 3, [128] * 3, [0] * 3]).max() <= 4, format
        assert notes(image) == ["converted from Tables to sRGB"]


def test_a_profile_of_tables_for_rgb_is_obeyed():
    tables = table_profile(b"RGB ", lambda light: 100 if light[0] else 0)  # shows red alone, as white
    picture = Image.fromarray(np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]], np.uint8))
    assert np.asarray(read(saved(picture, "PNG", icc_profile=tables)))[0, :, 1].tolist() == [255, 0, 0, 255]


def test_transparency_survives_a_profile():
    rgba = Image.fromarray(np.dstack([COLOURS, np.array([[255, 0, 255, 0, 255, 255]], np.uint8)]))
    pixels = np.asarray(read(saved(rgba, "PNG", icc_profile=P3)), float)[0]
    assert np.array_equal(pixels[[1, 3]], [[255] * 3] * 2)
    assert np.abs(pixels[[0, 2, 4, 5]] - shown(COLOURS.astype(float), DISPLAY_P3, None)[0, [0, 2, 4, 5]]).max() <= 1.5


def test_a_palette_with_a_profile_is_converted():
    palette = Image.fromarray(COLOURS).quantize(8)
    before = np.asarray(palette.convert("RGB"), float)
    image = read(saved(palette, "PNG", icc_profile=P3))
    assert np.abs(np.asarray(image, float) - shown(before, DISPLAY_P3, None)).max() <= 1.5


def test_grey_with_the_profile_of_colours_is_grey():
    grey = Image.fromarray(COLOURS).convert("L")
    image = np.asarray(read(saved(grey, "PNG", icc_profile=ADOBE)), float)
    assert np.abs(image[0, :, 0] - shown(np.asarray(grey, float)[0, :, None].repeat(3, 1), ADOBE_RGB, 2.19921875)[:, 0]).max() <= 1.5


@pytest.mark.parametrize(
    "data", [b"no profile", P3[:200], P3[:128] + bytes(len(P3) - 128), grey_profile(2.2)], ids=["text", "cut", "zeros", "of grey"]
)
def test_a_broken_profile_is_ignored_and_said(data):
    image = read(saved(Image.fromarray(COLOURS), "PNG", icc_profile=data))
    assert np.array_equal(image, COLOURS)
    assert len(notes(image)) == 1 and "colour profile" in notes(image)[0] and "ignored" in notes(image)[0]


def test_a_profiles_name_brings_no_control_characters():
    image = read(saved(Image.fromarray(COLOURS), "PNG", icc_profile=rgb_profile("Wide\x1b[31m\n gamut", ADOBE_RGB)))
    assert notes(image) == ["converted from Wide[31m gamut to sRGB"]


def test_a_profile_survives_every_turn_of_the_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(COLOURS)
    image = read(saved(picture, "PNG", icc_profile=P3, exif=exif))
    assert np.abs(np.asarray(image, float)[:, 0] - shown(COLOURS.astype(float), DISPLAY_P3, None)[0]).max() <= 1.5


def test_a_picture_that_is_handed_over_opened_is_converted_too():
    image = upright_rgb(Image.open(io.BytesIO(saved(Image.fromarray(COLOURS), "PNG", icc_profile=P3))))
    assert np.abs(np.asarray(image, float) - shown(COLOURS.astype(float), DISPLAY_P3, None)).max() <= 1.5
