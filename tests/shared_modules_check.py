"""What the WebUI half and the standalone half share, run through once with whatever Python and packages there are.

`test_shared_on_host_python.py` runs it with the WebUI's own Python, which has no pytest.
"""

import base64
import io
import sys
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from ip2p.checkpoints.lora import is_of_sd1, lora_named, says_lcm
from ip2p.checkpoints.recognise import FIRST_LAYER, describe, is_edit_checkpoint
from ip2p.detail import transfer
from ip2p.edit import Edit, random_scales
from ip2p.errors import EditError
from ip2p.guidance import Guidance, Interval, pass_weights
from ip2p.images import (
    exif_to_keep,
    fit,
    fit_size,
    frame_of,
    heat_picture,
    infotext_in,
    keep_outside,
    notes_of,
    read_base64,
    read_image,
    read_mask,
    save_picture,
    settings_in,
)  # fmt: skip
from ip2p.infotext import infotext_of
from ip2p.passes import passes_needed, plan_passes
from ip2p.presets import FILE_NAME, Preset, load, save_own
from ip2p.result import finished
from picture_files import (
    DISPLAY_P3,
    GREY,
    TURNED_AVIF,
    grey_profile,
    png,
    png_16_bit,
    png_with,
    rgb_profile,
    saved,
    table_profile,
)  # fmt: skip


def check_guidance():
    plan = plan_passes([pass_weights(7.5, 1.5)], [range(3)])
    assert plan.combine(torch.tensor([[30.0], [20.0], [10.0]])).tolist() == [[100.0]]
    assert passes_needed(1, 1) == ("full",)
    assert passes_needed(3, 3) == ("full", "uncond")
    assert passes_needed(7.5, 1, text_is_negative=True) == ("image",)
    assert Guidance(text_interval=Interval(0.5, 1)).at(0.2) == (1.0, 1.5)


