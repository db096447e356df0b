"""The editor without the WebUI gives the tab's picture: the same file, the same settings, the same seed."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

pytest.importorskip("diffusers", reason="the editor's parity needs diffusers and transformers (pip install -e '.[edit]')")

from ip2p.edit import Edit
from ip2p.editor import Editor
from ip2p.errors import EditError
from ip2p.infotext import PREFIX
from webui import checkpoints, drawn_picture, find_webui

LONG = "make it winter, " + "with deep snow on every roof and every tree, " * 9

FULL = dict(image=drawn_picture(150, 90), result="full", width=None, height=None, longest_side=128)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2
TEXTS = (
    "",
    "make it winter",
    "Un café à la crème, s'il vous plaît!",
    "日本の冬 ❄ 1234",
    "don't  turn\nhim INTO a cyborg",
    LONG,
    "snow " * 160,
)


@pytest.fixture(scope="module")
def editors():
    """Loads a checkpoint of the host's by its name, once."""
    loaded = {}
    folder = checkpoints(find_webui())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield lambda name: loaded.get(name) or loaded.setdefault(name, Editor.load(folder / f"{name}.safetensors", device="cpu"))


def edit_like(host, **fields) -> Edit:
    """The host's request as an `Edit`."""
    return Edit(**{**host.defaults, **fields})


def levels_apart(host, editor, **fields) -> int:
    """The largest difference of any pixel, in levels of 255."""
    theirs = host.edit(**fields).pixels
    ours = np.stack([np.asarray(result.image, dtype=np.int16) for result in editor.edit(edit_like(host, **fields))])
    return int(abs(ours - theirs).max())


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_the_token_ids_are_the_host_s(host, editors, text):
    assert editors("edit").tokens(text) == host.probe("tokens", text=text)


# Of these step counts Euler's timesteps are whole numbers; between them diffusers interpolates σ and k-diffusion log σ.
@pytest.mark.parametrize(
    "sampler, steps", (("Euler", 4), ("Euler", 10), ("Euler", 20), ("Euler a", 4), ("DDIM", 4), ("DDIM", 20), ("DDIM", 7))
)
def test_the_picture_is_the_host_s(host, editors, sampler, steps):
    assert levels_apart(host, editors("edit"), sampler_name=sampler, steps=steps, negative_prompt="blurry") <= 2


@pytest.mark.parametrize(
    "sampler, schedule, fields",
    (
        ("LCM", "SGM Uniform", {}), ("LCM", "SGM Uniform", dict(steps=3, count=2)), ("LCM", "Automatic", dict(steps=5)),
        ("LCM", "SGM Uniform", dict(denoising_strength=0.6)), ("Euler a", "SGM Uniform", dict(steps=7)), ("Euler", "SGM Uniform", dict(steps=7)),
        ("DPM++ 2M", "SGM Uniform", dict(steps=7)),
    ),
)  # fmt: skip
def test_a_schedule_means_what_it_means_to_the_host(host, editors, sampler, schedule, fields):
    assert levels_apart(host, editors("edit"), sampler_name=sampler, scheduler=schedule, text_scale=2.0, **fields) <= 2


# Where a level of the latent has an odd side, the two networks scale it up otherwise: sizes here have none.
@pytest.mark.parametrize(
    "fields",
    (
        dict(instruction=LONG), dict(text_scale=1.5), dict(image_scale=1.0, count=2), dict(text_start=0.3, image_end=0.6, steps=10),
        dict(denoising_strength=0.5, steps=10), dict(width=128, height=80), dict(width=None, height=None, longest_side=128, own_size=True),
        dict(FULL), dict(FULL, detail=0.5, count=2), dict(FULL, mask=drawn_picture(150, 90).convert("L")), dict(FULL, crop=True),
    ),
    ids=lambda fields: " ".join(name if isinstance(value, Image.Image) else f"{name}={value}" for name, value in fields.items()),
)  # fmt: skip
def test_the_settings_mean_what_they_mean_to_the_host(host, editors, fields):
    assert levels_apart(host, editors("edit"), **fields) <= 2


def test_a_mask_means_what_it_means_to_the_host(host, editors):
    mask = host.defaults["image"].convert("L").point(lambda level: 255 * (level > 100))
    assert levels_apart(host, editors("edit"), mask=mask) <= 2


def test_a_model_that_predicts_v_gives_the_host_s_picture(host, editors):
    with host.options(sd_model_checkpoint="v-edit"):
        assert levels_apart(host, editors("v-edit")) <= 2
    host.edit()  # the next test finds the first checkpoint again


def test_a_chain_means_what_it_means_to_the_host(host, editors):
    mask = host.defaults["image"].convert("L").point(lambda level: 255 * (level > 100))
    assert levels_apart(host, editors("edit"), instruction="make it winter\nadd a hat", count=2, mask=mask) <= 2


@pytest.mark.parametrize("sampler", ("Euler", "DDIM"))
@pytest.mark.parametrize("checkpoint", ("edit", "v-edit"))
def test_the_heat_map_is_the_host_s(host, editors, checkpoint, sampler):
    fields = dict(heat_map=True, sampler_name=sampler, steps=10)
    with host.options(sd_model_checkpoint=checkpoint):
        theirs = host.edit(**fields).heat_maps[0]
    (ours,) = editors(checkpoint).edit(edit_like(host, **fields))
    assert abs(np.asarray(ours.heat_map, dtype=int) - np.asarray(theirs, dtype=int)).max() <= 4
    host.edit()  # the next test finds the first checkpoint again


def test_the_infotext_is_the_host_s_but_for_its_own_fields(host, editors):
    fields = dict(negative_prompt="a: b, c", text_end=0.8, denoising_strength=0.75, steps=10)
    theirs = host.edit(**fields).infotexts[0].splitlines()
    ours = editors("edit").edit(edit_like(host, **fields))[0].infotext.splitlines()
    assert ours[:-1] == theirs[:-1]
    host_only = ("Model hash", "Version", "VAE", "RNG")
    kept = [field for field in theirs[-1].split(", ") if not field.startswith(host_only)]
    assert sorted(ours[-1].split(", ")) == sorted(kept) and any(field.startswith(PREFIX) for field in kept)


def test_a_ckpt_is_read_as_the_safetensors_file_is(host, editors, tmp_path):
    source = checkpoints(find_webui()) / "edit.safetensors"
    shutil.copy(source.with_suffix(".yaml"), tmp_path)
    torch.save({"state_dict": load_file(source)}, tmp_path / "edit.ckpt")
    one, other = (editor.edit(edit_like(host))[0].image for editor in (editors("edit"), Editor.load(tmp_path / "edit.ckpt", device="cpu")))
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "name, sentence",
    (("plain", "its network has 4 input channels"), ("sdxl-edit", "is of the family SDXL: only SD 1.x checkpoints can be used here")),
)
def test_a_file_of_another_kind_is_a_sentence(editors, name, sentence):
    with pytest.raises(EditError, match=sentence):
        editors(name)


def test_a_small_file_without_its_yaml_is_a_sentence(tmp_path):
    shutil.copy(checkpoints(find_webui()) / "edit.safetensors", tmp_path)
    with pytest.raises(EditError, match=r"has no edit\.yaml beside it"):
        Editor.load(tmp_path / "edit.safetensors")
