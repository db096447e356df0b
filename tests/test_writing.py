"""Results are written whole, in sRGB, with infotext, settings and the photograph's date, place and camera in every format."""

import io
import os
import struct

import numpy as np
import pytest
from PIL import Image

from ip2p.errors import EditError
from ip2p.images import exif_to_keep, infotext_in, picture_bytes, read_image, save_picture, settings_in
from picture_files import DISPLAY_P3, rgb_profile, saved

PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)).resize((60, 40), Image.Resampling.BICUBIC)
INFOTEXT = "make it winter, 雪 “ß”\nNegative prompt: 🎨\nSteps: 20, Sampler: Euler a, Seed: 1"
SETTINGS = '{"instruction": "\\u96ea", "steps": 20}'
FORMATS = ("png", "jpg", "jpeg", "webp", "PNG")
EXIF, GPS = 0x8769, 0x8825


def photograph(format: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132], exif[0x0112] = "Maker", "Camera 1", "2024:05:06 07:08:09", 6
    exif[EXIF] = {
        0x9003: "2024:05:06 07:08:09",
        0x829A: 0.01,
        0x927C: b"notes of the maker",
        0x9286: b"ASCII\0\0\0old",
        0xA002: 60,
        0xA001: 65535,
    }
    exif[GPS] = {1: "N", 2: (47.0, 22.0, 11.0), 3: "E", 4: (8.0, 32.0, 1.0)}
    return saved(PICTURE, format, exif=exif.tobytes())


@pytest.mark.parametrize("suffix", FORMATS)
def test_infotext_and_settings_are_read_back(suffix, tmp_path):
    path = tmp_path / f"result.{suffix}"
    save_picture(PICTURE, path, infotext=INFOTEXT, settings=SETTINGS)
    assert infotext_in(path) == INFOTEXT and settings_in(path) == SETTINGS
    assert np.abs(np.asarray(read_image(path), int) - np.asarray(PICTURE, int)).mean() < (0.1 if suffix.lower() == "png" else 4)


def test_the_infotext_is_where_the_webui_reads_it(tmp_path):
    """`read_info_from_image`: a PNG's field, or EXIF's user comment as piexif writes it."""
    piexif, helper = (pytest.importorskip(name, reason="the WebUI's reader") for name in ("piexif", "piexif.helper"))
    for suffix in ("jpg", "webp"):
        save_picture(PICTURE, tmp_path / f"a.{suffix}", infotext=INFOTEXT, settings=SETTINGS)
        block = piexif.load(Image.open(tmp_path / f"a.{suffix}").info["exif"])
        assert helper.UserComment.load(block["Exif"][piexif.ExifIFD.UserComment]) == INFOTEXT


def test_a_user_comment_is_unicode_as_exif_defines_it(tmp_path):
    save_picture(PICTURE, tmp_path / "a.jpg", infotext=INFOTEXT)
    comment = Image.open(tmp_path / "a.jpg").getexif().get_ifd(EXIF)[0x9286]
    assert comment == b"UNICODE\0" + INFOTEXT.encode("utf-16-be")
    block = Image.open(tmp_path / "a.jpg").info["exif"]
    assert struct.pack(">HH" if b"MM" in block[:8] else "<HH", 0x9286, 7) in block, "of the type UNDEFINED, as the WebUI's piexif needs it"
    save_picture(PICTURE, tmp_path / "a.png", infotext=INFOTEXT)
    assert Image.open(tmp_path / "a.png").info["parameters"] == INFOTEXT


def test_what_others_wrote_has_no_settings(tmp_path):
    (tmp_path / "a.jpg").write_bytes(photograph())
    (tmp_path / "b.png").write_bytes(b"hello")
    assert [settings_in(tmp_path / name) for name in ("a.jpg", "b.png", "none.webp")] == [None] * 3
    assert infotext_in(tmp_path / "a.jpg") == "old", "a comment in ASCII is one too"