def check_images():
    colours = Image.new("RGB", (32, 16), "red")
    ImageDraw.Draw(colours).rectangle((16, 0, 31, 15), fill="blue")
    exif = Image.Exif()
    exif[0x0112] = 6
    for format in ("PNG", "JPEG", "TIFF", "WEBP"):
        upright = read_image(io.BytesIO(saved(colours, format, exif=exif)))
        assert (upright.mode, upright.size) == ("RGB", (16, 32)), format
        assert np.abs(np.subtract(upright.getpixel((8, 4)), (255, 0, 0))).max() <= 4, format
        assert upright.getexif().get(0x0112, 1) == 1, format

    assert np.asarray(read_image(io.BytesIO(png_16_bit([[(0,), (32768,), (65535,)]], GREY))))[0, :, 0].tolist() == [0, 128, 255]
    assert read_image(io.BytesIO(png_16_bit([[(65535, 0, 0)]]))).getpixel((0, 0)) == (255, 0, 0)
    assert read_image(io.BytesIO(saved(Image.fromarray(np.array([[0.0, 1.0]], np.float32)), "TIFF"))).getpixel((1, 0)) == (255, 255, 255)
    assert read_image(io.BytesIO(saved(Image.new("RGBA", (2, 2), (255, 0, 0, 0)), "PNG"))).getpixel((0, 0)) == (255, 255, 255)
    assert read_image(io.BytesIO(saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG"))).getpixel((0, 0))[0] < 5
    data_url = "data:image/png;base64," + base64.b64encode(saved(colours, "PNG")).decode()
    assert np.array_equal(read_base64(data_url), colours)
    whole = saved(colours, "PNG")
    for bad in (png(30000, 30000, b""), png(13000, 13000, b""), b"hello", whole[: len(whole) // 2]):
        try:
            read_image(io.BytesIO(bad))
        except EditError as e:
            assert str(e).endswith(".")
        else:
            raise AssertionError("a bad picture was read")

    assert fit_size(1024, 768) == (512, 384) and frame_of(colours, 512, crop=True).size == (512, 256)
    assert fit(colours, (64, 64)).size == fit(colours, (64, 64), whole=True).size == (64, 64)
    assert np.array_equal(keep_outside(np.zeros((16, 32, 3)), colours, Image.new("L", (32, 16))), np.asarray(colours))
    assert heat_picture(np.eye(4), colours).size == colours.size


def check_detail():
    """A warmer picture: the photograph's own stripes are in the full result, and an enlarged one has none of them."""
    rows, columns = np.mgrid[:240, :360]
    photograph = Image.fromarray(np.stack([rows * 0.5 + 40 + (columns % 2) * 60, columns * 0.4 + 30, rows * 0 + 90], -1).astype(np.uint8))
    edit = Edit(image=photograph, instruction="make it warmer", longest_side=192, result="full")
    assert edit.frame.size == (192, 128) and edit.frame.working_size == (192, 128)
    picture = edit.frame.place(photograph)
    decoded = np.asarray(picture, np.float32)
    expected = np.asarray(photograph) * (1.2, 1.0, 0.5)
    full = finished(edit, decoded * np.float32((1.2, 1.0, 0.5)), picture, None, lambda: decoded)
    assert full.size == photograph.size and np.abs(np.asarray(full) - expected).mean() < 4
    enlarged = finished(replace(edit, detail=0), decoded * np.float32((1.2, 1.0, 0.5)), picture, None, lambda: decoded)
    assert np.abs(np.asarray(enlarged) - expected).mean() > 8
    text = infotext_of(edit, seed=3, scales=(7.5, 1.5), size=(192, 128), model="a")
    assert ", Instruct edit result: full, " in text + ", "
    try:
        transfer(photograph, decoded[:, :100], decoded[:, :100])
    except EditError as e:
        assert "another aspect" in str(e)
    else:
        raise AssertionError("a result of another aspect was taken")


def check_picture_files(folder: Path):
    """Colour profiles, deep samples, mended files, masks and the writer, by this Pillow."""
    colours = Image.new("RGB", (32, 16), (200, 120, 90))
    for format in ("PNG", "TIFF", "JPEG"):
        image = read_image(io.BytesIO(saved(colours, format, icc_profile=rgb_profile("Display P3", DISPLAY_P3))))
        assert np.abs(np.subtract(image.getpixel((8, 8)), (213, 117, 84))).max() <= 3, (format, image.getpixel((8, 8)))
        assert notes_of(image) == ["converted from Display P3 to sRGB"]
    assert read_image(io.BytesIO(saved(Image.new("L", (2, 2), 128), "PNG", icc_profile=grey_profile(1.0)))).getpixel((0, 0)) == (188,) * 3
    inks = saved(
        Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "TIFF", icc_profile=table_profile(b"CMYK", lambda ink: 53.585 if ink[0] else 100)
    )
    assert abs(read_image(io.BytesIO(inks)).getpixel((0, 0))[0] - 128) <= 2

    deep = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate"):
        levels = np.asarray(read_image(io.BytesIO(saved(Image.fromarray(deep), "TIFF", compression=compression))))[..., 0]
        assert np.array_equal(levels, deep // 257), compression
    negative = saved(Image.fromarray(deep), "TIFF").replace(b"\x06\x01\x03\0\x01\0\0\0\x01", b"\x06\x01\x03\0\x01\0\0\0\0")
    assert np.array_equal(np.asarray(read_image(io.BytesIO(negative)))[..., 0], 255 - deep // 257)
    for progressive in (False, True):
        assert read_image(io.BytesIO(saved(colours, "JPEG", progressive=progressive)[:-2])).size == (32, 16)
    assert np.array_equal(
        read_image(io.BytesIO(png_with(saved(colours, "PNG"), b"zTXt", b"a\0\0" + zlib.compress(bytes(2_000_000))))), colours
    )
    try:
        turned = read_image(io.BytesIO(TURNED_AVIF))
        assert turned.size == (16, 32) and turned.getpixel((8, 8))[0] > 200 and turned.getpixel((8, 24))[2] > 200
    except EditError as e:
        assert "is an AVIF file: install pillow-avif-plugin" in str(e)

    layer = Image.new("RGBA", (8, 8))
    layer.paste((255, 255, 255, 255), (0, 0, 4, 8))
    assert np.asarray(read_mask(saved(layer, "PNG"))).tolist() == [[255] * 4 + [0] * 4] * 8
    assert np.asarray(read_mask(saved(Image.new("L", (1, 1), 1), "PNG"))).tolist() == [[255]]

    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x8769] = "Maker", 6, {0x9003: "2024:05:06 07:08:09"}
    photograph = read_image(io.BytesIO(saved(colours, "JPEG", exif=exif.tobytes())))
    for suffix in ("png", "jpg", "webp"):
        path = folder / f"result.{suffix}"
        save_picture(photograph, path, infotext="make it winter, 雪", settings="{}", exif=exif_to_keep(photograph))
        assert (infotext_in(path), settings_in(path)) == ("make it winter, 雪", "{}")
        written = Image.open(path).getexif()
        assert written[0x010F] == "Maker" and 0x0112 not in written and written.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"


class Foreign:
    pass


def check_checkpoint(folder: Path):
    for channels in (8, 4):
        state = {FIRST_LAYER: torch.zeros(6, channels, 3, 3)}
        save_file(state, folder / "model.safetensors")
        torch.save({"state_dict": state, "callback": Foreign()}, folder / f"model{channels}.ckpt")
        assert is_edit_checkpoint(folder / "model.safetensors") is (channels == 8)
        assert is_edit_checkpoint(folder / f"model{channels}.ckpt") is (channels == 8)
        assert [describe(folder / f"model{end}")["precision"] for end in (".safetensors", f"{channels}.ckpt")] == ["fp32", "fp32"]
    (folder / "bad.ckpt").write_bytes(b"PK\x03\x04")
    assert is_edit_checkpoint(folder / "bad.ckpt") is False


def check_lora(folder: Path):
    assert says_lcm(["style", "LCM for SD 1.5"]) and says_lcm(["SD15_lcm"]) and not says_lcm(["calcmania", ""])
    for width, fits in ((768, True), (1024, False), (2048, False)):
        save_file({"lora_unet_mid_attn2_to_k.lora_down.weight": torch.zeros(4, width)}, folder / f"{width}.safetensors")
        assert is_of_sd1(folder / f"{width}.safetensors") == fits
    assert not is_of_sd1(folder / "missing.safetensors")
    assert lora_named(f"{folder / '768.safetensors'}:0.5").tag == "<lora:768:0.5>"


def check_edit():
    edit = Edit(image=Image.new("RGB", (8, 8)), instruction="make it winter", randomise_scales=True)
    assert (edit.guidance(3).text_scale, edit.guidance(3).image_scale) == random_scales(3) == random_scales(3)
    text = infotext_of(edit, seed=3, scales=(7.5, 1.5), size=(64, 64), model="a, b")
    assert text.startswith("make it winter\nSteps: 20, Sampler: Euler a, ") and ', Model: "a, b", Instruct edit: ' in text
    try:
        Edit(image=edit.image, instruction="make it winter", steps=201)
    except EditError as e:
        assert "200" in str(e)
    else:
        raise AssertionError("201 steps were allowed")


def check_presets(folder: Path):
    assert load()["change-weather"].instruction_for(to="foggy") == "change the weather from sunny to foggy"
    (folder / FILE_NAME).write_text("bad: {name: Bad, instruction: add fog, steps: 500}\n", encoding="utf8")
    saved = save_own(folder, Preset(name="Nebel 雪 ${oc.env:HOME} ${", instruction="add {fog}", choices={"fog": ["${", "null"]}))
    problems = []
    own = [preset for preset in load(folder, problems).values() if preset.own]
    assert own == [saved] and saved.instruction_for() == "add ${"
    assert len(problems) == 1 and "500" in problems[0]


if __name__ == "__main__":
    check_guidance()
    check_images()
    check_detail()
    with tempfile.TemporaryDirectory() as folder:
        check_picture_files(Path(folder))
        check_checkpoint(Path(folder))
        check_lora(Path(folder))
        check_presets(Path(folder))
    check_edit()
    print(f"checked with Python {sys.version_info.major}.{sys.version_info.minor}, torch {torch.__version__}")
