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
from ip2p.checkpoints.fingerprint import fingerprint_of
from ip2p.cli.edit_outputs import stems_of
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
