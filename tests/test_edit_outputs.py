"""What `edit` takes and writes: nothing of another picture passes for finished, nothing is passed over in silence. The editor is a fake."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import test_cli
from ip2p.__main__ import main
from ip2p.batch import stems_of
from ip2p.checkpoints.fingerprint import fingerprint_of
from ip2p.checkpoints.packaged import SMALL
from ip2p.images import infotext_in, settings_in
from test_cli import refusal

fake_editor, pictures = test_cli.fake_editor, test_cli.pictures

SUFFIXES = (".png", ".jpg", ".webp")


def edit(*argv) -> int:
    return main(["edit", *map(str, argv)])


def picture(path: Path, colour: str = "red", size: tuple[int, int] = (64, 64), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def mask(path: Path, left: int) -> Path:
    levels = Image.new("L", (64, 64))
    levels.paste(255, (0, 0, left, 64))
    levels.save(path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_picture_does_not_pass_for_finished(tmp_path, capsys, fake_editor, suffix):
    a, b, out = picture(tmp_path / "a.jpg"), picture(tmp_path / "b.jpg", "blue"), tmp_path / f"out{suffix}"
    assert edit(a, "make it winter", "--output", out) == 0
    before = out.read_bytes()
    capsys.readouterr()
    assert "another picture" in refusal(capsys, "edit", b, "make it winter", "--output", out)
    assert out.read_bytes() == before
    assert edit(a, "make it winter", "--output", out) == 0 and len(fake_editor.asked) == 1, "the same is there already"
    assert edit(b, "make it winter", "--output", out, "--force") == 0 and len(fake_editor.asked) == 2
    assert edit(b, "make it winter", "--output", out) == 0 and len(fake_editor.asked) == 2


def test_a_fast_result_does_not_pass_for_an_exact_one(tmp_path, capsys, fake_editor):
    photo, out = picture(tmp_path / "a.jpg"), tmp_path / "out.png"
    assert edit(photo, "make it winter", "--output", out) == 0
    stamp = settings_in(out)
    assert edit(photo, "make it winter", "--output", out, "--speed", "exact") == 0 and len(fake_editor.asked) == 1
    assert edit(photo, "make it winter", "--output", out, "--speed", "fast", "--force") == 0 and settings_in(out) != stamp
    assert [asked.speed for asked in fake_editor.asked] == ["exact", "fast"]


def test_two_folders_of_equal_names_are_two(tmp_path, capsys, fake_editor):
    picture(tmp_path / "1" / "a.jpg"), picture(tmp_path / "2" / "a.jpg", "blue")
    assert edit(tmp_path / "1", "make it winter", "--output", tmp_path / "out") == 0
    capsys.readouterr()
    assert "another picture" in refusal(capsys, "edit", tmp_path / "2", "make it winter", "--output", tmp_path / "out")
    shutil.copytree(tmp_path / "1", tmp_path / "copy")
    assert edit(tmp_path / "copy", "make it winter", "--output", tmp_path / "out") == 0 and len(fake_editor.asked) == 1


def test_a_repainted_mask_is_another(tmp_path, capsys, fake_editor):
    a, painted = picture(tmp_path / "a.jpg"), mask(tmp_path / "mask.png", 10)
    argv = [a, "make it winter", "--output", tmp_path / "out.png", "--mask", painted]
    assert edit(*argv) == 0 and edit(*argv) == 0 and len(fake_editor.asked) == 1
    mask(painted, 40)
    capsys.readouterr()
    assert "mask" in refusal(capsys, "edit", *argv)


def weights(path: Path, value: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"a": np.full(1000, value, np.float32)}, path)
    return path


def test_a_moved_model_changes_nothing_and_another_one_does(tmp_path, capsys, fake_editor):
    a, model = picture(tmp_path / "a.jpg"), weights(tmp_path / "x" / "model.safetensors", 1)
    argv = [a, "make it winter", "--output", tmp_path / "out.png", "--model"]
    assert edit(*argv, model) == 0
    moved = tmp_path / "renamed.safetensors"
    model.rename(moved)
    os.utime(moved, (1, 1))
    assert edit(*argv, moved) == 0 and len(fake_editor.asked) == 1
    capsys.readouterr()
    assert "another model" in refusal(capsys, "edit", *argv, weights(tmp_path / "y" / "renamed.safetensors", 2))


def test_a_models_fingerprint_is_of_its_content_and_a_name_stands_for_itself(tmp_path, monkeypatch):
    one = weights(tmp_path / "one" / "unet" / "model.safetensors", 1).parents[1]
    shutil.copytree(one, tmp_path / "two")
    assert fingerprint_of(str(one)) == fingerprint_of(str(tmp_path / "two"))
    weights(tmp_path / "two" / "unet" / "model.safetensors", 2)
    assert fingerprint_of(str(one)) != fingerprint_of(str(tmp_path / "two"))
    assert fingerprint_of("someone/model") == "someone/model"
    monkeypatch.chdir(tmp_path)
    small = fingerprint_of("small")
    shutil.copytree(one, tmp_path / "small")
    assert fingerprint_of("small") == small != fingerprint_of("./small")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_shared_picture_tells_nothing_but_its_settings(tmp_path, suffix, fake_editor):
    secret = picture(tmp_path / "secret-place" / "secret-name.jpg")
    painted, model = mask(tmp_path / "secret-mask.png", 9), weights(tmp_path / "secret-model.safetensors", 1)
    out = tmp_path / f"out{suffix}"
    assert edit(secret, "make it winter", "--output", out, "--mask", painted, "--model", model) == 0
    assert infotext_in(out) == "make it winter\nSeed: 0", "where the WebUI reads it"
    assert len(settings_in(out)) == 32 and int(settings_in(out), 16), "a digest, of the length of EXIF's unique id"
    data = out.read_bytes()
    assert b"secret" not in data and "secret".encode("utf-16-be") not in data


def test_what_an_earlier_version_wrote_is_made_again_by_force(tmp_path, capsys, fake_editor):
    from PIL.PngImagePlugin import PngInfo

    fields = PngInfo()
    fields.add_text("ip2p", '{"mask": null, "model": "small"}')
    a, out = picture(tmp_path / "a.jpg"), picture(tmp_path / "out.png", pnginfo=fields)
    said = refusal(capsys, "edit", a, "make it winter", "--output", out)
    assert "earlier version" in said and "--force" in said
    assert edit(a, "make it winter", "--output", out, "--force") == 0


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_taken_by_content_and_what_is_passed_over_is_counted_and_named(pictures, tmp_path, capsys):
    for name in ("b.jfif", "c.jpe"):
        picture(pictures / name, format="JPEG")
    picture(pictures / "d.mpo", format="MPO"), picture(pictures / "e.pgm", format="PPM")
    picture(pictures / "sub" / "f.jpg")
    assert edit(pictures, "make it winter", "--output", tmp_path / "out") == 0
    assert names(tmp_path / "out") == ["b.png", "c.png", "d.png", "e.png", "p1.png", "p10.png", "p2.png"]
    said = capsys.readouterr().err
    assert "2 passed over: notes.txt (not a picture), sub (a folder); --recursive" in said


def test_subfolders_are_taken_when_asked_for_and_results_among_them_are_not(pictures, tmp_path, capsys, fake_editor):
    picture(pictures / "sub" / "p1.jpg", size=(80, 64))
    argv = [pictures, "make it winter", "--output", pictures / "out", "--recursive"]
    assert edit(*argv) == 0
    assert names(pictures / "out") == ["p1.png", "p10.png", "p2.png", "sub/p1.png"]
    assert edit(*argv) == 0 and len(fake_editor.asked) == 4
    assert "0 edited, 4 there already, 0 failed." in capsys.readouterr().out


def test_any_digit_in_a_name_is_a_name(tmp_path, capsys):
    for name in ("Flur 5²3 m.png", "①1.png", "٣.png", "9.png", "10.png"):
        picture(tmp_path / "in" / name)
    assert edit(tmp_path / "in", "make it winter", "--output", tmp_path / "out") == 0
    assert len(names(tmp_path / "out")) == 5


def test_no_result_is_written_twice(tmp_path, capsys):
    for name in ("a.png", "a.jpg", "a.png.png", "A.webp", "b.png"):
        picture(tmp_path / "in" / name)
    picture(tmp_path / "in" / "a", format="PNG")
    assert edit(tmp_path / "in", "make it winter", "--output", tmp_path / "out") == 0
    assert names(tmp_path / "out") == ["A.webp.png", "a.jpg.png", "a.png", "a.png.png", "a.png.png.png", "b.png"]
    assert "6 edited" in capsys.readouterr().out


def test_names_that_are_one_on_another_file_system_are_two():
    paths = [Path(name) for name in ("x/é.png", "x/e\u0301.png", "x/A.png", "x/a.PNG", "y/a.png", "x/c.png")]
    stems = [str(stem) for stem in stems_of(paths)]
    assert stems == ["x/é.png", "x/e\u0301.png (2)", "x/A.png", "x/a.PNG (2)", "y/a", "x/c"]


def test_an_output_that_can_not_be_written_is_said_before_anything_is_computed(tmp_path, capsys, fake_editor):
    long = "雪" * 84  # 252 bytes, of which a file's name may have 255
    source = picture(tmp_path / "in" / f"{long}.a", format="PNG")
    assert "too long" in refusal(capsys, "edit", source, "make it winter", "--output", f"{tmp_path}/out/")
    (tmp_path / "file").write_text("mine")
    assert "not a directory" in refusal(capsys, "edit", source, "make it winter", "--output", tmp_path / "file" / "out.png")
    picture(tmp_path / "in" / "b.png")
    assert edit(tmp_path / "in", "make it winter", "--output", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "file name too long" in captured.err and "1 edited, 0 there already, 1 failed." in captured.out
    assert len(fake_editor.asked) == 1 and names(tmp_path / "out") == ["b.png"]


def test_a_long_name_is_edited(tmp_path):
    source = picture(tmp_path / f"{'雪' * 80}.jpg")
    assert edit(source, "make it winter", "--output", f"{tmp_path}/out/") == 0
    assert names(tmp_path / "out") == [f"{source.stem}.png"]


@pytest.mark.skipif(os.name != "posix" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_said_before_anything_is_computed(tmp_path, capsys, fake_editor):
    (tmp_path / "locked").mkdir(0o500)
    assert "permission" in refusal(capsys, "edit", picture(tmp_path / "a.png"), "make it winter", "--output", tmp_path / "locked" / "a.png")
    assert not fake_editor.loaded


def test_results_are_png_jpeg_or_webp_and_a_slash_makes_a_folder(tmp_path, capsys, fake_editor):
    a = picture(tmp_path / "a.png")
    for name, format in (("winter.jpg", "JPEG"), ("winter.JPEG", "JPEG"), ("winter.webp", "WEBP"), ("winter.png", "PNG")):
        assert edit(a, "make it winter", "--output", tmp_path / name) == 0
        assert Image.open(tmp_path / name).format == format
    assert edit(a, "make it winter", "--output", f"{tmp_path}/night.v2/") == 0 and names(tmp_path / "night.v2") == ["a.png"]
    asked = len(fake_editor.asked)
    capsys.readouterr()
    said = refusal(capsys, "edit", a, "make it winter", "--output", tmp_path / "night.v3")
    assert "PNG, JPEG or WebP" in said and "with / if" in said and len(fake_editor.asked) == asked
    assert edit(tmp_path, "make it winter", "--output", tmp_path / "night.v4") == 0, "a folder's results go into a folder"
    assert (tmp_path / "night.v4").is_dir()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_date_and_camera_are_kept_unless_they_are_to_be_left_out(tmp_path, suffix, capsys):
    exif = Image.Exif()
    exif[0x0110], exif[0x0112], exif[0x0132] = "Camera 1", 6, "2024:05:06 07:08:09"
    a, out = picture(tmp_path / "a.jpg", size=(96, 64), exif=exif.tobytes()), tmp_path / f"out{suffix}"
    assert edit(a, "make it winter", "--output", out) == 0
    written = Image.open(out).getexif()
    assert (written[0x0110], written[0x0132]) == ("Camera 1", "2024:05:06 07:08:09") and 0x0112 not in written
    assert Image.open(out).size == (64, 96)
    argv = ["edit", a, "make it winter", "--output", out, "--no-metadata"]
    capsys.readouterr()
    assert "other settings" in refusal(capsys, *argv), "what is asked for now is another file"
    assert main([*map(str, argv), "--force"]) == 0 and b"Camera" not in out.read_bytes()


def test_what_was_done_to_a_picture_on_reading_is_said(tmp_path, capsys):
    deep = Image.fromarray(np.full((64, 64), 40_000, np.uint16))
    deep.save(tmp_path / "deep.png")
    black = mask(tmp_path / "black.png", 0)
    assert edit(tmp_path / "deep.png", "make it winter", "--output", tmp_path / "out.png", "--mask", black) == 0
    said = capsys.readouterr().err.splitlines()
    assert any(line.startswith("deep.png: converted from 16 to 8 bits") for line in said)
    assert any(line.startswith("black.png: the mask has no white") for line in said)


def test_a_mask_is_read_as_masks_are(tmp_path, fake_editor):
    layer = np.zeros((64, 64, 4), np.uint8)
    layer[:32] = 255
    Image.fromarray(layer).save(tmp_path / "layer.png")
    Image.fromarray((layer[..., 3] > 0).astype(np.uint8)).save(tmp_path / "ones.png")
    for name in ("layer", "ones"):
        argv = [picture(tmp_path / "a.png"), "make it winter", "--output", tmp_path / f"{name}-out.png", "--mask", tmp_path / f"{name}.png"]
        assert edit(*argv) == 0
        assert np.array_equal(np.asarray(fake_editor.asked[-1].mask), layer[..., 3]), name


@pytest.mark.skipif(os.name != "posix", reason="names that Windows does not have")
def test_names_are_printed_as_text_whatever_they_hold(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"a\x1b[31m.txt", b"b\xff.txt", b"c\x9b2J.jpg"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"hello")
    picture(folder / "fine\x1b]0;title\x07.png")
    command = [sys.executable, "-c", PRINTING, str(folder), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf8"})
    printed = done.stdout + done.stderr
    assert done.returncode == 1 and b"Traceback" not in printed and "2 passed over" in printed.decode()
    assert not {0x1B, 0x07} & {*printed} and not any(0x80 <= ord(sign) < 0xA0 for sign in printed.decode())


PRINTING = """
import sys
sys.path.insert(0, "tests")
import types
from test_cli import FakeEditor
sys.modules["ip2p.editor"] = types.ModuleType("ip2p.editor")
sys.modules["ip2p.editor"].Editor = FakeEditor
from ip2p.__main__ import main
folder, out = sys.argv[1:]
main(["edit", folder + "/no\\x1b[2Jthing.png", "make it winter", "--output", out])
sys.exit(main(["edit", folder, "make it winter", "--output", out]))
"""


def test_the_mask_is_not_overwritten_either(tmp_path, capsys, fake_editor):
    a, painted = picture(tmp_path / "a.png"), mask(tmp_path / "mask.png", 9)
    before = painted.read_bytes()
    for output in (painted, tmp_path / "link.png"):
        if output != painted:
            os.link(painted, output)
        assert "is the mask itself" in refusal(capsys, "edit", a, "x", "--mask", painted, "--output", output, "--force")
    assert painted.read_bytes() == before and not fake_editor.asked


def test_a_folders_results_never_replace_one_of_its_pictures(tmp_path, capsys, fake_editor):
    picture(tmp_path / "in" / "sub" / "a.png")
    argv = [tmp_path / "in" / "sub", "x", "--output", tmp_path / "in" / "other", "--force"]
    (tmp_path / "in" / "other").symlink_to(tmp_path / "in" / "sub")
    assert "folder of the pictures itself" in refusal(capsys, "edit", *argv)
    picture(tmp_path / "in" / "a.png")
    assert "is the picture itself" in refusal(capsys, "edit", tmp_path / "in" / "sub" / "a.png", "x", "--output", tmp_path / "in" / "sub")


def test_what_is_no_file_is_not_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a file" in refusal(capsys, "edit", tmp_path / "pipe.png", "x", "--output", tmp_path / "out.png")


def test_model_convert_never_replaces_the_folder_that_holds_its_source(tmp_path, capsys):
    shutil.copytree(SMALL.file.parent, tmp_path / "model", ignore=shutil.ignore_patterns("*.png", "*.md", "LICENSE"))
    before = names(tmp_path)
    source, weights = tmp_path / "model" / "small.safetensors", SMALL.file.read_bytes()
    for notes in (False, True):
        if notes:
            (tmp_path / "model" / "notes.txt").write_text("mine")
        assert "holds the source" in refusal(capsys, "model", "convert", source, tmp_path / "model", "--force")
        assert names(tmp_path) == sorted([*before, *(["model/notes.txt"] if notes else [])]) and source.read_bytes() == weights
