"""Pictures: every kind is read upright and in RGB, bad ones are refused in sentences, sizes and masks are kept."""

import base64
import io
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from ip2p.errors import EditError
from ip2p.images import fit, fit_size, heat_picture, keep_outside, read_base64, read_image, upright_rgb
from picture_files import GREY, GREY_ALPHA, RGBA, black_png, icon, png, png_16_bit, saved

RED, GREEN, BLUE, YELLOW, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255)


def read(data: bytes) -> Image.Image:
    image = read_image(io.BytesIO(data))
    assert image.mode == "RGB"
    return image


def noise(width=20, height=12, channels=3, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


# EXIF 2.32, tag Orientation: the visual sides of the stored row 0 and column 0.
ORIENTATIONS = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation_is_applied(orientation, format):
    first_row, first_column = ORIENTATIONS[orientation]
    # Stored corners, each named by the two visual sides it belongs to; 32x16 so that each fills whole JPEG blocks.
    opposite = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}
    colours = dict(
        zip(
            map(frozenset, (("top", "left"), ("top", "right"), ("bottom", "left"), ("bottom", "right"))),
            (RED, GREEN, BLUE, YELLOW),
            strict=True,
        )
    )
    stored = Image.new("RGB", (32, 16))
    for x, column in ((0, first_column), (16, opposite[first_column])):
        for y, row in ((0, first_row), (8, opposite[first_row])):
            stored.paste(colours[frozenset((row, column))], (x, y, x + 16, y + 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}

    upright = read(saved(stored, format, exif=exif, **options))

    assert upright.size == ((32, 16) if orientation <= 4 else (16, 32))
    width, height = upright.size
    corners = [upright.getpixel(at) for at in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1))]
    assert np.abs(np.subtract(corners, [RED, GREEN, BLUE, YELLOW])).max() <= 3
    assert upright.getexif().get(0x0112, 1) == 1, "nobody after this may turn it again"


def test_a_damaged_exif_block_costs_the_orientation_not_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    source = Image.fromarray(noise())
    file = saved(source, "WEBP", lossless=True, exif=exif)
    damaged = file.replace(b"MM\x00\x2a", b"MM\x00\x00").replace(b"II\x2a\x00", b"II\x00\x00")
    assert damaged != file
    assert np.array_equal(read(damaged), source)


def test_transparency_is_laid_on_white():
    rgba = Image.new("RGBA", (3, 1))
    rgba.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 255, 51)])
    assert list(np.asarray(read(saved(rgba, "PNG")))[0].tolist()) == [[255, 0, 0], [255, 255, 255], [204, 204, 255]]


def test_grey_with_transparency_is_laid_on_white():
    la = Image.new("LA", (2, 1))
    la.putdata([(100, 255), (100, 0)])
    assert np.asarray(read(saved(la, "PNG"))).tolist() == [[[100] * 3, [255] * 3]]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])], ids=["one colour", "alpha of every colour"])
def test_a_palette_with_transparency_is_laid_on_white(transparency):
    palette = Image.new("P", (3, 1))
    palette.putpalette([*RED, *GREEN, *BLUE])
    palette.putdata([0, 1, 2])
    assert np.asarray(read(saved(palette, "PNG", transparency=transparency))).tolist() == [[list(RED), list(WHITE), list(BLUE)]]


@pytest.mark.parametrize("mode, key", [("RGB", RED), ("L", 77)])
def test_a_transparent_colour_is_laid_on_white(mode, key):
    picture = Image.new(mode, (2, 1), key)
    picture.putpixel((1, 0), BLUE if mode == "RGB" else 10)
    pixels = np.asarray(read(saved(picture, "PNG", transparency=key))).tolist()[0]
    assert pixels == [list(WHITE), list(BLUE) if mode == "RGB" else [10] * 3]


def test_16_bit_grey_keeps_its_range():
    image = read(png_16_bit([[(0,), (65535,), (32768,), (257,)]], GREY))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 255, 128, 1]


def test_a_dark_16_bit_picture_stays_dark():
    assert np.asarray(read(png_16_bit([[(0,), (2570,)]], GREY)))[0, :, 0].tolist() == [0, 10]


def test_16_bit_colour_keeps_its_range():
    image = read(png_16_bit([[(65535, 0, 0), (0, 32896, 65535)]]))
    assert np.abs(np.asarray(image, int)[0] - [[255, 0, 0], [0, 128, 255]]).max() <= 1


