"""Every kind of file is read as viewers show it, or refused by name; none can cost more than its header is allowed to promise."""

import base64
import io
import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile, features

from ip2p.errors import EditError
from ip2p.images import read_base64, read_image, size_of_whole
from picture_files import ADOBE_RGB, GREY, jpeg_of_scans, png, png_16_bit, png_with, rgb_profile, saved

RANDOM = np.random.default_rng(0)
LEVELS = RANDOM.integers(0, 256, (40, 70, 3), dtype=np.uint8)
DEEP = LEVELS.astype(np.uint16) * 257


def read(data: bytes, **options) -> np.ndarray:
    image = read_image(io.BytesIO(data), **options)
    assert image.mode == "RGB"
    return np.asarray(image)


def tiff(samples: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


# TIFF


@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 7}, {"tile": (16, 32)}], ids=["strip", "strips", "tiles"])
@pytest.mark.parametrize(
    "compression", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}], ids=["plain", "zlib", "predictor"]
)
@pytest.mark.parametrize("order", "<>")
def test_a_deep_tiff_is_the_same_picture_however_its_samples_lie(layout, compression, order):
    options = {"photometric": "rgb", "byteorder": order, **layout, **compression}
    chunky = tiff(DEEP, **options)
    planar = tiff(np.ascontiguousarray(DEEP.transpose(2, 0, 1)), planarconfig="separate", **options)
    assert np.array_equal(read(chunky), LEVELS)
    assert np.array_equal(read(planar), LEVELS)


def test_a_large_tiff_of_planes_is_read():
    planes = np.ascontiguousarray(DEEP.transpose(2, 0, 1))
    assert np.array_equal(read(tiff(planes, planarconfig="separate", photometric="rgb", bigtiff=True)), LEVELS)


@pytest.mark.parametrize("options", [{"compression": "tiff_lzw"}, {"compression": "packbits"}])
def test_grey_of_16_bits_is_read_through_every_compression(options):
    assert np.array_equal(read(saved(Image.fromarray(DEEP[..., 0]), "TIFF", **options))[..., 1], LEVELS[..., 0])


def test_floats_with_their_predictor_are_read():
    import cv2

    levels = (LEVELS / 255).astype(np.float32)
    buffer = cv2.imencode(".tif", levels[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 8, cv2.IMWRITE_TIFF_PREDICTOR, 3])[1].tobytes()
    with tifffile.TiffFile(io.BytesIO(buffer)) as file:
        assert (file.pages[0].predictor, file.pages[0].compression) == (3, 8)
    assert np.array_equal(read(buffer), LEVELS)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_in_colour_are_read(kind):
    assert np.array_equal(read(tiff((LEVELS / 255).astype(kind), photometric="rgb")), LEVELS)


def test_floats_that_pass_white_a_little_are_not_black():
    levels = (LEVELS / 255).astype(np.float32)
    levels[0, :5] = 1.04
    assert np.array_equal(read(tiff(levels, photometric="rgb"))[1:], LEVELS[1:])


@pytest.mark.parametrize("bits", [8, 16])
def test_min_is_white_is_no_negative(bits):
    grey = LEVELS[..., 0]
    samples = (255 - grey) if bits == 8 else (65535 - grey.astype(np.uint16) * 257)
    assert np.array_equal(read(tiff(samples, photometric="miniswhite"))[..., 2], grey)


def test_32_bit_grey_keeps_its_range():
    grey = LEVELS[..., 0].astype(np.uint32) * 0x01010101
    assert np.array_equal(read(tiff(grey, photometric="minisblack"))[..., 0], LEVELS[..., 0])
    assert read(tiff(np.array([[0, 0x20202020]], np.uint32), photometric="minisblack"))[0, :, 0].tolist() == [0, 0x20], "dark stays dark"


def test_16_bit_grey_with_alpha_is_laid_on_white():
    opaque = np.full((40, 70), 65535, np.uint16)
    opaque[:20] = 0
    image = read(tiff(np.dstack([DEEP[..., 0], opaque]), photometric="minisblack", extrasamples=["unassalpha"]))
    assert (image[:20] == 255).all() and np.array_equal(image[20:, :, 0], LEVELS[20:, :, 0])