def test_a_png_says_that_it_is_srgb():
    image = read_image(io.BytesIO(saved(PICTURE, "PNG", icc_profile=rgb_profile("Display P3", DISPLAY_P3))))
    file = picture_bytes(image, "PNG")
    assert file.count(b"sRGB") == 1 and file.index(b"sRGB") < file.index(b"IDAT") and b"iCCP" not in file
    with_profile = PICTURE.copy()
    with_profile.info["icc_profile"] = rgb_profile("Display P3", DISPLAY_P3)
    for format in ("PNG", "JPEG", "WEBP"):
        assert "icc_profile" not in Image.open(io.BytesIO(picture_bytes(with_profile, format))).info


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_date_place_and_camera_of_the_photograph_are_kept(source, suffix, tmp_path):
    image = read_image(io.BytesIO(photograph(source)))
    save_picture(image, tmp_path / f"a.{suffix}", infotext=INFOTEXT, settings=SETTINGS, exif=exif_to_keep(image))
    exif = Image.open(tmp_path / f"a.{suffix}").getexif()
    assert (exif[0x010F], exif[0x0110], exif[0x0132]) == ("Maker", "Camera 1", "2024:05:06 07:08:09")
    assert exif.get_ifd(EXIF)[0x9003] == "2024:05:06 07:08:09" and exif.get_ifd(EXIF)[0xA001] == 1
    assert [float(part) for part in exif.get_ifd(GPS)[2]] == [47, 22, 11]
    assert not {0x0112, 0x0100, 0x0111} & {*exif} and not {0x927C, 0xA002} & {*exif.get_ifd(EXIF)}
    assert infotext_in(tmp_path / f"a.{suffix}") == INFOTEXT
    assert read_image(tmp_path / f"a.{suffix}").size == (40, 60), "it was turned once"


def test_without_being_asked_nothing_of_the_photograph_is_told(tmp_path):
    image = read_image(io.BytesIO(photograph()))
    for suffix in ("png", "jpg", "webp"):
        save_picture(image, tmp_path / f"a.{suffix}", infotext="x")
        assert b"Maker" not in (tmp_path / f"a.{suffix}").read_bytes()


def test_the_thumbnail_goes():
    thumbnail = saved(Image.new("RGB", (16, 16), "red"), "JPEG")
    first = struct.pack("<HHHII", 1, 0x0110, 2, 4, int.from_bytes(b"Cam\0", "little"))
    second = struct.pack("<HHHIIHHII", 2, 0x0201, 4, 1, 8 + 18 + 30, 0x0202, 4, 1, len(thumbnail)) + bytes(4)
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", 26) + second + thumbnail
    image = read_image(io.BytesIO(saved(PICTURE, "JPEG", exif=block)))
    assert b"Cam" in exif_to_keep(image) and thumbnail[:20] not in exif_to_keep(image)


def test_damaged_metadata_costs_the_metadata():
    image = read_image(io.BytesIO(saved(PICTURE, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")))
    assert image.size == (60, 40) and exif_to_keep(image) is None


def test_a_picture_without_exif_has_none_to_keep():
    assert exif_to_keep(read_image(io.BytesIO(saved(PICTURE, "PNG")))) is None


def test_another_suffix_is_a_sentence(tmp_path):
    for name in ("a.bmp", "a", "a.png.txt"):
        with pytest.raises(EditError, match=r"PNG, JPEG or WebP.*\.$"):
            save_picture(PICTURE, tmp_path / name)


def test_what_a_format_cannot_hold_is_a_sentence(tmp_path):
    with pytest.raises(EditError, match=r"WebP has at most 16383.*\.$"):
        save_picture(Image.new("RGB", (16_384, 8)), tmp_path / "a.webp")
    with pytest.raises(EditError, match=r"do not fit into a JPEG.*\.$"):
        save_picture(PICTURE, tmp_path / "a.jpg", infotext="x" * 40_000)
    assert not list(tmp_path.iterdir())


def test_a_result_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    save_picture(PICTURE, tmp_path / "a.png", settings="1")
    before = (tmp_path / "a.png").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(EditError, match="no space left"):
        save_picture(PICTURE, tmp_path / "a.png", settings="2")
    assert (tmp_path / "a.png").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_transparency_is_kept_in_a_png_and_laid_on_nothing_else():
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert Image.open(io.BytesIO(picture_bytes(clear))).mode == "RGBA"
    assert Image.open(io.BytesIO(picture_bytes(clear, "JPEG"))).mode == "RGB"