@pytest.mark.parametrize("colour, pixel", [(RGBA, (65535, 0, 0, 0)), (GREY_ALPHA, (0, 0))])
def test_16_bit_transparency_is_laid_on_white(colour, pixel):
    opaque = (*pixel[:-1], 65535)
    clear, solid = np.asarray(read(png_16_bit([[pixel, opaque]], colour))).tolist()[0]
    assert clear == list(WHITE) and solid == ([255, 0, 0] if colour == RGBA else [0, 0, 0])


@pytest.mark.parametrize(
    "levels, expected", [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 100.0, 255.0], [0, 100, 255]), ([-1.0, np.nan, 1.0], [0, 0, 255])]
)
def test_float_tiff_is_scaled_to_8_bits(levels, expected):
    picture = Image.fromarray(np.array([levels], np.float32))
    assert np.asarray(read(saved(picture, "TIFF")))[0, :, 0].tolist() == expected


def test_cmyk_jpeg_has_its_colours():
    picture = Image.new("CMYK", (32, 16), (0, 255, 255, 0))
    picture.paste((255, 0, 0, 0), (16, 0, 32, 16))
    image = np.asarray(read(saved(picture, "JPEG", quality=100)), int)
    assert np.abs(image[0, 0] - RED).max() <= 4
    assert np.abs(image[0, 31] - (0, 255, 255)).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"])
def test_every_mode_that_another_extension_may_hand_over_becomes_rgb(mode):
    assert upright_rgb(Image.new(mode, (5, 3))).mode == "RGB"


def test_only_the_first_frame_of_an_animation_is_read():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    assert read(saved(frames[0], "GIF", save_all=True, append_images=frames[1:])).getpixel((4, 4)) == RED


