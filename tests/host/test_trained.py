"""A model that was trained and exported gives one picture in the WebUI and in the standalone editor, and reads one instruction."""

import shutil

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")

import torch
from diffusers import AutoencoderKL

from ip2p.dataset.scenes import scene
from ip2p.edit import Edit
from ip2p.editor import Editor
from ip2p.training.config import Model, Text, Unet
from ip2p.training.networks import Networks, new_text_encoder, new_tokenizer, new_unet
from training_runs import ended, only, write_config

KNOWN = "make the circle red"  # in its small vocabulary
UNKNOWN = "Zut! Give 12 owls 3 hats, don't  you; café ❄ 日本?"
TEXTS = (
    "", KNOWN, KNOWN.upper(), UNKNOWN, "make-the_circle...red", "it's I'm we've you'll he'd they're", "a\tb\nc", "½ ß ǅ Ⅷ x² ﬁ", "Ünïcödé e\u0301", "don’t “quote” ｗｉｄｅ &amp;",
    "1234567890", "make the circle red, " * 12, "red " * 160, "🦉" * 3, "<b>red</b>",
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2


def loud_model(vae: AutoencoderKL) -> Networks:
    """New networks around the autoencoder in which the text is heard at once; as they begin it takes thousands of steps."""
    shapes = Model(unet=Unet([32, 32], 1, [0], 2), text=Text(32, 1, 2, 640))
    torch.manual_seed(0)
    tokenizer = new_tokenizer([text for i in range(200) for text in scene(i).pair().edit_prompts], 640)
    text_encoder, unet = new_text_encoder(shapes, tokenizer), new_unet(shapes, 4)
    with torch.no_grad():
        text_encoder.get_input_embeddings().weight.mul_(20)
        for parameter in unet.parameters():
            if parameter.ndim > 1 and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.5 / parameter[0].numel() ** 0.5)
    return Networks(vae, tokenizer, text_encoder, unet)


@pytest.fixture(scope="module")
def exported(running_webui, tmp_path_factory):
    """The editor of each export, by the name that the WebUI has it under: averaged weights and plain ones, after a few steps on scenes."""
    folder = tmp_path_factory.mktemp("exported")
    first = only("autoencoder", steps=200, batch_size=4, resize=[], learning_rate=2e-3, edges=0, l1=0.5, l2=2, coarse=1)
    common = {"validation": {"every": 0}, "save_every": 100}
    ended(write_config(folder / "first.yaml", **common, stages=first), f"output={folder}/first", said=folder / "said")
    loud_model(Networks.read(folder / "first/autoencoder/model").vae).save(folder / "start")
    config = write_config(
        folder / "edit.yaml", **common, export="both", half=True, model={"start": str(folder / "start")},
        stages=only("edit", steps=20, cache=False, train_text=True, learning_rate=5e-3, ema=0.99),
    )  # fmt: skip
    ended(config, f"output={folder}/sample", said=folder / "said")
    models = running_webui.folder / "models" / "Stable-diffusion"
    models.mkdir(parents=True, exist_ok=True)
    names = ("sample", "sample-plain")
    for name in names:
        for suffix in (".safetensors", ".yaml"):
            shutil.copy(folder / "sample" / f"{name}{suffix}", models)
    answer = running_webui.post("/sdapi/v1/refresh-checkpoints")
    assert answer.ok, answer.text
    editors = {name: Editor.load(models / f"{name}.safetensors", "cpu") for name in names}
    yield editors
    running_webui.edit()  # the next tests find the first checkpoint again


@pytest.fixture(scope="module", params=("sample", "sample-plain"))
def chosen(request, exported, running_webui):
    """The WebUI has this checkpoint loaded → its editor."""
    with running_webui.options(sd_model_checkpoint=request.param):
        yield exported[request.param]


def fields_of(host, **fields) -> dict:
    return {**host.defaults, "image": scene(3, 1).pair().original_image, "instruction": KNOWN, "image_scale": 1.2, **fields}


def picture(editor: Editor, fields: dict) -> np.ndarray:
    return np.asarray(editor.edit(Edit(**fields))[0].image, dtype=np.int16)


@pytest.mark.parametrize(
    "fields",
    (
        dict(sampler_name="DDIM", steps=10), dict(sampler_name="Euler", steps=10), dict(sampler_name="Euler", instruction=UNKNOWN),
        dict(sampler_name="DDIM", instruction=UNKNOWN), dict(sampler_name="Euler", width=128, height=80),
        dict(sampler_name="DDIM", width=80, height=128, instruction="make the background purple", negative_prompt="Red, 2 owls"),
    ),
    ids=str,
)  # fmt: skip
def test_the_picture_is_the_one_of_the_webui(chosen, host, fields):
    fields = fields_of(host, **fields)
    (theirs,) = host.edit(**fields).pixels
    apart = abs(picture(chosen, fields) - theirs).max()
    print(f"{fields['sampler_name']}, {theirs.shape[1]}x{theirs.shape[0]}: at most {apart} of 255 levels apart")
    assert apart <= 2


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_the_token_ids_are_those_of_the_webui_s_tokenizer(chosen, host, text):
    assert chosen.tokens(text) == host.probe("tokens", text=text)


def test_the_vocabulary_is_the_model_s_own(chosen):
    known, unknown = (len([i for i in chosen.tokens(text)[0] if i not in chosen.tokenizer.all_special_ids]) for text in (KNOWN, UNKNOWN))
    assert len(chosen.tokenizer) <= 640 and known == 4 and unknown > 20


def test_what_is_compared_depends_on_the_instruction_the_picture_and_the_weights(exported, running_webui):
    """Else two pictures would be equal whatever was wrong."""
    asked = dict(sampler_name="Euler", steps=10)
    known = picture(exported["sample"], fields_of(running_webui, **asked))
    others = [
        picture(exported["sample"], fields_of(running_webui, **asked, instruction=UNKNOWN)),
        picture(exported["sample"], fields_of(running_webui, **asked, image=scene(4, 1).pair().original_image)),
        picture(exported["sample-plain"], fields_of(running_webui, **asked)),
    ]
    assert all(abs(known - other).max() > 8 for other in others), [abs(known - other).max() for other in others]


def test_the_webui_normalises_in_the_model_s_groups(chosen, host):
    """Its own class would normalise channel by channel: the yaml names another, which is found in the extension."""
    from omegaconf import OmegaConf

    yaml = OmegaConf.load(host.folder / "models" / "Stable-diffusion" / "sample.yaml")
    assert yaml.model.params.first_stage_config.params.norm_groups == 8 == chosen.vae.config.norm_num_groups