def test_premultiplied_alpha_is_divided_out():
    half = np.full((4, 4, 4), 32896, np.uint16)  # half covered with white
    half[..., 3] = 32896
    assert np.abs(read(tiff(half, photometric="rgb", extrasamples=["assocalpha"])).astype(int) - 255).max() <= 1


def test_an_extra_channel_that_is_no_alpha_hides_nothing():
    samples = np.dstack([DEEP, np.zeros((40, 70), np.uint16)])
    assert np.array_equal(read(tiff(samples, photometric="rgb", extrasamples=["unspecified"])), LEVELS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_tiff_is_turned_upright(orientation):
    flat = tiff(LEVELS, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    assert np.array_equal(read(tiff(DEEP, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])), read(flat))


def with_thumbnail(full: np.ndarray, **options) -> bytes:
    """As cameras and scanners write it: a thumbnail first, the picture in a directory below it."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(LEVELS[:8, :8], photometric="rgb", subfiletype=1, subifds=1, **options)
        file.write(full, photometric="rgb", subfiletype=0)
    return buffer.getvalue()


def test_the_picture_is_edited_and_not_its_thumbnail():
    assert np.array_equal(read(with_thumbnail(LEVELS)), LEVELS)
    assert np.array_equal(read(with_thumbnail(DEEP)), LEVELS)
    assert size_of_whole(io.BytesIO(with_thumbnail(LEVELS))) == (70, 40)


def test_a_dng_is_refused_by_name():
    with pytest.raises(EditError, match=r"is a DNG.*develop.*\.$"):
        read(with_thumbnail(LEVELS, extratags=[(50706, "B", 4, (1, 4, 0, 0), True)]))


def test_a_sensors_mosaic_is_refused_by_its_maker():
    file = with_thumbnail(LEVELS, extratags=[(271, "s", 0, "NIKON\x1b CORPORATION", True)])
    at = file.rindex(struct.pack("<HHIHH", 262, 3, 1, 2, 0))
    file = file[: at + 8] + struct.pack("<H", 32803) + file[at + 10 :]
    with pytest.raises(EditError, match=r"raw file of NIKON CORPORATION.*\.$"):
        read(file)


@pytest.mark.parametrize(
    "head, name", [(b"FUJIFILMCCD-RAW ", "RAF"), (b"II*\0\x10\0\0\0CR\2\0", "CR2"), (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "CR3")]
)
def test_other_raw_files_are_refused_by_name(head, name):
    with pytest.raises(EditError, match=rf"is a {name}, a camera's raw file.*\.$"):
        read(head + bytes(500))


# PNG and JPEG


@pytest.mark.parametrize(
    "kind, content",
    [
        (b"zTXt", b"note\0\0" + zlib.compress(bytes(3_000_000))),
        (b"tEXt", b"note\0" + b"a" * 3_000_000),
        (b"iCCP", b"scanner\0\0" + zlib.compress(rgb_profile("Scanner", ADOBE_RGB, 2.2) + bytes(3_000_000))),
    ],
)
def test_a_png_with_a_large_text_or_profile_is_read(kind, content):
    file = png_with(saved(Image.fromarray(LEVELS), "PNG"), kind, content)
    image = read_image(io.BytesIO(file))
    assert np.array_equal(image, LEVELS) != (kind == b"iCCP")
    assert ("converted from Scanner to sRGB" in image.info.get("ip2p_notes", [])) == (kind == b"iCCP")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_mark_is_whole(progressive, missing):
    whole = saved(Image.fromarray(LEVELS), "JPEG", quality=92, progressive=progressive)
    assert np.array_equal(read(whole[:-missing]), read(whole))
    assert size_of_whole(io.BytesIO(whole[:-missing])) == (70, 40)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_pixels_is_refused(progressive):
    levels = RANDOM.integers(0, 256, (48, 64, 3), dtype=np.uint8)  # whole blocks: none of its pixels is invisible
    whole = saved(Image.fromarray(levels), "JPEG", quality=92, progressive=progressive)
    for missing in (*range(6, 60), 200, len(whole) // 2):
        for file in (whole[:-missing], whole[:-missing] + b"\xff"):
            with pytest.raises(EditError, match="damaged"):
                read(file)


def test_nothing_of_pillow_is_changed_for_it():
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    read(saved(Image.fromarray(LEVELS), "JPEG")[:-2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is before is False


def test_the_first_picture_of_a_stereo_file_is_read():
    pictures = [Image.new("RGB", (32, 16), colour) for colour in ("red", "blue")]
    assert np.abs(read(saved(pictures[0], "MPO", save_all=True, append_images=pictures[1:])).astype(int) - (255, 0, 0)).max() <= 2


# HEIC, AVIF, JPEG XL

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
# Beginnings of files by libjxl.
JXL = {
    (3, 2): "ff0a08c0010013880200a800",
    (64, 64): "ff0a4f060013880200d800b5",
    (300, 200): "ff0a310700138802003c8106",
    (1920, 1080): "ff0aba211d001388020090c0",
    (4000, 3001): "ff0ac25de8f30d0013880200",
}


@pytest.mark.parametrize(
    "data, kind, package, module",
    [(HEIC, "HEIC", "pillow-heif", "pillow_heif"), (bytes.fromhex(JXL[3, 2]), "JPEG XL", "pillow-jxl-plugin", "pillow_jxl")],
)
def test_a_kind_that_needs_a_package_names_it(data, kind, package, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(Image, "OPEN", {name: value for name, value in Image.OPEN.items() if name not in ("HEIF", "JXL")})
    with pytest.raises(EditError, match=rf"is a {kind} file: install {package}.*\.$"):
        read(data)


@pytest.mark.parametrize("size", JXL)
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(size):
    from ip2p.images.repair import jxl_size

    stream = bytes.fromhex(JXL[size])
    in_boxes = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "
    for file in (stream, in_boxes + b"\0\0\0\x20jxlc" + stream, in_boxes + b"\0\0\0\x20jxlp\0\0\0\0" + stream):
        assert jxl_size(file) == size


def test_a_jpeg_xl_that_claims_too_much_is_refused_by_its_header():
    bits = 0 | 3 << 1 | 29_999 << 3 | 1 << 33  # not small; 30 bits of height; as wide as high
    with pytest.raises(EditError, match="30000x30000"):
        read(b"\xff\x0a" + bits.to_bytes(8, "little"))
    with pytest.raises(EditError, match="damaged"):
        read(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100))


def test_a_heic_is_read_where_its_package_is():
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 32), "red")).save(buffer, quality=-1)
    assert np.abs(read(buffer.getvalue()).astype(int) - (255, 0, 0)).max() <= 6


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_turns_in_an_avif_are_read(orientation):
    """Pillow writes EXIF's orientation as the boxes irot and imir, and gives it back."""
    from ip2p.images.avif import orientation as turns

    def turned(format: str, **options) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return saved(picture, format, exif=exif, **options)

    picture = Image.fromarray(LEVELS[:4, :7]).resize((70, 40), Image.Resampling.BICUBIC)
    file = turned("AVIF", quality=95)
    assert turns(file) == orientation == Image.open(io.BytesIO(file)).getexif().get(0x0112, 1)
    expected = read(turned("PNG"))
    assert read(file).shape == expected.shape and np.abs(read(file).astype(int) - expected).mean() < 4
    assert size_of_whole(io.BytesIO(file)) == expected.shape[1::-1]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_the_turns_in_a_damaged_avif_are_none_or_some():
    from ip2p.images.avif import orientation

    exif = Image.Exif()
    exif[0x0112] = 6
    file = saved(Image.fromarray(LEVELS), "AVIF", exif=exif)
    for at in range(min(len(file), 400)):
        assert orientation(file[:at]) in range(1, 9)
        assert orientation(file[:at] + b"\xff" + file[at + 1 :]) in range(1, 9)


# What it may cost


def http():
    from ip2p.images import HTTP

    return HTTP


def test_a_column_millions_of_pixels_high_is_refused():
    with pytest.raises(EditError, match="1x64000000"):
        read(png(1, 64_000_000, b""))
    with pytest.raises(EditError, match="damaged"):
        read(png(64_000_000, 1, b""))


@pytest.mark.parametrize("size, sentence", [((16_385, 400), "16384"), ((400, 16_385), "16384"), ((6500, 100), "64 times")])
def test_over_http_sides_and_aspect_are_limited_by_the_header(size, sentence):
    with pytest.raises(EditError, match=sentence):
        read_base64(base64_of(png(*size, b"")), limits=http())
    with pytest.raises(EditError, match="damaged"):  # taken at this machine, and only then found to be empty
        read_base64(base64_of(png(*size, b"")))


def test_over_http_jpeg_2000_is_refused_by_name():
    file = saved(Image.fromarray(LEVELS), "JPEG2000")
    assert read(file).shape == LEVELS.shape
    for data in (file, b"\xff\x4f\xff\x51" + bytes(100)):
        with pytest.raises(EditError, match=r"JPEG 2000.*\.$"):
            read_base64(base64_of(data), limits=http())


def test_a_jpeg_of_hundreds_of_scans_is_refused_without_decoding():
    file = jpeg_of_scans(400, (2400, 1600))
    start = time.perf_counter()
    with pytest.raises(EditError, match=r"41\d scans"):
        read(file)
    assert time.perf_counter() - start < 1
    assert read(jpeg_of_scans(400, (64, 64))).shape == (64, 64, 3), "a small one takes no time"
    assert read(jpeg_of_scans(1, (2400, 1600))).shape == (1600, 2400, 3)


def test_a_tiff_of_wide_samples_is_bounded_in_bytes():
    """64 megapixels of three doubles would be a gigabyte and a half."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, shape=(64, 64, 3), dtype=np.float64, photometric="rgb")
    file = bytearray(buffer.getvalue())
    for tag, side in ((256, 8000), (257, 7999)):
        at = next(i for i in range(len(file)) if file[i : i + 2] == struct.pack("<H", tag) and file[i + 4 : i + 8] == struct.pack("<I", 1))
        file[at + 2 : at + 12] = struct.pack("<HII", 4, 1, side)
    with pytest.raises(EditError, match="64 bits"):
        read(bytes(file))


def test_a_tiff_of_tiles_larger_than_any_picture_is_refused():
    file = bytearray(tiff(LEVELS, photometric="rgb", tile=(16, 16), compression="zlib"))
    for tag in (322, 323):
        at = next(i for i in range(len(file)) if file[i : i + 2] == struct.pack("<H", tag) and file[i + 4 : i + 8] == struct.pack("<I", 1))
        file[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 16_000)
    with pytest.raises(EditError, match="tiles"):
        read(bytes(file))


def test_over_http_pictures_are_decoded_one_at_a_time(monkeypatch):
    inside, most = [], []
    load = ImageFile.ImageFile.load

    def slow(self):
        inside.append(self)
        most.append(len(inside))
        time.sleep(0.05)
        try:
            return load(self)
        finally:
            inside.remove(self)

    file, limits = base64_of(saved(Image.fromarray(LEVELS), "BMP")), http()
    monkeypatch.setattr(ImageFile.ImageFile, "load", slow)
    threads = [threading.Thread(target=read_base64, args=(file,), kwargs={"limits": limits}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) >= 4 and max(most) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_not_a_file_is_a_sentence_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    code = "import sys; from ip2p.images import read_image; from ip2p.errors import EditError\ntry: read_image(sys.argv[1])\nexcept EditError as e: print(e)"
    for path in (tmp_path / "pipe.png", Path("/dev/zero"), tmp_path):
        out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=30)
        assert out.stdout.endswith("not a file.\n"), (path, out)


def test_a_background_is_the_callers():
    clear = saved(Image.new("RGBA", (2, 2), (255, 0, 0, 0)), "PNG")
    assert read(clear, background="#203040").tolist() == [[[32, 48, 64]] * 2] * 2
    assert read_base64(base64_of(clear), background="black").getpixel((0, 0)) == (0, 0, 0)


def test_deep_pictures_say_what_they_lost():
    assert read_image(io.BytesIO(png_16_bit([[(0,), (65535,)]], GREY))).info["ip2p_notes"] == ["converted from 16 to 8 bits"]
    assert "ip2p_notes" not in read_image(io.BytesIO(saved(Image.fromarray(LEVELS), "PNG"))).info