REFUSED_WITHOUT_DECODING = """
import io, resource, sys
from pathlib import Path
from PIL import Image
from ip2p.edit import EditError
from ip2p.images import read_image

read_image(io.BytesIO(Path(sys.argv[1]).read_bytes()))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    try:
        read_image(io.BytesIO(Path(path).read_bytes()))
        print("read", path)
    except EditError as e:
        print(e)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    big = black_png(13000)
    files = {
        "small": saved(Image.new("RGB", (8, 8)), "PNG"),
        "claims": png(30000, 30000, b""),
        "13000": big,
        "icon": icon(big),  # its own header says 16x16
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert len(big) < 1_000_000
    out = subprocess.run(
        [sys.executable, "-c", REFUSED_WITHOUT_DECODING, *(str(tmp_path / name) for name in files)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    claims, of_13000, of_icon, megabytes = out
    assert "64 megapixels" in claims
    assert "13000x13000" in of_13000 and "64 megapixels" in of_13000
    assert not of_icon.startswith("read") and of_icon.endswith(".")
    assert int(megabytes) < 60, "a 13000² picture takes 500 MB"


def test_64_megapixels_are_the_limit():
    with pytest.raises(EditError, match="8000x8001"):
        read(png(8000, 8001, b""))
    with pytest.raises(EditError, match="damaged"):  # small enough, and only then found to hold nothing
        read(png(8000, 8000, b""))


def test_postscript_is_never_interpreted(monkeypatch):
    def ghostscript(*args, **kwargs):
        pytest.fail("a request of the API is no place to run programs")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    with pytest.raises(EditError, match="damaged or not a picture"):
        read(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_picture_is_a_sentence(format):
    picture = Image.fromarray(noise(64, 64))
    data = saved(picture, format)
    assert read(data).size == (64, 64)
    for part in (0.1, 0.5, 0.9):
        with pytest.raises(EditError, match=r"damaged or not a picture\.$"):
            read(data[: int(len(data) * part)])


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_picture_is_a_sentence(data):
    with pytest.raises(EditError, match=r"damaged or not a picture\.$"):
        read(data)


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(EditError, match=r"\.$"):
        read_image(tmp_path / "none.png")


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_a_picture_or_a_sentence():
    exif = Image.Exif()
    exif[0x0112] = 6
    colour = Image.fromarray(noise())
    sources = [
        saved(colour, "PNG", exif=exif),
        saved(colour, "JPEG", exif=exif),
        saved(colour, "WEBP", exif=exif),
        saved(colour.quantize(16), "GIF"),
        saved(colour, "BMP"),
        saved(colour, "TIFF"),
        png_16_bit([[(1000,), (65535,)]], GREY),
    ]
    draw = random.Random(0)
    for source in sources:
        for _ in range(150):
            damaged = bytearray(source)
            for _ in range(draw.choice((1, 2, 4, 8))):
                damaged[draw.randrange(min(len(damaged), draw.choice((40, 150, 10_000))))] = draw.choice((0, 255, draw.randrange(256)))
            try:
                read(bytes(damaged))
            except EditError as e:
                assert str(e).endswith(".")


def test_base64_and_data_urls_are_read():
    source = Image.fromarray(noise())
    text = base64.b64encode(saved(source, "PNG")).decode()
    wrapped = "\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    for given_text in (text, wrapped, f"data:image/png;base64,{text}", f" {text}\n"):
        assert np.array_equal(read_base64(given_text), source)


@pytest.mark.parametrize("text", ["not base64!", "abc", "ä" * 8, "data:image/png;base64,%%%%"])
def test_what_is_no_base64_is_said(text):
    with pytest.raises(EditError, match=r"not valid base64.*\.$"):
        read_base64(text)


@pytest.mark.parametrize("text", ["", "data:", "data:image/png;base64,", base64.b64encode(b"hello").decode()])
def test_base64_of_no_picture_is_said(text):
    with pytest.raises(EditError, match=r"not a picture\.$"):
        read_base64(text)


@pytest.mark.parametrize(
    "size, longest, fitted",
    [
        ((512, 512), 512, (512, 512)),
        ((1024, 768), 512, (512, 384)),
        ((768, 1024), 512, (384, 512)),
        ((1500, 1000), 512, (512, 320)),
        ((1500, 1000), 768, (768, 512)),
        ((300, 300), 512, (512, 512)),
        ((640, 480), 100, (64, 64)),
        ((1, 4000), 512, (64, 512)),
    ],
)
def test_fitted_sizes_by_hand(size, longest, fitted):
    assert fit_size(*size, longest) == fitted


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(64, 2048))
def test_a_fitted_size_keeps_the_limit_and_is_near_the_aspect(width, height, longest):
    w, h = fit_size(width, height, longest)
    assert w % 64 == h % 64 == 0
    assert min(w, h) >= 64 and max(w, h) <= longest
    # At least as near in aspect as cropping to the longest side and rounding the other, but for what more area is worth.
    limit = longest // 64 * 64
    ideal = limit * min(width, height) / max(width, height)
    plain = min(max(round(ideal / 64) * 64, 64), limit)

    def far(short, long):
        return abs(np.log(short / long * max(width, height) / min(width, height)))

    assert far(min(w, h), max(w, h)) <= far(plain, limit) + 0.25 * abs(np.log(plain / ideal)) + 1e-9


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(64, 2048))
def test_a_picture_on_its_side_is_fitted_on_its_side(width, height, longest):
    w, h = fit_size(width, height, longest)
    if width != height:
        assert (h, w) == fit_size(height, width, longest)
        assert w == h or (w < h) == (width < height)


def test_fit_crops_around_the_middle_or_squeezes_the_whole():
    stripes = Image.new("RGB", (400, 100), GREEN)
    stripes.paste(RED, (0, 0, 100, 100))
    stripes.paste(BLUE, (300, 0, 400, 100))
    cropped, whole = fit(stripes, (128, 128)), fit(stripes, (128, 128), whole=True)
    assert cropped.size == whole.size == (128, 128)
    assert {cropped.getpixel((x, 64)) for x in (0, 64, 127)} == {GREEN}
    assert [whole.getpixel((x, 64)) for x in (0, 64, 127)] == [RED, GREEN, BLUE]
    assert fit(stripes, (400, 100)) is stripes


def test_pixels_outside_the_mask_are_the_sources_own():
    source = Image.fromarray(noise(seed=1))
    result = np.random.default_rng(2).uniform(0, 255, (12, 20, 3)).astype(np.float32)
    mask = np.zeros((12, 20), np.uint8)
    mask[:, 5:10], mask[:, 10:15] = 255, 51
    kept = keep_outside(result, source, Image.fromarray(mask))
    pixels = np.asarray(source, np.float32)
    assert np.array_equal(kept[:, :5], pixels[:, :5]) and np.array_equal(kept[:, 15:], pixels[:, 15:])
    assert np.array_equal(kept[:, 5:10], result[:, 5:10])
    assert np.allclose(kept[:, 10:15], 0.2 * result[:, 10:15] + 0.8 * pixels[:, 10:15], atol=1e-3)


def test_a_heat_picture_colours_where_the_instruction_acts():
    heat = np.zeros((8, 8))
    heat[:, 4:] = 1
    shown = heat_picture(heat, Image.new("RGB", (64, 64), (200, 200, 200)))
    assert shown.mode == "RGB" and shown.size == (64, 64)
    cold, hot = np.asarray(shown, int)[32, 4], np.asarray(shown, int)[32, 60]
    assert np.ptp(cold) <= 3 and np.ptp(hot) > 100
