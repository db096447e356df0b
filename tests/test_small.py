"""The small checkpoint, which commands take that are told of none, and its fast version: installed into a WebUI whole, its vocabulary found there."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file

pytest.importorskip("diffusers", reason="the small checkpoint needs diffusers and transformers (pip install -e '.[edit]')")

from ip2p.__main__ import main
from ip2p.app import layout
from ip2p.checkpoints.defaults import ModelDefaults, defaults_for, instructions_for
from ip2p.checkpoints.packaged import BY_NAME, FAST, OWN, SMALL
from ip2p.checkpoints.recognise import UNET, describe, is_edit_checkpoint
from ip2p.checkpoints.student import FIRST
from ip2p.contact_sheet import contact_sheet
from ip2p.edit import Edit
from ip2p.editor import Editor
from ip2p.images import fit, read_image
from ip2p.scale_input import KEY

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2
ROOT = Path(__file__).resolve().parents[1]
QUICK = ["--seed", "7", "--steps", "2"]


@pytest.fixture
def photo(tmp_path):
    file = tmp_path / "photo.png"
    Image.open(ROOT / "ip2p" / "examples" / "chelsea.jpg").save(file)
    return file


@pytest.fixture
def webui(tmp_path):
    folder = tmp_path / "webui"
    (folder / "models" / "Stable-diffusion").mkdir(parents=True)
    return folder


def ip2p(*argv) -> int:
    try:
        return main([*map(str, argv)])
    except SystemExit as e:
        return e.code


def pictures_of(editor: Editor, **settings) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    image = Image.fromarray(np.stack([x * 4, y * 4, (x // 8 + y // 8) % 2 * 200], -1).astype(np.uint8))
    edit = Edit(**{"image": image, "instruction": "make it winter", "seed": 3, "steps": 3, "width": 64, "height": 64, **settings})
    return np.stack([np.asarray(result.image, dtype=np.int16) for result in editor.edit(edit)])


def test_a_command_that_names_no_model_takes_it(photo, tmp_path, capsys):
    target = tmp_path / "winter.png"
    assert ip2p("edit", photo, "make it winter", "--output", target, *QUICK) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(target)
    assert "small checkpoint" in said.err and said.err.rstrip().endswith("--model official.")
    with Image.open(target) as image:
        assert image.size == (451, 300) and SMALL.defaults.longest_side == 512 and "Size: 512x384" in image.info["parameters"]
        assert f"CFG scale: {SMALL.defaults.text_scale}, Image CFG scale: {SMALL.defaults.image_scale}" in image.info["parameters"]
        assert "Model: instruct-edit-small" in image.info["parameters"]


def test_a_model_or_a_size_that_is_named_is_taken(photo, tmp_path, capsys):
    target = tmp_path / "winter.png"
    assert ip2p("edit", photo, "make it winter", "--output", target, "--model", "small", "--size", "128", *QUICK) == 0
    assert "--model official" not in capsys.readouterr().err
    with Image.open(target) as image:
        assert image.size == (451, 300) and "Size: 128x128" in image.info["parameters"]


def test_official_is_the_published_one(monkeypatch):
    asked = []
    monkeypatch.setattr("ip2p.checkpoints.load.read_hub", asked.append)
    from ip2p.checkpoints.load import load_networks

    load_networks("official")
    assert asked == ["timbrooks/instruct-pix2pix"]


def test_it_has_its_own_usual_settings_wherever_it_is_named(webui):
    installed = SMALL.install(webui / "models" / "Stable-diffusion")
    assert [defaults_for(str(model)) for model in ("small", SMALL.file, installed)] == [SMALL.defaults] * 3
    assert defaults_for("other.safetensors") == defaults_for("official") == ModelDefaults(512, 7.5, 1.5)


def test_before_and_after_are_one_picture(photo, tmp_path, capsys):
    single, compared = tmp_path / "one.png", tmp_path / "compared.png"
    size = ["--size", "128x64"]
    assert ip2p("edit", photo, "make it winter", "--output", single, "--result", "working", *QUICK, *size) == 0
    assert ip2p("edit", photo, "make it winter", "--output", compared, "--compare", *QUICK, *size) == 0
    before, after = fit(read_image(photo), (96, 64), whole=True), Image.open(single).convert("RGB")
    expected = contact_sheet([before, after], [""], ["before", "make it winter"])
    assert np.array_equal(Image.open(compared).convert("RGB"), expected)
    assert ip2p("edit", photo, "make it winter", "--output", compared, "--compare", *QUICK, *size) == 0
    assert "there already" in capsys.readouterr().out
    assert ip2p("edit", photo, "x", "--output", tmp_path, "--compare", "--grid") == 2


@pytest.mark.parametrize("own", OWN, ids=BY_NAME)
def test_installed_it_is_whole_and_finds_its_own_vocabulary(own, webui, capsys):
    assert ip2p("model", "install", own.name, "--webui", webui) == 0
    said = capsys.readouterr().out
    folder = webui / "models" / "Stable-diffusion"
    installed = folder / f"instruct-edit-{own.name}.safetensors"
    assert str(installed) in said and "model fetch" in said
    assert installed.read_bytes() == own.file.read_bytes() and is_edit_checkpoint(installed)
    params = OmegaConf.load(installed.with_suffix(".yaml")).model.params
    clip = installed.with_suffix(".clip")
    assert params.cond_stage_config.params.version == str(clip)
    assert {"config.json", "vocab.json", "merges.txt", "tokenizer_config.json"} <= {path.name for path in clip.iterdir()}
    assert {path.name for path in folder.iterdir()} == {installed.name, clip.name, installed.with_suffix(".yaml").name}
    assert np.array_equal(pictures_of(Editor.load(installed)), pictures_of(Editor.load(own.name)))


def test_installed_again_it_stays_and_a_move_is_put_right(webui, capsys):
    SMALL.install(webui / "models" / "Stable-diffusion")
    assert ip2p("model", "install", "small", "--webui", webui) == 0
    assert "there already" in capsys.readouterr().out
    moved = webui.rename(webui.with_name("moved"))
    installed = SMALL.install(moved / "models" / "Stable-diffusion")
    assert OmegaConf.load(installed.with_suffix(".yaml")).model.params.cond_stage_config.params.version == str(
        installed.with_suffix(".clip")
    )


def test_another_file_of_its_name_stays_unless_forced(webui, capsys):
    other = webui / "models" / "Stable-diffusion" / "instruct-edit-small.safetensors"
    other.write_bytes(b"mine")
    assert ip2p("model", "install", "small", "--webui", webui) == 2
    assert "--force" in capsys.readouterr().err and other.read_bytes() == b"mine" and len(list(other.parent.iterdir())) == 1
    assert ip2p("model", "install", "small", "--webui", webui, "--force") == 0
    assert other.read_bytes() == SMALL.file.read_bytes()


def test_what_is_no_webui_is_a_sentence(tmp_path, capsys):
    assert ip2p("model", "install", "small", "--webui", tmp_path) == 2
    assert "holds no WebUI" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_behind(webui, monkeypatch, capsys):
    copy = shutil.copyfile

    def full(source, target, **options):
        if str(source).endswith(".safetensors"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy(source, target, **options)

    monkeypatch.setattr(shutil, "copyfile", full)
    assert ip2p("model", "install", "small", "--webui", webui) == 2
    assert "no space left" in capsys.readouterr().err
    assert list((webui / "models" / "Stable-diffusion").iterdir()) == []


def test_the_checkpoint_appears_when_its_yaml_and_its_vocabulary_are_there(webui, monkeypatch):
    folder, before = webui / "models" / "Stable-diffusion", []
    rename = os.replace

    def seen(source, target):
        if str(target).endswith(".safetensors"):
            before.extend(sorted(path.suffix for path in folder.iterdir() if not path.name.startswith(".")))
        rename(source, target)

    monkeypatch.setattr(os, "replace", seen)
    SMALL.install(folder)
    assert before == [".clip", ".yaml"]


def test_the_page_says_which_model_it_uses_and_how_to_get_another():
    assert "small" in layout.about("small") and "--model official" in layout.about("small") and "512" in layout.about("small")
    assert "timbrooks/instruct-pix2pix" in layout.about("official") and "--model" in layout.about("official")
    assert "mine.safetensors" in layout.about("models/mine.safetensors")


@pytest.mark.parametrize("own", OWN, ids=BY_NAME)
def test_the_package_s_own_is_small_fp16_and_without_a_place_of_its_maker_s(own):
    found = describe(own.file)
    assert found["edit"] and found["family"] == "SD 1.x" and found["precision"] == "fp16" and found["bytes"] <= 18e6
    version = (OmegaConf.load(own.file.with_suffix(".yaml")).model.params.cond_stage_config.get("params") or {}).get("version")
    assert not version or not version.startswith("/")
    assert (own.file.parent / "MODEL_CARD.md").is_file()


def test_the_fast_one_is_the_small_one_s_student_of_few_steps_with_the_same_words_and_autoencoder(photo):
    suited = FAST.defaults
    assert (suited.passes, suited.steps, suited.sampler_name, suited.scheduler) == (1, 4, "LCM", "SGM Uniform")
    assert (suited.text_scale, suited.image_scale, suited.longest_side) == (SMALL.defaults.text_scale, SMALL.defaults.image_scale, 512)
    assert instructions_for(FAST.name) == instructions_for(SMALL.name) != ()
    one, other = (load_file(own.file) for own in OWN)
    assert set(other) - set(one) == {KEY} and set(one) <= set(other)
    same = {name for name in one if torch.equal(one[name], other[name])}
    assert all(name in same for name in one if not name.startswith(UNET)) and FIRST + ".bias" not in same
    editor = Editor.load("small-fast", device="cpu")
    editor.edit(Edit(read_image(photo), "make it winter", **suited.settings | {"longest_side": 64}))
    assert editor.rows == [1] * 4


def test_it_is_described_by_its_name(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert ip2p("model", "info", "small") == 0
    assert capsys.readouterr().out.startswith("small.safetensors\n  kind          edit model, SD 1.x\n")
    assert ip2p("model", "info", "small-fast") == 0
    assert "one pass a step, 4 steps with LCM, SGM Uniform" in capsys.readouterr().out
