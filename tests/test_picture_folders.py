"""The pictures of a folder are found by what they hold, and what is passed over is named with its reason."""

import os

import numpy as np
import pytest
from PIL import Image

from ip2p.errors import EditError
from ip2p.images import is_picture, natural_order, pictures_in
from picture_files import icon, saved

PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 24, 3), dtype=np.uint8))
JPEG = saved(PICTURE, "JPEG")


def names(paths):
    return [path.name for path in paths]


def test_pictures_are_found_by_what_they_hold_whatever_their_suffix(tmp_path):
    files = {
        "a.jpg": JPEG, "b.jfif": JPEG, "c.jpe": JPEG, "d.mpo": saved(PICTURE, "MPO"), "e.pgm": saved(PICTURE.convert("L"), "PPM"),
        "f": saved(PICTURE, "PNG"), "g.txt": saved(PICTURE, "WEBP"), "h.tga": saved(PICTURE, "TGA"), "i.jp2": saved(PICTURE, "JPEG2000"),
        "j.bmp": saved(PICTURE, "BMP"), "k.tif": saved(PICTURE, "TIFF"), "l.gif": saved(PICTURE, "GIF"),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    pictures, passed_over = pictures_in(tmp_path)
    assert names(pictures) == sorted(files) and passed_over == []


def test_what_is_passed_over_has_its_reason(tmp_path):
    others = {
        "notes.txt": (b"P2P is short for prompt-to-prompt", "not a picture"),
        "empty.png": (b"", "empty"),
        "icon.ico": (icon(saved(PICTURE, "PNG")), "not a picture"),
        "table.tga": (b"name,licence\n" * 9, "not a picture"),
        "raw.raf": (b"FUJIFILMCCD-RAW 0201", "a camera's raw file, RAF"),
    }
    for name, (data, _) in others.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "photo.jpg").write_bytes(JPEG)
    (tmp_path / ".hidden.jpg").write_bytes(JPEG)
    (tmp_path / "more").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    pictures, passed_over = pictures_in(tmp_path)
    assert names(pictures) == ["photo.jpg"]
    reasons = {path.name: reason for path, reason in passed_over}
    assert reasons.pop("gone.png") == "no such file or directory"
    assert reasons == {"more": "a folder", **{name: reason for name, (_, reason) in others.items()}}


def test_a_dng_is_passed_over_by_name(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.dng", np.zeros((4, 4, 3), np.uint8), photometric="rgb", extratags=[(50706, "B", 4, (1, 4, 0, 0), True)])
    assert pictures_in(tmp_path) == ([], [(tmp_path / "a.dng", "a camera's raw file, DNG")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_pipe_is_passed_over_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert pictures_in(tmp_path) == ([], [(tmp_path / "a.png", "not a file")])
    assert not is_picture(tmp_path / "a.png")


def test_subfolders_are_taken_when_asked_for(tmp_path):
    for name in ("2.jpg", "sub 10/1.jpg", "sub 2/b/1.jpg", "sub 2/.cache/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(JPEG)
    (tmp_path / "round").symlink_to(tmp_path)
    assert names(pictures_in(tmp_path)[0]) == ["2.jpg"]
    pictures, passed_over = pictures_in(tmp_path, recursive=True)
    assert [str(path.relative_to(tmp_path)) for path in pictures] == ["2.jpg", "sub 2/b/1.jpg", "sub 10/1.jpg"]
    assert passed_over == [(tmp_path / "round", "a folder")]


def test_names_are_in_natural_order_and_any_digit_is_a_name(tmp_path):
    for name in ("Flur 5²3 m.png", "①1.png", "10.png", "9.png", "a.png", "a1.png", "a.b.png", "٣.png", "1" * 200 + ".png"):
        (tmp_path / name).write_bytes(JPEG)
    ordered = names(pictures_in(tmp_path)[0])
    assert len(ordered) == 9 and ordered.index("9.png") < ordered.index("10.png") < ordered.index("1" * 200 + ".png")
    assert sorted(["x10", "x9", "X9a"], key=lambda name: natural_order(tmp_path / name)) == ["x9", "X9a", "x10"]


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(EditError, match=r"can't be read: no such file or directory\.$"):
        pictures_in(tmp_path / "none")
